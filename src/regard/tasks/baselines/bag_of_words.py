"""Classifiers that see which words a text has and not their order: naive Bayes, and logistic regression on tf-idf."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from regard.tasks.scores import is_han

_WORD = re.compile(r"\w+")


def features(text: str) -> list[str]:
    """Lower-case words; each run of Chinese characters as its single characters and its neighbouring pairs."""
    found: list[str] = []
    for word in _WORD.findall(text.lower()):
        han = [is_han(character) for character in word]
        if any(han):
            found += word
            found += [word[i : i + 2] for i in range(len(word) - 1)]
        else:
            found.append(word)
    return found


class NaiveBayes:
    """Multinomial, with one added to every count (McCallum and Nigam 1998)."""

    def __init__(self, texts: Sequence[str], classes: Sequence[int], count: int) -> None:
        self._words = _Vocabulary(texts)
        rows, columns, times = self._words.counts(texts)
        table = np.zeros((count, len(self._words)))
        np.add.at(table, (np.asarray(classes)[rows], columns), times)
        self._word = np.log(table + 1) - np.log(table.sum(1, keepdims=True) + max(len(self._words), 1))
        with np.errstate(divide="ignore"):  # a class without an example is never the answer
            self._class = np.log(np.bincount(classes, minlength=count) / len(classes))

    def answer(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) the most probable class of each text; words never seen in training count for nothing."""
        rows, columns, times = self._words.counts(texts)
        score = np.tile(self._class, (len(texts), 1))
        np.add.at(score, rows, self._word[:, columns].T * times[:, None])
        return score.argmax(1)


class LogisticRegression:
    """Softmax regression on tf-idf rows of length 1 with an L2 penalty; L-BFGS from zero, so there is no seed.

    Weights are (1 + log tf) (1 + log((1 + N) / (1 + df))); the objective is the sum of the examples' cross-entropies
    times `strength` plus half the squared weights; the bias is not penalised.
    """

    def __init__(self, texts: Sequence[str], classes: Sequence[int], count: int, strength: float = 3.0) -> None:
        self._words = _Vocabulary(texts)
        columns = self._words.counts(texts)[1]
        self._rarity = 1 + np.log((1 + len(texts)) / (1 + np.bincount(columns, minlength=len(self._words))))
        self._weight = torch.zeros(len(self._words), count, dtype=torch.float64, requires_grad=True)
        self._bias = torch.zeros(count, dtype=torch.float64, requires_grad=True)
        self._fit(self._rows(texts), torch.as_tensor(np.asarray(classes)), strength)

    def answer(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) the most probable class of each text."""
        with torch.no_grad():
            return self._logits(self._rows(texts), len(texts)).argmax(1).numpy()

    def _fit(self, rows: tuple[Tensor, Tensor, Tensor], classes: Tensor, strength: float) -> None:
        optimizer = torch.optim.LBFGS(
            [self._weight, self._bias],
            max_iter=200,
            tolerance_grad=1e-5,
            line_search_fn="strong_wolfe",
            history_size=10,
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            logits = self._logits(rows, len(classes))
            loss = torch.nn.functional.cross_entropy(logits, classes, reduction="sum")
            objective = strength * loss + self._weight.square().sum() / 2
            objective.backward()
            return objective

        optimizer.step(closure)

    def _logits(self, rows: tuple[Tensor, Tensor, Tensor], count: int) -> Tensor:
        row, column, value = rows
        start = self._bias.expand(count, -1)
        return start.index_add(0, row, self._weight[column] * value[:, None])

    def _rows(self, texts: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
        rows, columns, times = self._words.counts(texts)
        value = (1 + np.log(times)) * self._rarity[columns]
        length = np.sqrt(np.bincount(rows, weights=value**2, minlength=len(texts)))
        return torch.from_numpy(rows), torch.from_numpy(columns), torch.from_numpy(value / length[rows])


class _Vocabulary:
    """The features of the training texts, numbered."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._numbers: dict[str, int] = {}
        for text in texts:
            for feature in features(text):
                self._numbers.setdefault(feature, len(self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)

    def counts(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Text, feature and how often, for every known feature of every text; three arrays of one length."""
        rows: list[int] = []
        columns: list[int] = []
        times: list[int] = []
        for row, text in enumerate(texts):
            counted = Counter(self._numbers[feature] for feature in features(text) if feature in self._numbers)
            rows += [row] * len(counted)
            columns += counted.keys()
            times += counted.values()
        return (
            np.asarray(rows, dtype=np.int64),
            np.asarray(columns, dtype=np.int64),
            np.asarray(times, dtype=np.float64),
        )
