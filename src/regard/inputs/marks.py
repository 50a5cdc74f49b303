"""The tokens that a model's own files say begin and end what it writes, and what it never writes.

They stand in generation_config.json, or in config.json where a folder has none, beside what its makers advise about
decoding, which is kept with them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regard import limits
from regard.errors import BadFileError
from regard.inputs import advice
from regard.inputs.advice import Advice

FILE = "generation_config.json"
MOST = 1 << 12  # entries of a list


@dataclass(frozen=True, kw_only=True)
class Marks:
    """ends: tokens that end a text, beside the tokenizer's end token (a chat model's end of a turn). start: what the
    texts of an encoder-decoder stand behind, where that is not its config's. first: the token that every text begins
    with, and says no word: the language it is to be in. never: runs of tokens that are not written. advice: see there.
    """

    ends: tuple[int, ...] = ()
    start: int | None = None
    first: int | None = None
    never: tuple[tuple[int, ...], ...] = ()
    advice: Advice = ()

    def settled(self, config: Any) -> Marks:
        """The same with the start of a model of this config; of one that is no encoder-decoder there is none."""
        return replace(self, start=getattr(config, "start", None)) if self.start is None else self

    @property
    def begin(self) -> tuple[int, ...]:
        """What stands before the first word of a text that an encoder-decoder writes or learns."""
        return tuple(token for token in (self.start, self.first) if token is not None)


def read(folder: Path, config: Mapping[str, Any], vocab: int, start: int | None) -> Marks:
    """The marks of a model folder with this config.json, for a model of ``vocab`` tokens whose texts start with
    ``start``. Raises BadFileError."""
    own = (folder / FILE).is_file()
    where, data = str(folder / "config.json"), config
    if own:
        where, data = str(folder / FILE), limits.read_json(limits.member(folder, FILE))
        if not isinstance(data, dict):
            raise BadFileError("weights.setting", where=where, key=FILE, value=data, accepted="{}")
    told = data.get("decoder_start_token_id") if own and start is not None else None
    begins = _one(data, "decoder_start_token_id", vocab, where) if isinstance(told, int) else None
    return Marks(
        ends=tuple(token for token in _ends(data, where) if token < vocab),
        start=None if begins == start else begins,
        first=_one(data, "forced_bos_token_id", vocab, where),
        never=tuple(run for run in _runs(data, "bad_words_ids", where) if max(run) < vocab),
        advice=advice.read(data, where, own=own),
    )


def settings(marks: Marks, eos: int | None) -> dict[str, Any]:
    """As config.json says them; ``eos`` is the tokenizer's."""
    found: dict[str, Any] = {}
    ends = [token for token in (eos, *marks.ends) if token is not None]
    if set(ends) - {eos}:
        found["eos_token_id"] = list(dict.fromkeys(ends))
    if marks.start is not None:
        found["decoder_start_token_id"] = marks.start
    if marks.first is not None:
        found["forced_bos_token_id"] = marks.first
    if marks.never:
        found["bad_words_ids"] = [list(run) for run in marks.never]
    return found


def save(folder: Path, marks: Marks, ids: Mapping[str, Any] | None = None) -> None:
    """Write them so that ``read`` finds them in this folder; ``ids``: settings as config.json says them."""
    data = settings(marks, None) if ids is None else ids
    limits.write(folder / FILE, json.dumps({**data, **advice.settings(marks.advice)}, indent=2) + "\n")


def _one(data: Mapping[str, Any], key: str, vocab: int, where: str) -> int | None:
    value = data.get(key)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < vocab:
        raise BadFileError("weights.setting", where=where, key=key, value=value, accepted=f"0 … {vocab - 1}")
    return value


def _ends(data: Mapping[str, Any], where: str) -> list[int]:
    value = data.get("eos_token_id")
    listed = value if isinstance(value, list) else [] if value is None else [value]
    return _tokens(listed, "eos_token_id", where)


def _runs(data: Mapping[str, Any], key: str, where: str) -> list[tuple[int, ...]]:
    value = data.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MOST or not all(isinstance(run, list) and run for run in value):
        raise BadFileError("weights.setting", where=where, key=key, value=str(value)[:80], accepted="[[0, …], …]")
    return [tuple(_tokens(run, key, where)) for run in value]


def _tokens(value: list[Any], key: str, where: str) -> list[int]:
    if len(value) > MOST or not all(type(one) is int and one >= 0 for one in value):
        raise BadFileError("weights.setting", where=where, key=key, value=str(value)[:80], accepted="[0, …]")
    return value
