"""The answer that is commonest in the training data, whatever is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def commonest(answers: Sequence[T]) -> T:
    """The most frequent of `answers`; of equally frequent ones the first."""
    return Counter(answers).most_common(1)[0][0]
