"""The settings of each task, as frozen dataclasses; read from recipes and the command line without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CausalLM:
    """Predict each token from those before it. `context`: tokens in a chunk, None = as many as the model takes."""

    context: int | None = None


@dataclass(frozen=True, kw_only=True)
class MaskedLM:
    """Fill gaps (Devlin et al. 2019, arXiv:1810.04805, section 3.1; whole words as in their release of May 2019).

    `rate` of the tokens are chosen, whole words at a time; of these `masked` are hidden, `replaced` are swapped for a
    random token, and the rest stay as they are.
    """

    context: int | None = None
    rate: float = 0.15
    masked: float = 0.8
    replaced: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Seq2Seq:
    """Turn a source into a target. `beams`: width of the search that scores and predictions use, 1 = greedy."""

    context: int | None = None
    beams: int = 1


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Name the class of a text. `labels`: the classes in the model's order; empty = those of the training data, sorted."""

    context: int | None = None
    labels: tuple[str, ...] = ()


Config = CausalLM | MaskedLM | Seq2Seq | Classification
