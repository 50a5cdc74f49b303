"""Texts of a given form: a JSON schema or a regular expression, held token by token (llguidance)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from regard import limits
from regard.errors import RegardError, need
from regard.generate.rows import History

LONGEST = 1 << 20  # characters of a schema or expression
# A model that may write white space anywhere may go on doing so.
SPACES = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def _why(said: str) -> str:
    """The sentence in what llguidance says, which also draws the place over several lines."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (*named, *lines, said)[0].rstrip(".")[:200]


class Form:
    """Which tokens may follow a text so that it can still end in the form asked for; the end token only when it has.

    The state of each text is found by its tokens, so rows may be reordered, repeated and taken back.
    """

    def __init__(self, tokenizer: Any, *, schema: str | None = None, regex: str | None = None) -> None:
        guide = need("llguidance", "constrain")
        if tokenizer.eos is None:
            raise RegardError("generate.form_needs_end")
        source = str(schema if regex is None else regex)
        if len(source) > LONGEST:
            raise RegardError("generate.bad_form", form=source[:60], why=f"{len(source)} > {LONGEST}")
        self._vocab = tokenizer.size
        try:
            known = guide.LLTokenizer(json.dumps(tokenizer.document()), self._vocab, tokenizer.eos)
            if regex is None:
                wants = limits.parse_json(source.encode(), "schema")
                grammar = guide.LLMatcher.grammar_from_json_schema(wants, overrides=SPACES)
            else:
                grammar = guide.LLMatcher.grammar_from_regex(source)
            self._first = guide.LLMatcher(known, grammar)
        except (ValueError, RuntimeError) as error:
            raise RegardError("generate.bad_form", form=source[:60], why=_why(str(error))) from error
        if self._first.is_error():
            raise RegardError("generate.bad_form", form=source[:60], why=_why(self._first.get_error()))
        self._states: dict[tuple[int, ...], Any] = {(): self._first}

    def held(self, logits: Tensor, histories: Sequence[History]) -> Tensor:
        """The logits (B, V), -inf where a token would leave the form."""
        states = {history.written: self._state(history.written) for history in histories}
        self._states = {(): self._first} | states
        masks = np.stack([np.frombuffer(states[each.written].compute_bitmask(), np.uint8) for each in histories])
        allowed = np.unpackbits(masks, -1, logits.shape[-1], "little").astype(bool)
        return logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), -torch.inf)

    def _state(self, written: tuple[int, ...]) -> Any:
        if written in self._states:
            return self._states[written]
        known = written[:-1] if written[:-1] in self._states else ()
        state = self._states[known].deep_copy()
        state.consume_tokens(list(written[len(known) :]))
        return state
