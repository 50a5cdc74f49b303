"""Settings as frozen keyword-only dataclasses, nested the way the things they describe are nested.

    @dataclass(frozen=True, kw_only=True)
    class Train:
        rate: float = 1e-3
        steps: int | None = None
        schedule: Literal["constant", "cosine"] = "cosine"

        def __post_init__(self) -> None:
            verify(self)

        def check(self) -> Iterator[Problem]:
            yield from at_least(self, 1, "steps")
            if self.rate <= 0:
                yield "rate", "train.rate_positive", {}

A field is bool, int, float, str, a Literal, `X | None`, `tuple[X, ...]`, `tuple[X, Y]`, `dict[str, X]`, another
dataclass, or `object` (anything TOML can say). `check` yields (field, message key, values) for each value that is
refused; `verify` raises the first as a ConfigError, so that a config that exists is a config that holds, however it was
made. Every refusal names the key from the root (`train.rate`), the value, and what would be accepted. TOML has no null:
the text "none" stands for None wherever None is allowed.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import tomllib
import types
from collections.abc import Iterator, Mapping
from functools import cache
from operator import attrgetter
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import tomli_w

from regard import limits
from regard.errors import ConfigError
from regard.words import nearest, say

T = TypeVar("T")
Problem = tuple[str, str, dict[str, Any]]

NONE = "none"


def load(cls: type[T], path: str | os.PathLike[str]) -> T:
    """Read a TOML file as a `cls`."""
    return from_dict(cls, limits.read_toml(path), where=str(path))


def from_dict(cls: type[T], data: Mapping[str, Any], where: str = "config") -> T:
    """A `cls` from plain data (parsed TOML or JSON); strict. `where` is what an error calls the place."""
    return _Reader(where).section(cls, data, "")


def to_dict(config: Any) -> dict[str, Any]:
    """Plain data, ready for JSON: dicts, lists, numbers, text, None. `from_dict` reads it back to an equal config."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def to_toml(config: Any) -> str:
    """TOML text that `load` reads back to an equal config; None where it is the default is left out."""
    return tomli_w.dumps(_without_null(config))


def override(config: T, changes: Mapping[str, str]) -> T:
    """A copy with values given as text, each read by its field's type: `override(recipe, {"train.rate": "0.001"})`."""
    data = to_dict(config)
    for key, text in changes.items():
        _put(type(config), data, key, text)
    return _Reader("--set").section(cast("type[T]", type(config)), data, "")


def verify(config: Any) -> None:
    """Raise a ConfigError for the first problem that `config.check()` yields; called from `__post_init__`. A field of a
    field is named with a dot."""
    for name, key, values in config.check():
        value = _quoted(attrgetter(name)(config))
        raise ConfigError("config.refused", where="", name=name, value=value, why=say(key, **values))


def at_least(config: Any, least: float, *names: str) -> Iterator[Problem]:
    """The problem of each named field that is below `least`; None passes."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not value >= least:
            yield name, "config.at_least", {"least": least}


def between(config: Any, least: float, most: float, *names: str) -> Iterator[Problem]:
    """The problem of each named field outside [least, most]; None passes."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not least <= value <= most:
            yield name, "config.between", {"least": least, "most": most}


MOST_SEED = 2**63 - 1  # keys hold 64 bits and TOML integers 63: a larger seed would be a smaller one in disguise


class _Reader:
    """Reads plain data into typed fields; `where` is what its errors call the place."""

    def __init__(self, where: str) -> None:
        self.where = where

    def section(self, cls: type[T], data: Any, path: str) -> T:
        if not isinstance(data, Mapping):
            raise ConfigError("config.not_section", where=self.where, name=path, value=_quoted(data), keys=_keys(cls))
        kinds = _kinds(cls)
        for key in data:
            if key not in kinds:
                raise _unknown(self.where, _join(path, str(key)), str(key), kinds)
        values = {key: self.value(kinds[key], value, _join(path, key)) for key, value in data.items()}
        for field in dataclasses.fields(cast(Any, cls)):
            if field.name not in data and _required(field):
                raise ConfigError(
                    "config.missing", where=self.where, name=_join(path, field.name), wants=_wants(kinds[field.name])
                )
        try:
            return cls(**values)
        except ConfigError as error:
            if error.key == "config.refused":  # from verify, which cannot know where its config stands
                place = {"where": f"{self.where}: ", "name": _join(path, error.values["name"])}
                raise ConfigError(error.key, **{**error.values, **place}) from None
            raise

    def value(self, kind: Any, value: Any, path: str) -> Any:
        origin, arguments = get_origin(kind), get_args(kind)
        if _optional(kind):
            if value is None or (isinstance(value, str) and value.lower() == NONE):
                return None
            return self.value(_unwrapped(kind), value, path)
        if dataclasses.is_dataclass(kind):
            return value if isinstance(value, cast(type, kind)) else self.section(cast(type, kind), value, path)
        if origin is tuple:
            return self.sequence(arguments, value, path)
        if isinstance(value, Mapping) and kind in (object, Any):
            return {str(key): self.value(kind, each, _join(path, str(key))) for key, each in value.items()}
        if origin is dict and isinstance(value, Mapping):
            return {str(key): self.value(arguments[1], each, _join(path, str(key))) for key, each in value.items()}
        read = _from_text(kind, str(value)) if isinstance(value, _Text) else _native(kind, value)
        if read is _WRONG:
            raise self.wrong(kind, value, path)
        return read

    def sequence(self, kinds: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
        if isinstance(value, _Text):
            value = [_Text(part.strip()) for part in value.strip("[] ").split(",") if part.strip()]
        if not isinstance(value, list | tuple):
            raise self.wrong(tuple[kinds], value, path)
        if kinds[-1] is not Ellipsis and len(value) != len(kinds):
            raise self.wrong(tuple[kinds], value, path)
        each = [kinds[0]] * len(value) if kinds[-1] is Ellipsis else kinds
        pairs = zip(each, value, strict=True)
        return tuple(self.value(kind, part, f"{path}[{i}]") for i, (kind, part) in enumerate(pairs))

    def wrong(self, kind: Any, value: Any, path: str) -> ConfigError:
        hint = ""
        if get_origin(kind) is Literal and (near := nearest(str(value), map(str, get_args(kind)))):
            hint = " " + say("config.did_you_mean", near=near)
        return ConfigError(
            "config.wrong", where=self.where, name=path, value=_quoted(value), wants=_wants(kind), hint=hint
        )


class _Text(str):
    """A value typed on a command line: to be read by its field's type, unlike text that TOML or Python gave as text."""


_WRONG = object()
_BASIC = (bool, int, float, str)


def _native(kind: Any, value: Any) -> Any:
    """A leaf as TOML or JSON gave it; an int may stand for a float, nothing else for anything else."""
    if get_origin(kind) is Literal:
        value = NONE if value is None else value  # a choice called "none", read as None where any value was allowed
        return next((one for one in get_args(kind) if one == value and type(one) is type(value)), _WRONG)
    if kind is float and type(value) is int:
        return float(value) if abs(value) < 2**53 else _WRONG
    if kind in _BASIC:
        return value if type(value) is kind and (type(value) is not float or math.isfinite(value)) else _WRONG
    return _frozen(value) if kind in (object, Any) else _WRONG


def _from_text(kind: Any, value: str) -> Any:
    """A leaf as somebody typed it."""
    if kind is str:
        return value
    text = value.strip()
    if get_origin(kind) is Literal:
        return next((one for one in get_args(kind) if str(one).lower() == text.lower()), _WRONG)
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), _WRONG)
    if kind is int:
        return int(text) if re.fullmatch(r"[+-]?[0-9]([0-9_]{0,18}[0-9])?", text) else _WRONG
    if kind is float:
        return _float(text)
    if kind in (object, Any):
        try:
            return _frozen(tomllib.loads(f"value = {text}")["value"])
        except (tomllib.TOMLDecodeError, RecursionError, ValueError):
            return value
    return _WRONG


def _float(text: str) -> Any:
    try:
        number = float(text) if text.isascii() else math.nan
    except ValueError:
        return _WRONG
    return number if math.isfinite(number) else _WRONG


def _put(cls: Any, data: dict[str, Any], key: str, text: str) -> None:
    """Store `text` under the dotted `key`, going down the classes so that an unknown part is named."""
    *above, last = key.split(".")
    path = ""
    for part in above:
        cls = _below(cls, part, path)
        path = _join(path, part)
        if cls is None:
            raise ConfigError("config.no_section", where="--set", name=path, key=key)
        if data.get(part) is None:
            data[part] = {}
        if not isinstance(data[part], dict):  # of what may be anything, this is one value
            raise ConfigError("config.no_section", where="--set", name=path, key=key)
        data = data[part]
    kind = _below(cls, last, path, leaf=True)
    if dataclasses.is_dataclass(kind) and text.lower() != NONE:
        raise ConfigError("config.is_section", where="--set", name=key, keys=_keys(kind))
    data[last] = _Text(text)


def _below(cls: Any, part: str, path: str, *, leaf: bool = False) -> Any:
    """The kind of the field `part` of a section; None where it is no section and `leaf` is not asked for. What may be
    anything may be a section of anything."""
    if get_origin(cls) is dict:
        kind = get_args(cls)[1]
    else:
        kinds = _kinds(cls)
        if part not in kinds:
            raise _unknown("--set", _join(path, part), part, kinds)
        kind = kinds[part]
    kind = _unwrapped(kind) if _optional(kind) else kind
    if kind in (object, Any) and not leaf:
        return dict[str, object]
    return kind if leaf or dataclasses.is_dataclass(kind) or get_origin(kind) is dict else None


@cache
def _kinds(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _keys(cls: Any) -> str:
    return ", ".join(_kinds(cls))


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _unknown(where: str, path: str, key: str, kinds: Mapping[str, Any]) -> ConfigError:
    if near := nearest(key, kinds):
        near = path.removesuffix(key) + near
        return ConfigError("config.unknown_near", where=where, name=path, near=near, keys=", ".join(kinds))
    return ConfigError("config.unknown", where=where, name=path, keys=", ".join(kinds))


def _optional(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) and type(None) in get_args(kind)


def _unwrapped(kind: Any) -> Any:
    rest = [one for one in get_args(kind) if one is not type(None)]
    if len(rest) != 1:
        raise TypeError(f"a config field may be X | None, not {kind}")
    return rest[0]


def _wants(kind: Any) -> str:
    """What a field of this kind accepts, in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if _optional(kind):
        return say("config.wants.optional", kind=_wants(_unwrapped(kind)))
    if origin is Literal:
        return say("config.wants.one_of", choices=", ".join(map(str, arguments)))
    if origin is tuple and arguments[-1] is Ellipsis:
        return say("config.wants.list", kind=_wants(arguments[0]))
    if origin is tuple:
        return say("config.wants.exactly", count=len(arguments), kind="; ".join(map(_wants, arguments)))
    if origin is dict or dataclasses.is_dataclass(kind):
        return say("config.wants.section")
    if kind is bool:
        return say("config.wants.bool")
    if kind is int:
        return say("config.wants.int")
    if kind is float:
        return say("config.wants.float")
    return say("config.wants.str") if kind is str else say("config.wants.object")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value


def _frozen(value: Any) -> Any:
    """Data of any shape: lists as tuples, for a config is frozen all the way down, and the text for None as None."""
    if isinstance(value, Mapping):
        return {str(key): _frozen(each) for key, each in value.items()}
    if isinstance(value, str):
        return None if value.lower() == NONE else value
    return tuple(_frozen(each) for each in value) if isinstance(value, list | tuple) else value


def _without_null(config: Any) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            table[field.name] = _without_null(value)
        elif value is not None:
            table[field.name] = _spelled(_plain(value))
        elif field.default is not None:
            table[field.name] = NONE
    return table


def _spelled(value: Any) -> Any:
    """Plain data with None spelled out, for TOML."""
    if isinstance(value, dict):
        return {key: _spelled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_spelled(each) for each in value]
    return NONE if value is None else value


def _quoted(value: Any) -> str:
    text = repr(_plain(value))
    return text if len(text) <= 80 else text[:79] + "…"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
