"""What is asked of a model about one text, and the model's answer: the common ground of everything in this room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from regard.errors import RegardError
from regard.layers import Context
from regard.models.transformer import about
from regard.report.sections import Message, message

if TYPE_CHECKING:
    from regard.bundle import Bundle


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """`tokens` (T,) are what the stack with the head reads, `source` (S,) what an encoder before it reads.

    `rows` are the positions whose answers are explained, none where the head reads the whole text (a classifier);
    `answers` (n,) are the answer at each row: token ids, or the class. `remark` is what a reader must know about it.
    """

    tokens: Tensor
    rows: tuple[int, ...]
    answers: tuple[int, ...]
    source: Tensor | None = None
    remark: Message | None = None

    @property
    def size(self) -> int:
        """Tokens that one pass reads."""
        return len(self.tokens) + (0 if self.source is None else len(self.source))


def ask(bundle: Bundle, text: str, target: str | None) -> Question:
    """The question that `text` and `target` put to this kind of model.

    causal-lm       which token follows the text: the target's, or the likeliest one
    masked-lm       which tokens stand at the text's masks: the target's, or the likeliest; a text without a mask has
                    its last word hidden, and that word is the answer
    classification  why this label: the target, or the likeliest one
    seq2seq         why the target text, or the one that the model writes, from the text
    """
    if not text:
        raise RegardError("explain.empty")
    device = next(bundle.model.parameters()).device
    if bundle.task not in _ASKED:
        raise RegardError("explain.no_answer", task=bundle.task, family=bundle.family)
    question = _ASKED[bundle.task](bundle, text, target, device)
    most = bundle.context
    longest = max(len(question.tokens), 0 if question.source is None else len(question.source))
    if longest > most:
        raise RegardError("explain.too_long", tokens=longest, context=most)
    if question.answers:
        return question
    with torch.no_grad():
        best = logits(bundle.model, question)[0].argmax(-1)
    return replace(question, answers=tuple(best.tolist()))


def logits(model: Any, question: Question, copies: int = 1) -> Tensor:
    """The model's logits (copies, n, V) at the rows of the question; (copies, 1, classes) from a classifier."""
    tokens = question.tokens.expand(copies, -1)
    context = Context()
    if question.source is not None:
        context = Context(memory=model.encode(question.source.expand(copies, -1), Context()))
    if not question.rows:
        return at_least_single(about(model, tokens, context)).unsqueeze(1)
    return at_least_single(model.head(model.hidden(tokens, context)[:, list(question.rows)]))


def at_least_single(values: Tensor) -> Tensor:
    """The values in float32, or in the wider type that they have."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def log_probability(question: Question, logits: Tensor) -> Tensor:
    """(copies,) log-probability of the answers in nats, summed over the rows."""
    return (_at(question, logits) - logits.logsumexp(-1)).sum(-1)


def answer_logit(question: Question, logits: Tensor) -> Tensor:
    """(copies,) logit of the answers, summed over the rows."""
    return _at(question, logits).sum(-1)


def _at(question: Question, values: Tensor) -> Tensor:
    """values (copies, n, V) -> (copies, n) at the answers."""
    answers = torch.tensor(question.answers, device=values.device)
    return values.gather(-1, answers.expand(values.shape[0], -1).unsqueeze(-1)).squeeze(-1)


def _next_token(bundle: Bundle, text: str, target: str | None, device: torch.device) -> Question:
    tokenizer = bundle.tokenizer
    begin = [] if tokenizer.bos is None else [tokenizer.bos]  # as generation begins
    ids = [*begin, *tokenizer.encode(text, special=False)]
    answers = _pieces_of(bundle, target)
    rows = range(len(ids) - 1, len(ids) - 1 + max(1, len(answers)))
    return Question(tokens=_long([*ids, *answers[:-1]], device), rows=tuple(rows), answers=tuple(answers))


def _hidden_tokens(bundle: Bundle, text: str, target: str | None, device: torch.device) -> Question:
    tokenizer = bundle.tokenizer
    begin, end = _first(tokenizer.cls, tokenizer.bos), _first(tokenizer.sep, tokenizer.eos)
    if tokenizer.mask is None or begin is None or end is None:
        raise RegardError("explain.no_mask_token")
    parts = [tokenizer.encode(part, special=False) for part in text.split(tokenizer.pieces([tokenizer.mask])[0])]
    if len(parts) == 1 and target is None:
        return _last_word(bundle, parts[0], begin, end, device)
    ids, rows = [begin, *parts[0]], []
    for part in parts[1:]:
        rows.append(len(ids))
        ids += [tokenizer.mask, *part]
    answers = _pieces_of(bundle, target)
    if not rows or (answers and len(answers) != len(rows)):
        raise RegardError(
            "explain.masks", masks=len(rows), tokens=len(answers), mask=tokenizer.pieces([tokenizer.mask])[0]
        )
    return Question(tokens=_long([*ids, end], device), rows=tuple(rows), answers=tuple(answers))


def _last_word(bundle: Bundle, ids: list[int], begin: int, end: int, device: torch.device) -> Question:
    words = bundle.tokenizer.words(ids)
    lettered = [any(one.isalnum() for one in piece) for piece in bundle.tokenizer.pieces(ids)]
    real = [word for word, letters in zip(words, lettered, strict=True) if word is not None and letters]
    last = real[-1] if real else None
    hidden = [at for at, word in enumerate(words) if word is not None and word == last]
    if not hidden:
        raise RegardError("explain.empty")
    shown = [bundle.tokenizer.mask if at in hidden else token for at, token in enumerate(ids)]
    tokens = _long([begin, *shown, end], device)
    answers = tuple(ids[at] for at in hidden)
    remark = message("explain.hidden_word", word=bundle.tokenizer.decode(list(answers)))
    return Question(tokens=tokens, rows=tuple(at + 1 for at in hidden), answers=answers, remark=remark)


def _label(bundle: Bundle, text: str, target: str | None, device: torch.device) -> Question:
    labels = tuple(bundle.labels or ())
    if target is not None and target not in labels:
        raise RegardError("explain.no_label", label=target, labels=", ".join(labels))
    answers = () if target is None else (labels.index(target),)
    return Question(tokens=_long(bundle.tokenizer.encode(text), device), rows=(), answers=answers)


def _translation(bundle: Bundle, text: str, target: str | None, device: torch.device) -> Question:
    from regard.generate import Settings, generate

    tokenizer = bundle.tokenizer
    begin = bundle.marks.settled(bundle.model.config).begin  # as decoding begins
    if tokenizer.eos is None:
        raise RegardError("explain.no_start")
    if target is None:
        # The very tokens that the model wrote: encoding its text anew could cut it up in another way.
        written = list(generate(bundle, [text], Settings(temperature=0.0, max_tokens=WRITTEN))[0].tokens)
        written = written[len(begin) - 1 :]
    else:
        written = [*tokenizer.encode(target, special=False), tokenizer.eos]
    source = _long(tokenizer.encode(text), device)
    rows = tuple(range(len(begin) - 1, len(begin) - 1 + len(written)))
    return Question(tokens=_long([*begin, *written[:-1]], device), rows=rows, answers=tuple(written), source=source)


WRITTEN = 64  # tokens at most of a target that the model writes itself

_ASKED = {
    "causal-lm": _next_token,
    "masked-lm": _hidden_tokens,
    "classification": _label,
    "seq2seq": _translation,
}


def _pieces_of(bundle: Bundle, target: str | None) -> list[int]:
    if target is None:
        return []
    ids = bundle.tokenizer.encode(target, special=False)
    if not ids:
        raise RegardError("explain.empty_target")
    return ids


def _first(*ids: int | None) -> int | None:
    return next((token for token in ids if token is not None), None)


def _long(ids: Sequence[int | None], device: torch.device) -> Tensor:
    return torch.tensor(ids, dtype=torch.int64, device=device)
