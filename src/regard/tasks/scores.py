"""Scores of held-out data with their uncertainty, and how much of a text was copied.

Every score is a function of sums over examples, and keeps them: one bootstrap serves all scores (draw examples with
replacement, add up, compute again: Efron and Tibshirani 1993, chapter 13), and so do comparisons and slices. The
intervals are 95 % percentile intervals; they say how far the figure would move with other held-out examples, not with
another training seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from regard.errors import RegardError, need

Column = Sequence[float] | np.ndarray  # one value for each example
ROUNDS = 1000  # bootstrap resamples
LOWER_IS_BETTER = frozenset({"bits_per_character", "perplexity", "nats_per_token", "wer", "cer"})


@dataclass(frozen=True, eq=False)
class Sums:
    """What a score is made of: `values` (N, K), a row for each example, are added up over examples, and `figure` maps
    (rounds, K) totals to (rounds,) figures."""

    values: np.ndarray
    figure: Callable[[np.ndarray], np.ndarray]

    def of(self, totals: np.ndarray) -> np.ndarray:
        """(rounds, K) totals as (rounds,) figures; NaN or infinite where a resample left nothing to divide by."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.figure(totals)

    def total(self) -> float:
        """The figure of all examples."""
        return float(self.of(self.values.sum(0, keepdims=True))[0])

    def among(self, chosen: np.ndarray) -> Sums:
        """The same of some of the examples, by number or by truth value."""
        return Sums(self.values[chosen], self.figure)


@dataclass(frozen=True, kw_only=True)
class Score:
    """One figure and the 95 % interval around it; an interval of None where there is nothing to resample."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    sums: Sums | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a scoring knows of its examples (N) beside the sums of its scores: `rows` (N,), their numbers among the
    held-out rows; of a classification also `truth` (N,) and the `chances` (N, C) that it gave to each class."""

    rows: np.ndarray
    truth: np.ndarray | None = None
    chances: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one method reached on held-out data: `name` of the method, its scores with the task's primary one first.

    `examples` were scored and `cut` tokens of them were lost to truncation; `details` holds plain values (a confusion
    matrix, answers).
    """

    name: str
    scores: tuple[Score, ...]
    examples: int
    cut: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = field(default=None, compare=False, repr=False)

    @property
    def primary(self) -> Score:
        """The score that the task is judged by."""
        return self.scores[0]

    @property
    def values(self) -> dict[str, float]:
        """Score names and values, primary first."""
        return {score.name: score.value for score in self.scores}

    def better_than(self, other: Result) -> bool:
        """Whether the primary score is strictly better."""
        if self.primary.name != other.primary.name:
            raise ValueError(f"{self.primary.name} and {other.primary.name} cannot be compared")
        lower = self.primary.name in LOWER_IS_BETTER
        return self.primary.value < other.primary.value if lower else self.primary.value > other.primary.value

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; what is not finite becomes None."""
        return {
            "name": self.name,
            "examples": self.examples,
            "cut": self.cut,
            "scores": {
                s.name: {"value": _plain(s.value), "low": _plain(s.low), "high": _plain(s.high)} for s in self.scores
            },
            **self.details,
        }


# ------------------------------------------------------------------------------------------------------------ language


def language_scores(nats: Column, characters: Column, tokens: Column) -> tuple[Score, ...]:
    """Bits per character, perplexity and nats per token from each document's summed nats, characters and tokens.

    `nats` cover the end of the document too; `characters` count the text alone. Bits per character are comparable
    between any two methods that give each possible document a probability, whatever their tokens; the other two are
    not.
    """
    sums = np.stack([np.asarray(column, dtype=np.float64) for column in (nats, characters, tokens)], axis=1)
    if not sums[:, 1].sum() or not sums[:, 2].sum():
        raise RegardError("tasks.nothing_to_score")
    return (
        bootstrap("bits_per_character", sums, lambda total: total[:, 0] / total[:, 1] / math.log(2)),
        bootstrap("perplexity", sums, lambda total: np.exp(total[:, 0] / total[:, 2])),
        bootstrap("nats_per_token", sums, lambda total: total[:, 0] / total[:, 2]),
    )


def token_scores(right: Column, counts: Column, nats: Column | None = None) -> tuple[Score, ...]:
    """Accuracy over tokens, and perplexity where nats are known, from each document's sums."""
    columns = [right, counts] if nats is None else [right, counts, nats]
    sums = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)
    if not sums[:, 1].sum():
        raise RegardError("tasks.nothing_to_score")
    scores = [bootstrap("accuracy", sums, lambda total: total[:, 0] / total[:, 1])]
    if nats is not None:
        scores.append(bootstrap("perplexity", sums, lambda total: np.exp(total[:, 2] / total[:, 1])))
        scores.append(bootstrap("nats_per_token", sums, lambda total: total[:, 2] / total[:, 1]))
    return tuple(scores)


# ------------------------------------------------------------------------------------------------------ classification


def class_scores(truth: Column, answers: Column, classes: int) -> tuple[Score, ...]:
    """Accuracy and macro F1 over examples; `truth` and `answers` are class numbers below `classes`."""
    gold, said = np.asarray(truth), np.asarray(answers)
    if len(gold) == 0:
        raise RegardError("tasks.nothing_to_score")
    eye = np.eye(classes)
    sums = np.concatenate([eye[gold] * (gold == said)[:, None], eye[gold], eye[said]], axis=1)
    return (
        bootstrap("accuracy", sums, lambda total: total[:, :classes].sum(1) / total[:, classes : 2 * classes].sum(1)),
        bootstrap("macro_f1", sums, lambda total: _macro_f1(*np.split(total, 3, axis=1))),
    )


def confusion(truth: Column, answers: Column, classes: int) -> np.ndarray:
    """(classes, classes) counts: row the true class, column the answer."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (np.asarray(truth, dtype=np.int64), np.asarray(answers, dtype=np.int64)), 1)
    return table


def _macro_f1(right: np.ndarray, gold: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Mean of 2 right / (gold + said) over the classes that occur in truth or answers; (rounds, classes) each."""
    both = gold + said
    f1 = np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0)
    return f1.sum(1) / (both > 0).sum(1)


# --------------------------------------------------------------------------------------------------------- translation


def translation_scores(answers: Sequence[str], references: Sequence[str]) -> tuple[Score, ...]:
    """chrF (Popović 2015), BLEU (Papineni et al. 2002), both by sacrebleu on 0..100, and the share of exact matches.

    BLEU splits Chinese references into characters (sacrebleu's `zh`), others into its `13a` words.
    """
    if len(answers) != len(references) or not answers:
        raise RegardError("tasks.nothing_to_score")
    metrics = need("sacrebleu.metrics", extra="text")
    chinese = sum(is_han(c) for text in references for c in text) > sum(
        c.isascii() and c.isalpha() for t in references for c in t
    )
    same = np.asarray([[float(a.strip() == r.strip()), 1.0] for a, r in zip(answers, references, strict=True)])
    return (
        _sacrebleu("chrf", metrics.CHRF(), answers, references),
        _sacrebleu("bleu", metrics.BLEU(tokenize="zh" if chinese else "13a"), answers, references),
        bootstrap("exact_match", same, lambda total: total[:, 0] / total[:, 1]),
    )


def _sacrebleu(name: str, metric: Any, answers: Sequence[str], references: Sequence[str]) -> Score:
    # sacrebleu's own bootstrap raises TypeError where scores are numpy's (2.6.0), so its sums are resampled here.
    sums = np.asarray(metric._extract_corpus_statistics(list(answers), [list(references)]), dtype=np.float64)

    def score(totals: np.ndarray) -> np.ndarray:
        return np.asarray(
            [metric._compute_score_from_stats(total.tolist()).score for total in totals], dtype=np.float64
        )

    return bootstrap(name, sums, score)


def spelling_scores(answers: Sequence[str], references: Sequence[str]) -> tuple[Score, ...]:
    """Word and character error rates: what must be put in, taken out or replaced for each of the reference's."""
    scores = []
    for name, cut in (("wer", str.split), ("cer", list)):
        pairs = [(cut(answer), cut(reference)) for answer, reference in zip(answers, references, strict=True)]
        sums = np.array([[edits(*pair), len(pair[1])] for pair in pairs], dtype=np.float64).reshape(-1, 2)
        scores.append(bootstrap(name, sums, lambda total: total[:, 0] / total[:, 1]))
    return tuple(scores)


def edits(a: Sequence[str], b: Sequence[str]) -> int:
    """The least number of insertions, deletions and replacements that make b of a (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def is_han(character: str) -> bool:
    """Whether this is a Chinese character (a CJK ideograph, compatibility ones included)."""
    return any(first <= character <= last for first, last in _HAN)


_HAN = (("㐀", "\u4dbf"), ("一", "\u9fff"), ("\uf900", "\ufaff"), ("\U00020000", "\U0003fffd"))


# ----------------------------------------------------------------------------------------------------------- intervals


def bootstrap(name: str, values: np.ndarray, figure: Callable[[np.ndarray], np.ndarray], seed: int = 0) -> Score:
    """The score of all examples with its 95 % percentile interval.

    `values` (examples, K) are summed over examples, `figure` maps (rounds, K) totals to (rounds,) figures.
    """
    sums = Sums(values, figure)
    if len(values) < 2:
        return Score(name=name, value=sums.total(), sums=sums)
    low, high = middle(resampled(sums, seed))
    return Score(name=name, value=sums.total(), low=low, high=high, sums=sums)


def resampled(sums: Sums, seed: int = 0) -> np.ndarray:
    """(ROUNDS,) the figure of as many examples drawn with replacement, again and again."""
    return np.concatenate([sums.of(drawn @ sums.values) for drawn in draws(len(sums.values), seed)])


def draws(examples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each of the `examples` is drawn in each of ROUNDS rounds: (rounds, examples) at a time.

    The same for the same seed and number, so that what is resampled beside each other stays paired.
    """
    generator = np.random.default_rng([seed, examples])
    for rounds in batches(ROUNDS, examples):
        drawn = generator.integers(0, examples, size=(rounds, examples))
        drawn += np.arange(rounds)[:, None] * examples  # each round counts in a stretch of its own
        yield np.bincount(drawn.ravel(), minlength=rounds * examples).reshape(rounds, examples).astype(np.float64)


def batches(rounds: int, examples: int) -> Iterator[int]:
    """How many of the `rounds` to do at once, so that an array over them and the examples stays near 32 MB."""
    at_once = max(1, 4_000_000 // max(1, examples))
    for start in range(0, rounds, at_once):
        yield min(at_once, rounds - start)


def middle(figures: np.ndarray) -> tuple[float, float]:
    """The ends of the middle 95 % of those figures that are finite."""
    low, high = np.quantile(figures[np.isfinite(figures)], [0.025, 0.975])
    return float(low), float(high)


def _plain(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


# ------------------------------------------------------------------------------------------------------------- copying


@dataclass(frozen=True, kw_only=True)
class Copied:
    """The longest run of characters that a text shares with a corpus: `text[start : start + length]`."""

    length: int
    run: str
    start: int


def longest_copied(text: str, corpus: Iterable[str]) -> Copied:
    """The longest run of `text` that stands in one document of `corpus`; of equally long ones the first found.

    Exact. It searches the corpus once for each character of `text`, so give it poems, not books. Documents are read
    once, in blocks, so the corpus may be larger than memory.
    """
    start, length = 0, 0
    for block in _blocks([corpus] if isinstance(corpus, str) else corpus):
        for begin in range(len(text)):
            # A longer run from here must contain the run that is one longer than the best: ask for that, then grow.
            while begin + length < len(text) and text[begin : begin + length + 1] in block:
                start, length = begin, length + 1
    return Copied(length=length, run=text[start : start + length], start=start)


class _Documents:
    """Some documents in one string; `in` does not find runs across their borders."""

    def __init__(self, documents: list[str]) -> None:
        self.joined = "\x00".join(documents)
        self.documents = documents

    def __contains__(self, run: str) -> bool:
        if "\x00" in run:
            return any(run in document for document in self.documents)
        return run in self.joined


_BLOCK = 1 << 23  # characters searched at one time


def _blocks(corpus: Iterable[str]) -> Iterable[_Documents]:
    held: list[str] = []
    characters = 0
    for document in corpus:
        held.append(document)
        characters += len(document)
        if characters >= _BLOCK:
            yield _Documents(held)
            held, characters = [], 0
    yield _Documents(held)
