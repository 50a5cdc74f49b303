"""From letters and blanks for each frame to a text: the likeliest letter of each, or a search over what they spell."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

_NEVER = float("-inf")


def greedy(logits: Tensor, blank: int) -> list[int]:
    """The likeliest letter of each frame, repetitions merged, blanks left out (Graves et al. 2006). logits (T, V)."""
    letters = torch.unique_consecutive(logits.argmax(-1)).tolist()
    return [letter for letter in letters if letter != blank]


@dataclass(frozen=True)
class Reading:
    """What is spelled, and the log of the share of all ways to spell it that the search kept."""

    letters: tuple[int, ...]
    score: float


def beams(logits: Tensor, blank: int, width: int, *, best: int = 1, candidates: int = 24) -> list[Reading]:
    """The likeliest spellings, each summed over its ways (Hannun et al. 2014, algorithm 1, without a language model).

    logits (T, V). ``candidates``: letters that are tried at each frame, the likeliest.
    """
    logits = logits.double()
    logs = logits - logits.logsumexp(-1, keepdim=True)
    tried = logs.topk(min(candidates, logs.shape[1]), -1).indices.tolist()
    rows = logs.tolist()
    # Of each spelling: log of the ways that end in a blank, and of those that end in its last letter.
    held: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, _NEVER)}
    for row, letters in zip(rows, tried, strict=True):
        after: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [_NEVER, _NEVER])
        for spelled, (empty, full) in held.items():
            both = _sum(empty, full)
            after[spelled][0] = _sum(after[spelled][0], both + row[blank])
            if spelled:
                after[spelled][1] = _sum(after[spelled][1], full + row[spelled[-1]])
            for letter in letters:
                if letter != blank:  # a letter twice needs a blank between
                    ways = empty if spelled and spelled[-1] == letter else both
                    longer = after[(*spelled, letter)]
                    longer[1] = _sum(longer[1], ways + row[letter])
        ranked = sorted(after.items(), key=lambda one: (-_sum(*one[1]), one[0]))
        held = {spelled: (ways[0], ways[1]) for spelled, ways in ranked[:width]}
    return [Reading(spelled, _sum(*ways)) for spelled, ways in list(held.items())[:best]]


def _sum(a: float, b: float) -> float:
    most = max(a, b)
    return most if most == _NEVER else most + math.log(math.exp(a - most) + math.exp(b - most))
