"""Rotary settings, as the decoder families' configs share them, and as config.json spells them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import layers
from regard.config import Problem, at_least, verify
from regard.errors import BadFileError
from regard.weights import foreign

KEYS = frozenset({"rope_theta", "rope_scaling", "rope_parameters"})


@dataclass(frozen=True, kw_only=True)
class Rope:
    """base: the slowest pair's wavelength grows with it. share: how much of each head's features are turned, the first
    ones. scaling stretches the angles by ``factor`` for texts longer than the ``original`` context (dynamic: the more,
    the longer the text; its original context is the model's); low and high bound the blend, in turns of a pair (Llama
    3's factors, YaRN's beta slow and fast). temperature multiplies cos and sin; mscale and mscale_all are DeepSeek's
    way to say it (``yarn_scale``). short and long divide the angles of each pair in texts up to the original context
    and beyond it (LongRoPE)."""

    base: float = 10_000.0
    share: float = 1.0
    scaling: Literal["none", "linear", "ntk", "dynamic", "yarn", "llama3", "longrope"] = "none"
    factor: float = 1.0
    original: int = 4096
    low: float = 1.0
    high: float = 32.0
    temperature: float | None = None
    mscale: float | None = None
    mscale_all: float | None = None
    short: tuple[float, ...] = ()
    long: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1.0, "factor", "original")
        if not 0.0 < self.low < self.high:
            yield "low", "models.low_high", {"high": self.high}
        if self.temperature is not None and not self.temperature > 0.0:
            yield "temperature", "models.positive", {}
        if not self.base > 1.0:
            yield "base", "models.base", {}
        if not 0.0 < self.share <= 1.0:
            yield "share", "models.share", {}

    def turned(self, head_dim: int) -> int:
        """How many features of a head are turned."""
        return int(head_dim * self.share)


def check(rope: Rope, head_dim: int, name: str) -> Iterator[Problem]:
    """What is turned must be pairs."""
    size = rope.turned(head_dim)
    if size < 2 or size % 2:
        yield name, "models.even", {}
    if size == 2 and rope.scaling in ("ntk", "dynamic"):
        yield name, "models.one_pair", {}
    if rope.scaling == "longrope" and not len(rope.short) == len(rope.long) == size // 2:
        yield name, "models.long_factors", {"pairs": size // 2}


def position(rope: Rope, head_dim: int) -> Any:
    """The rotary position of heads of ``head_dim`` features."""
    import torch

    from regard.ops import rotary

    size = rope.turned(head_dim)
    if rope.scaling == "yarn":
        angles = rotary.yarn(size, rope.base, rope.factor, rope.original, rope.high, rope.low)
        return layers.Rotary(angles, temperature=_yarn_temperature(rope))
    if rope.scaling == "ntk":
        return layers.Rotary(rotary.ntk(size, rope.base, rope.factor))
    if rope.scaling == "dynamic":
        return layers.DynamicRotary(size, rope.base, rope.factor, rope.original)
    angles = rotary.frequencies(size, rope.base)
    if rope.scaling == "longrope":
        short, long = (angles / torch.tensor(factors, device="cpu") for factors in (rope.short, rope.long))
        usual = rotary.long_temperature(rope.factor, rope.original)
        temperature = usual if rope.temperature is None else rope.temperature
        return layers.LongRotary(short, long, rope.original, temperature=temperature)
    if rope.scaling == "linear":
        angles = rotary.linear(angles, rope.factor)
    if rope.scaling == "llama3":
        angles = rotary.llama3(angles, rope.factor, rope.original, rope.low, rope.high)
    return layers.Rotary(angles)


def yarn_scale(rope: Rope) -> float:
    """What DeepSeek's models multiply scores by, beside what cos and sin are multiplied by."""
    from regard.ops import rotary

    if rope.scaling == "none" or not rope.mscale_all:
        return 1.0
    return rotary.yarn_temperature(rope.factor, rope.mscale_all) ** 2


def _yarn_temperature(rope: Rope) -> float:
    from regard.ops import rotary

    if rope.temperature is not None:
        return rope.temperature
    if rope.mscale and rope.mscale_all:
        of, by = (rotary.yarn_temperature(rope.factor, share) for share in (rope.mscale, rope.mscale_all))
        return of / by
    return rotary.yarn_temperature(rope.factor)


MSCALE = {"mscale": "mscale", "mscale_all_dim": "mscale_all"}


def read(
    data: Mapping[str, Any],
    where: str,
    *,
    also: Mapping[str, str] | None = None,
    usual: Mapping[str, Any] | None = None,
    old: Mapping[str, str] | None = None,
) -> Rope:
    """Of ``rope_parameters`` (newer files) or ``rope_theta`` and ``rope_scaling`` (older ones).

    also: further names in them, theirs -> ours, that this family knows; usual: what names mean that are missing; old:
    former names of kinds.
    """
    also = also or {}
    given: dict[str, Any] = {"rope_theta": 10_000.0} | dict(usual or {})
    given |= {"rope_theta": data["rope_theta"]} if "rope_theta" in data else {}
    for key in ("rope_scaling", "rope_parameters"):
        part = data.get(key) or {}
        if not isinstance(part, dict):
            raise BadFileError("weights.setting", where=where, key=key, value=part, accepted=tuple(_NAMES))
        given |= part
    base = given.pop("rope_theta")
    kind = given.pop("rope_type", given.get("type", "default"))
    given.pop("type", None)
    kind = (old or {}).get(kind, kind) if isinstance(kind, str) else kind
    names = {**_NAMES[kind], **also} if isinstance(kind, str) and kind in _NAMES else None
    if names is None or not given.keys() <= names.keys():
        unknown = sorted(given.keys() - (names or {}).keys()) or [kind]
        raise BadFileError("weights.setting", where=where, key="rope", value=unknown, accepted=tuple(_NAMES))
    values = {names[key]: value for key, value in given.items() if value is not None}
    if kind in ("yarn", "llama3", "dynamic"):
        values.setdefault("original", data.get("max_position_embeddings"))
    if kind == "longrope":
        _fill_long(values, data)
    missing = [key for key in _NEEDED[kind] if names[key] not in values]
    if missing:
        raise BadFileError("weights.missing_setting", where=where, keys=", ".join(missing))
    values |= {"base": base, "scaling": "none" if kind == "default" else kind}
    return foreign.config(Rope, values, where, foreign.Fields(same=names | {"rope_theta": "base"}))


def _fill_long(values: dict[str, Any], data: Mapping[str, Any]) -> None:
    """LongRoPE's original context may stand beside it, and its factor is then how much longer the context is."""
    original = values.setdefault("original", data.get("original_max_position_embeddings", 4096))
    context = data.get("max_position_embeddings")
    if "factor" not in values and type(context) is int and type(original) is int and original > 0:
        values["factor"] = max(context / original, 1.0)


def write(rope: Rope, also: Mapping[str, str] | None = None) -> dict[str, Any]:
    """``rope_parameters``, and for older readers ``rope_theta`` and ``rope_scaling``."""
    kind, also = "default" if rope.scaling == "none" else rope.scaling, also or {}
    if kind not in _NAMES:
        raise BadFileError("models.rope_unwritable", scaling=kind)
    if rope.share != 1.0 and "share" not in also.values():
        raise BadFileError("models.share_unwritable", share=rope.share)
    named = {theirs: getattr(rope, ours) for theirs, ours in _NAMES[kind].items() if getattr(rope, ours) is not None}
    more = {theirs: getattr(rope, ours) for theirs, ours in also.items() if getattr(rope, ours) is not None}
    return {
        "rope_parameters": {"rope_type": kind, "rope_theta": rope.base, **named, **more},
        "rope_theta": rope.base,
        "rope_scaling": {"rope_type": kind, **named, **more} if named else None,
    }


_YARN = {"factor": "factor", "original_max_position_embeddings": "original", "beta_slow": "low", "beta_fast": "high",
         "attention_factor": "temperature"}  # fmt: skip
_LLAMA3 = {"factor": "factor", "original_max_position_embeddings": "original", "low_freq_factor": "low",
           "high_freq_factor": "high"}  # fmt: skip
_LONG = {"factor": "factor", "original_max_position_embeddings": "original", "attention_factor": "temperature",
         "short_factor": "short", "long_factor": "long"}  # fmt: skip
_NAMES: dict[str, dict[str, str]] = {
    "default": {}, "linear": {"factor": "factor"}, "dynamic": {"factor": "factor"}, "yarn": _YARN, "llama3": _LLAMA3,
    "longrope": _LONG,
}  # fmt: skip
_NEEDED = {
    "default": (), "linear": ("factor",), "dynamic": ("factor",), "yarn": ("factor",), "llama3": tuple(_LLAMA3),
    "longrope": ("short_factor", "long_factor"),
}  # fmt: skip
