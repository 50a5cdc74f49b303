"""The family table: one row for each foreign model type, which every test of this folder runs over.

A row names the class of the reference implementation and the arguments of its smallest config; a variant changes some.
Sizes are primes, or of prime factors of their own, so that no swap of axes survives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

VOCAB, CONTEXT, DEPTH = 31, 29, 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One model type.

    architecture  the reference's class
    config        arguments of its config; ``base`` stands under every variant
    variants      further cases by name: changed arguments, and perhaps another ``architecture``, ``kind`` or ``unused``
    unused        parts of names of their tensors that are stored and that no number depends on
    fixed         parts of names of their tensors that hold constants and are not randomised
    pad           what stands in the places of padding, for a reference that looks for it
    norm          around what the weights of norms are drawn
    batched       why a token's numbers may depend in the last bits on what stands beside it; "" where they must not
    """

    model_type: str
    architecture: str
    config: Mapping[str, Any]
    kind: Literal["decoder", "encoder", "seq2seq"] = "decoder"
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unused: Sequence[str] = ()
    fixed: Sequence[str] = ()
    pad: int = 0
    norm: float = 1.0
    batched: str = ""


@dataclass(frozen=True, eq=False)
class Case:
    """A row in one of its variants; ``name`` is the test's id."""

    row: Row
    variant: str = ""

    @property
    def name(self) -> str:
        return f"{self.row.model_type}-{self.variant}" if self.variant else self.row.model_type

    @property
    def architecture(self) -> str:
        return self._changes.get("architecture", self.row.architecture)

    @property
    def kind(self) -> str:
        return self._changes.get("kind", self.row.kind)

    @property
    def config(self) -> dict[str, Any]:
        changes = {key: value for key, value in self._changes.items() if key not in ("architecture", "kind", "unused")}
        return {**self.row.config, **changes}

    @property
    def unused(self) -> Sequence[str]:
        return self._changes.get("unused", self.row.unused)

    @property
    def writes_text(self) -> bool:
        """Whether it predicts next tokens."""
        generative = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "MTModel", "ForCausalImageModeling")
        return self.kind != "encoder" and self.architecture.endswith(generative)

    @property
    def _changes(self) -> Mapping[str, Any]:
        return self.row.variants[self.variant] if self.variant else {}


def cases(*kinds: str, writing: bool = False) -> list[Case]:
    """All cases, or those of some kinds; ``writing``: only those that predict next tokens."""
    return [case for case in _all() if (not kinds or case.kind in kinds) and (case.writes_text or not writing)]


def _all() -> Iterator[Case]:
    from family_rows_decoders import ROWS as DECODERS
    from family_rows_encoders import ROWS as ENCODERS
    from family_rows_seq2seq import ROWS as SEQ2SEQ

    for row in (*ENCODERS, *DECODERS, *SEQ2SEQ):
        if row not in _CASES:
            _CASES[row] = [Case(row), *(Case(row, variant) for variant in row.variants)]
        yield from _CASES[row]


_CASES: dict[Row, list[Case]] = {}  # a case is one object, whichever test asks for it
