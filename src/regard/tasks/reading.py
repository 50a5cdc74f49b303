"""What models that only read say of a text: the names in it, the answer to a question, how good it is, which of several
it goes with. For prediction; none of them is trained here yet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.layers import Context
from regard.models.transformer import about
from regard.tasks.base import device_of, evaluating, probabilities, refuse_long

if TYPE_CHECKING:
    from regard.bundle import Bundle

TASKS = ("tagging", "question-answering", "scoring", "choice")
LONGEST_ANSWER = 30  # tokens
OUTSIDE = "O"
_PLACE = re.compile(r"([BIESLU])-(.+)", re.DOTALL)  # where in a name a token stands, in the usual schemes
_ALONE, _LAST = ("B", "S", "U"), ("E", "L", "S", "U")  # begins a name of its own; ends it
_HAN = re.compile(r"[぀-ヿ㐀-鿿가-힯豈-﫿\U00020000-\U0003134f]")


def predict(
    bundle: Bundle, texts: Iterable[str], *, question: str | None = None, among: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """What a model of one of ``TASKS`` says of each text. question: what stands before the text (question-answering
    needs one, scoring takes one); among: what a choice is made from. Raises RegardError for what is missing or too
    long."""
    if bundle.task == "question-answering" and question is None:
        raise RegardError("tasks.question_needed")
    if bundle.task == "choice" and len(among) < 2:
        raise RegardError("tasks.choose_what")
    for text in texts:
        if bundle.task == "tagging":
            yield {"text": text, "found": names(bundle, text)}
        elif bundle.task == "question-answering":
            yield {"text": text, "question": question, **answer(bundle, question or "", text)}
        elif bundle.task == "scoring":
            told = {} if question is None else {"question": question}
            yield {"text": text, **told, "score": score(bundle, text, question)}
        else:
            chances = choose(bundle, text, among)
            named = dict(sorted(zip(among, chances, strict=True), key=lambda one: -one[1]))
            yield {"text": text, "choice": next(iter(named)), "probabilities": named}


def names(bundle: Bundle, text: str) -> list[dict[str, Any]]:
    """What tokens are labelled as, neighbours of one name together, without those that are outside of any: its words,
    label, the mean probability of its words' first tokens, and, where the tokenizer can say, its place in the text.

    A token that goes on with a word is labelled as the word's first: models are taught no other.
    """
    tokenizer = bundle.tokenizer
    ids, places = tokenizer.encode(text, special=False), tokenizer.places(text)
    around = tokenizer.template
    row = [*around.before, *ids, *around.after]
    refuse_long(text, len(row), bundle.context)
    shares = probabilities(_said(bundle, row)[0])[len(around.before) : len(around.before) + len(ids)]
    best, found = shares.max(-1), []
    pieces = tokenizer.pieces(ids)
    open_, kind = False, ""
    for at, (label, share) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True)):
        if at and _goes_on(text, places, pieces, at):
            if open_:
                found[-1]["tokens"].append(ids[at])
                found[-1]["end"] = None if places is None else places[at][1]
            continue
        named = _PLACE.fullmatch(bundle.labels[label])
        where, new = (named[1], named[2]) if named else ("", bundle.labels[label])
        if new == OUTSIDE:
            open_ = False
            continue
        if not open_ or new != kind or where in _ALONE:
            begin = None if places is None else places[at][0]
            found.append({"label": new, "shares": [], "tokens": [], "begin": begin, "end": None})
        found[-1]["shares"].append(share)
        found[-1]["tokens"].append(ids[at])
        found[-1]["end"] = None if places is None else places[at][1]
        open_, kind = where not in _LAST, new
    return [_shown(bundle, text, one) for one in found]


def answer(bundle: Bundle, question: str, text: str) -> dict[str, Any]:
    """The best span of the text: its words, its probability as product of both ends', and, where the tokenizer can say,
    its place; and how likely it is that there is none, by the ends on the first token (Devlin et al. 2018, section
    4.3). A text that is longer than the model's context is read in windows that overlap by half."""
    tokenizer, around = bundle.tokenizer, bundle.tokenizer.template
    asked, ids = tokenizer.encode(question, special=False), tokenizer.encode(text, special=False)
    room = bundle.context - len(asked) - len(around.pair_before) - len(around.between) - len(around.pair_after)
    if room < 2:
        raise RegardError("tasks.too_long", text=question[:40], tokens=len(asked), context=bundle.context)
    if not ids:
        return {"answer": "", "probability": 0.0, "no_answer": 1.0, "begin": None, "end": None}
    best, nothing = (-1.0, 0, 0), 1.0
    for first in range(0, max(1, len(ids) - room + (room + 1) // 2), (room + 1) // 2):
        window = ids[first : first + room]
        row, kinds = around.fill(asked, window, None)
        begin = len(row) - len(around.pair_after) - len(window)
        ends = _said(bundle, row, kinds, global_=len(around.pair_before) + len(asked))[0].T  # (2, T)
        where = torch.tensor([0, *range(begin, begin + len(window))], device=ends.device)
        both = probabilities(ends[:, where])
        nothing = min(nothing, float(both[0, 0] * both[1, 0]))
        pairs = (both[0, 1:, None] * both[1, None, 1:]).triu().tril(LONGEST_ANSWER - 1)
        likely, at = float(pairs.max()), int(pairs.argmax())
        if likely > best[0]:
            best = (likely, first + at // len(window), first + at % len(window))
    likely, first, last = best
    places = tokenizer.places(text)
    begin, end = (None, None) if places is None else _bare(text, places[first][0], places[last][1])
    words = tokenizer.decode(ids[first : last + 1]).strip() if begin is None else text[begin:end]
    return {"answer": words, "probability": likely, "no_answer": nothing, "begin": begin, "end": end}


def score(bundle: Bundle, text: str, question: str | None = None) -> float:
    """The one number of a text, or of a text behind a question."""
    first, second = (text, None) if question is None else (question, text)
    row, kinds = bundle.tokenizer.encode_typed(first, second)
    refuse_long(text, len(row), bundle.context)
    return float(_said(bundle, row, kinds).flatten()[0])


def choose(bundle: Bundle, text: str, among: Sequence[str]) -> list[float]:
    """How likely the text goes with each of several others."""
    rows = [bundle.tokenizer.encode_typed(text, other) for other in among]
    for (row, _), other in zip(rows, among, strict=True):
        refuse_long(other, len(row), bundle.context)
    said = torch.stack([_said(bundle, row, kinds).flatten()[0] for row, kinds in rows])
    return probabilities(said).tolist()


def _said(bundle: Bundle, row: Sequence[int], kinds: Sequence[int] = (), *, global_: int = 0) -> Tensor:
    """The head's answer to one row. global_: how many of its first tokens see all, in a model of windows."""
    tokens = torch.tensor([list(row)], device=device_of(bundle.model))
    types = torch.tensor([list(kinds)], device=tokens.device) if kinds else None
    everywhere = torch.arange(tokens.shape[1], device=tokens.device)[None] < global_ if global_ else None
    with evaluating(bundle.model):
        return about(bundle.model, tokens, Context(types=types, everywhere=everywhere))


def _goes_on(text: str, places: Sequence[tuple[int, int]] | None, pieces: Sequence[str], at: int) -> bool:
    """Whether a token goes on with the word of the one before it: letters without a gap, of a script that has gaps."""
    if places is None:
        before, after = pieces[at - 1][-1:], pieces[at][:1]
    else:
        if places[at][0] > places[at - 1][1] or not places[at][0]:
            return False
        before, after = text[places[at][0] - 1], text[places[at][0] : places[at][0] + 1]
        if places[at][0] < places[at - 1][1]:  # a character of several tokens
            return True
    return before.isalnum() and after.isalnum() and not (_HAN.match(before) or _HAN.match(after))


def _bare(text: str, begin: int, end: int) -> tuple[int, int]:
    """A place without the blanks at its ends."""
    part = text[begin:end]
    return begin + len(part) - len(part.lstrip()), end - (len(part) - len(part.rstrip()))


def _shown(bundle: Bundle, text: str, one: dict[str, Any]) -> dict[str, Any]:
    begin, end = one["begin"], one["end"]
    if begin is not None:
        begin, end = _bare(text, begin, end)
    words = bundle.tokenizer.decode(one["tokens"]).strip() if begin is None else text[begin:end]
    likely = sum(one["shares"]) / len(one["shares"])
    return {"words": words, "label": one["label"], "probability": likely, "begin": begin, "end": end}
