"""A batch as text: what the model is given, what it must answer, and what it never sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from regard.data.content import visible
from regard.words import say

if TYPE_CHECKING:
    from rich.text import Text

DOCUMENTS = 8
TOKENS = 64  # of one document
GLANCE = 3, 48  # documents, and tokens of one, at the start of a training
LOSS, READ, MORE = "bold green", "dim", "yellow"


class Pieces(Protocol):
    """What is needed of a tokenizer: the text of each token."""

    def pieces(self, ids: Sequence[int]) -> list[str]: ...


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One token. `loss`: it carries loss; `answer` is what is asked there, None if that is the token after it."""

    text: str
    loss: bool
    answer: str | None = None


@dataclass(frozen=True, kw_only=True)
class Document:
    """One sample of a batch, decoded. `cut` counts the tokens that truncation took away."""

    where: str
    pieces: tuple[Piece, ...]
    source: tuple[str, ...] = ()
    answer: str | None = None  # the class, in a classification
    cut: int = 0


def documents(
    batch: Any,
    tokenizer: Pieces,
    *,
    where: Sequence[str] = (),
    cut: Mapping[int, int] | None = None,
    classes: Sequence[str] = (),
) -> list[Document]:
    """The samples of a `tasks.Batch`. `where` names each, `cut` has tokens lost by id, `classes` the labels' names."""
    tokens = batch.tokens[0].tolist()
    answers = dict(zip(batch.where.tolist(), batch.labels.tolist(), strict=True)) if len(batch.where) else {}
    sources = batch.source[0].tolist() if batch.source is not None else []
    found: list[Document] = []
    start = source_start = 0
    for number, length in enumerate(batch.lengths):
        ids = tokens[start : start + length]
        source_length = batch.source_lengths[number] if batch.source_lengths else 0
        klass = None if len(batch.where) else int(batch.labels[number])
        found.append(
            Document(
                where=where[number] if where else f"#{batch.ids[number]}",
                pieces=_pieces(ids, {at - start: answer for at, answer in answers.items()}, tokenizer),
                source=tuple(tokenizer.pieces(sources[source_start : source_start + source_length])),
                answer=None if klass is None else (classes[klass] if classes else str(klass)),
                cut=(cut or {}).get(batch.ids[number], 0),
            )
        )
        start, source_start = start + length, source_start + source_length
    return found


def text(found: Sequence[Document], *, documents: int = DOCUMENTS, tokens: int = TOKENS) -> str:
    """The documents as lines for a terminal: the first `documents` of them, up to `tokens` tokens of each."""
    total = sum(len(document.pieces) for document in found)
    losses = sum(sum(piece.loss for piece in document.pieces) for document in found)
    lines = [say("data.show.row", documents=f"{len(found):,}", tokens=f"{total:,}")]
    if losses:
        lines.append(say("data.show.losses", losses=f"{losses:,}"))
        lines.append(say("data.show.marks"))
    for number, document in enumerate(found[:documents], start=1):
        lines += ["", say("data.show.document", number=number, where=document.where, tokens=len(document.pieces))]
        if document.source:
            lines.append(say("data.show.source") + _joined(document.source, tokens))
        lines.append(say("data.show.input") + _joined([_mark(piece, losses > 0) for piece in document.pieces], tokens))
        if document.answer is not None:
            lines.append(say("data.show.answer") + document.answer)
        if document.cut:
            lines.append(say("data.show.cut", count=document.cut))
    if len(found) > documents:
        lines += ["", say("data.show.more", count=f"{len(found) - documents:,}")]
    return "\n".join(lines)


def plain(found: Sequence[Document]) -> list[dict[str, Any]]:
    """The first documents as plain data: what `glance` shows."""
    documents, tokens = GLANCE
    return [
        {
            "where": document.where,
            "tokens": len(document.pieces),
            "source": [visible(piece) for piece in document.source[:tokens]],
            "input": [visible(piece.text) for piece in document.pieces[:tokens]],
            "loss": [piece.loss for piece in document.pieces[:tokens]],
            "answers": [piece.answer for piece in document.pieces[:tokens]],
            "label": document.answer,
            "cut": document.cut,
        }
        for document in found[:documents]
    ]


def glance(found: Sequence[Document]) -> Text:
    """The first documents in colour: what carries loss, what is only read, what was cut, the name of the label."""
    from rich.text import Text

    documents, tokens = GLANCE
    lossy = any(piece.loss for document in found for piece in document.pieces)
    total = sum(len(document.pieces) for document in found)
    shown = Text(say("data.show.row", documents=f"{len(found):,}", tokens=f"{total:,}"))
    if lossy:
        shown.append("\n").append(say("data.show.colour_loss"), LOSS).append("  ").append(
            say("data.show.colour_read"), READ
        )
    for number, document in enumerate(found[:documents], start=1):
        head = say("data.show.document", number=number, where=document.where, tokens=len(document.pieces))
        shown.append(f"\n{head}\n", "cyan")
        if document.source:
            shown.append(say("data.show.source") + _joined(document.source, tokens) + "\n")
        shown.append(say("data.show.input")).append_text(_coloured(document.pieces, tokens, lossy))
        if document.answer is not None:
            shown.append("\n" + say("data.show.answer")).append(visible(document.answer), LOSS)
        if document.cut:
            shown.append("\n").append(say("data.show.cut", count=document.cut), MORE)
    return shown


def _coloured(pieces: Sequence[Piece], most: int, lossy: bool) -> Text:
    from rich.text import Text

    shown = Text()
    for number, piece in enumerate(pieces[:most]):
        shown.append("|" if number else "", READ)
        shown.append(_written(piece.text), (LOSS if piece.loss else READ) if lossy else "")
        if piece.answer is not None:
            shown.append(f"→{_written(piece.answer)}", LOSS)
    if len(pieces) > most:
        shown.append(f"| … +{len(pieces) - most:,}", READ)
    return shown


def _pieces(ids: list[int], answers: Mapping[int, int], tokenizer: Pieces) -> tuple[Piece, ...]:
    texts = tokenizer.pieces(ids)
    pieces = []
    for at, piece in enumerate(texts):
        answer = answers.get(at)
        follows = at + 1 < len(ids) and answer == ids[at + 1]
        asked = None if answer is None or follows else tokenizer.pieces([answer])[0]
        pieces.append(Piece(text=piece, loss=answer is not None, answer=asked))
    return tuple(pieces)


def _mark(piece: Piece, lossy: bool) -> str:
    if not piece.loss and lossy:
        return f"({piece.text})"
    return piece.text if piece.answer is None else f"{piece.text}→{piece.answer}"


def _joined(pieces: Sequence[str], most: int) -> str:
    shown = "|".join(_written(piece) for piece in pieces[:most])
    return shown if len(pieces) <= most else f"{shown}| … +{len(pieces) - most:,}"


def _written(piece: str) -> str:
    return visible(piece.replace("\n", "⏎").replace("\t", "⇥"))
