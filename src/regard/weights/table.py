"""One table per family says how others name and store its weights; this engine reads it in both directions.

A row is ``(theirs, ours, op)``; ``*`` stands for the number of a layer, ``#`` in theirs for that of an expert. Each
foreign tensor is used once, each of our parameters is filled once, and whatever is left over, missing or of the wrong
shape is listed in one error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from regard import limits
from regard.errors import BadFileError
from regard.weights import memory
from regard.words import say

Names = tuple[str, ...]
FLOATS = ("F64", "F32", "F16", "BF16")  # safetensors' names of the numbers that weights may be


class Tensors(Protocol):
    """A file's tensors, read one at a time; what they are is known without. ``twice``: names in several files;
    ``owned``: what is read lies in memory of its own, at an even address, not in the file's."""

    owned: bool

    def names(self) -> set[str]: ...
    def shape(self, name: str) -> tuple[int, ...]: ...
    def dtype(self, name: str) -> str: ...
    def twice(self) -> list[str]: ...
    def read(self, name: str) -> Tensor: ...


class Op(Protocol):
    """How stored tensors and ours turn into each other, with no loss in either direction."""

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]: ...
    def ours(self, theirs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]: ...


class _Same:
    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return list(ours)

    def ours(self, theirs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        return list(theirs)


class _Transpose:
    """Matrices stored (in, out)."""

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [t.T.contiguous() for t in ours]

    def ours(self, theirs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        return [t.T.contiguous() for t in theirs]


@dataclass(frozen=True)
class Fused:
    """One stored tensor holds several of ours, one after the other along ``dim``; ``transpose``: stored (in, out)."""

    dim: int = 0
    transpose: bool = False

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        joined = torch.cat(list(ours), self.dim)
        return [joined.T.contiguous() if self.transpose else joined]

    def ours(self, theirs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        joined = theirs[0].T if self.transpose else theirs[0]
        return [t.contiguous() for t in joined.split([shape[self.dim] for shape in shapes], self.dim)]


class _Row:
    """A vector stored as a matrix of one row."""

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [t.unsqueeze(0) for t in ours]

    def ours(self, theirs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        return [t.squeeze(0) for t in theirs]


class _Column:
    """Vectors stored as matrices of one row each."""

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [t.unsqueeze(1) for t in ours]

    def ours(self, theirs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        return [t.squeeze(1) for t in theirs]


same, transpose, row, column = _Same(), _Transpose(), _Row(), _Column()


@dataclass(frozen=True)
class WeightNorm:
    """A weight stored as its length over all axes but ``dim`` and a direction of any length (Salimans and Kingma 2016).

    We keep the product: what is written is the length and the weight itself as the direction, which is read back bit
    for bit; a direction of another length in the file we read is not kept.
    """

    dim: int = 0

    def theirs(self, ours: Sequence[Tensor]) -> list[Tensor]:
        return [self._length(ours[0]), ours[0]]

    def ours(self, theirs: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        length, direction = theirs
        return [direction * (length / self._length(direction))]

    def _length(self, weight: Tensor) -> Tensor:
        others = [axis for axis in range(weight.dim()) if axis != self.dim]
        return torch.linalg.vector_norm(weight, dim=others, keepdim=True)


@dataclass(frozen=True)
class Tie:
    """``theirs`` is a second name of ``first``: read only to see that it is, and not written."""

    theirs: str
    first: str


@dataclass(frozen=True)
class Drop:
    """Something stored that is no parameter (an index, a mask): not read, and written only if ``make`` can compute it
    out of the model (None: this model has none). A name that ends in a dot stands for all that begin with it."""

    theirs: str
    make: Callable[[Any], Tensor | None] | None = None


@dataclass(frozen=True)
class Past:
    """What is stored of the layer after the last, which is no part of the model (DeepSeek-V3's, for guessing ahead)."""

    theirs: str


@dataclass(frozen=True)
class Row:
    """``theirs`` hold ``ours`` by way of ``op``, or of the op that ``op`` makes of a model's config. ``when``: which
    configs the row is for; None: all."""

    theirs: Names
    ours: Names
    op: Op | Callable[[Any], Op] = same
    when: Callable[[Any], bool] | None = None


@dataclass(frozen=True)
class Table:
    """A family's rows. ``prefix`` may stand before every name in a file, or be missing from all of them; so may each
    of ``parts``, in the files of one part alone. ``instead``: what the file of a config writes in
    the prefix's place (None: the prefix). ``old``: endings of names in older files -> what they became; ``begin``:
    beginnings of names in some files -> what they are in others; ``begins_so``: of which models it is the former that
    are written."""

    rows: tuple[Row | Tie | Drop | Past, ...]
    prefix: str = ""
    parts: Names = ()
    instead: Callable[[Any], str | None] | None = None
    old: Mapping[str, str] = field(default_factory=dict)
    begin: Mapping[str, str] = field(default_factory=dict)
    begins_so: Callable[[Any], bool] | None = None

    def begun(self, model: nn.Module) -> str:
        """What this model's file writes in the prefix's place."""
        found = None if self.instead is None else self.instead(model.config)
        return self.prefix if found is None else found


def rows(text: str, op: Op | Callable[[Any], Op] = same) -> tuple[Row, ...]:
    """Rows of two columns, ``theirs  ours``; ``{q,k,v}`` in a name stands for several names of one row."""
    pairs = (line.split() for line in text.splitlines() if line.strip())
    return tuple(Row(_several(theirs), _several(ours), op) for theirs, ours in pairs)


def together(text: str, op: Op = same) -> Row:
    """One row of all these names: a model has either all of them or none."""
    made = rows(text, op)
    return Row(tuple(n for one in made for n in one.theirs), tuple(n for one in made for n in one.ours), op)


def with_endings(text: str, *endings: str, op: Op | Callable[[Any], Op] = same) -> tuple[Row, ...]:
    """The same rows once for each ending (".weight", ".bias")."""
    made: list[Row] = []
    for one in rows(text, op):
        for end in endings:
            made.append(Row(tuple(n + end for n in one.theirs), tuple(n + end for n in one.ours), op))
    return tuple(made)


def _several(name: str) -> Names:
    before, brace, rest = name.partition("{")
    inside, _, after = rest.partition("}")
    return tuple(before + part + after for part in inside.split(",")) if brace else (name,)


def read(table: Table, tensors: Tensors, model: nn.Module, where: str, dtype: torch.dtype | None = None) -> None:
    """Fills every parameter of ``model`` from a file's tensors; ``dtype`` None keeps each as it is stored."""
    parameters = _parameters(model)
    begun = table.begun(model)
    begin = table.begin if begun in ("", table.prefix) else {**table.begin, begun: table.prefix}
    tensors = _Renamed(tensors, table.old, begin) if table.old or begin else tensors
    stored = tensors.names()
    begins = [begin for begin in (table.prefix, *table.parts) if begin]
    absent = tuple(begin for begin in begins if not any(name.startswith(begin) for name in stored))
    rows = list(_expanded(table, model, absent))
    wrong = list(_faults(rows, tensors, parameters))
    if wrong:
        raise BadFileError("weights.mismatch", where=where, count=len(wrong), what=_listed(wrong))
    plan = [one for one in rows if isinstance(one, Row)]
    for one in plan:
        shapes = [tuple(parameters[name].shape) for name in one.ours]
        stored = [tensors.read(name) for name in one.theirs]
        for name, tensor in zip(one.ours, _op(one).ours(stored, shapes), strict=True):
            tensor = tensor if dtype is None else tensor.to(dtype)
            alone = tensors.owned and tensor.untyped_storage().nbytes() == tensor.nbytes
            _fill(parameters[name], tensor if alone else _own(tensor, stored))
        kept = {parameters[name].untyped_storage().data_ptr() for name in one.ours}
        passing = sum(one.nbytes for one in stored if one.untyped_storage().data_ptr() not in kept)
        del stored, tensor  # before the next are read
        if passing >= limits.MIB:
            memory.give_back()


class _Renamed:
    """A file's tensors with the old endings, and other beginnings, of their names replaced."""

    def __init__(self, tensors: Tensors, old: Mapping[str, str], begin: Mapping[str, str]) -> None:
        self._tensors, self.owned = tensors, tensors.owned
        self._stored: dict[str, str] = {}
        self._twice = list(tensors.twice())
        for stored in sorted(tensors.names()):
            end = next((end for end in old if stored.endswith(end)), "")
            start = next((start for start in begin if stored.startswith(start)), "")
            name = begin.get(start, "") + stored.removeprefix(start).removesuffix(end) + old.get(end, "")
            if name in self._stored:
                self._twice.append(name)
            self._stored[name] = stored

    def names(self) -> set[str]:
        return set(self._stored)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors.shape(self._stored[name])

    def dtype(self, name: str) -> str:
        return self._tensors.dtype(self._stored[name])

    def twice(self) -> list[str]:
        return self._twice

    def read(self, name: str) -> Tensor:
        return self._tensors.read(self._stored[name])


def write(table: Table, model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters under their foreign names."""
    parameters = _parameters(model)
    made: dict[str, Tensor] = {}
    for one in _expanded(table, model):
        if isinstance(one, Row):
            stored = _op(one).theirs([parameters[name].detach() for name in one.ours])
            made |= {name: tensor.contiguous() for name, tensor in zip(one.theirs, stored, strict=True)}
        elif isinstance(one, Drop) and one.make is not None:
            found = one.make(model)
            # One for each name: a file's tensors may not share memory.
            made |= {} if found is None else {one.theirs: found.clone()}
    if table.begins_so is not None and table.begins_so(model.config):
        made = {_former(name, table.begin): tensor for name, tensor in made.items()}
    begun, usual = table.begun(model), table.prefix
    return {begun + name.removeprefix(usual) if name.startswith(usual) else name: made[name] for name in made}


def _former(name: str, begin: Mapping[str, str]) -> str:
    """A name as it was before its beginning was replaced."""
    pairs = ((old, new) for old, new in begin.items() if name.startswith(new))
    old, new = next(pairs, ("", ""))
    return old + name.removeprefix(new)


def _parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return dict(model.named_parameters())  # a tied parameter stands under its first name only


def _op(one: Row) -> Op:
    return cast(Op, one.op)  # _expanded has made those that wait for a config


def _expanded(table: Table, model: nn.Module, absent: Names = ()) -> Iterator[Row | Tie | Drop]:
    """The rows that concern this model, layer by layer, without the beginnings that are ``absent``; those about a head
    it does not have are left out. Where two rows would fill one parameter, it is the first's."""
    parameters = _parameters(model)
    filled: set[str] = set()
    layers = 1 + max((int(part) for name in parameters for part in name.split(".") if part.isdigit()), default=-1)
    for one in table.rows:
        if isinstance(one, Past):
            yield _at(Drop(one.theirs), layers, absent)
            continue
        if isinstance(one, Row) and one.when is not None and not one.when(model.config):
            continue
        text = one.theirs if isinstance(one, Row) else (one.theirs,)
        for layer in range(layers if any("*" in name for name in text) else 1):
            made = _at(one, layer, absent)
            if not isinstance(made, Row):
                yield made
            elif all(name in parameters and name not in filled for name in made.ours):
                filled.update(made.ours)
                op = made.op(model.config) if callable(made.op) else made.op
                yield Row(tuple(_numbered(made.theirs, parameters[made.ours[0]])), made.ours, op)


def _numbered(names: Names, ours: Tensor) -> Iterator[str]:
    """``#`` counted through the experts that our one tensor holds."""
    for name in names:
        yield from (name.replace("#", str(number)) for number in range(len(ours))) if "#" in name else (name,)


def _at(one: Row | Tie | Drop, layer: int, absent: Names) -> Row | Tie | Drop:
    def theirs(name: str) -> str:
        name = name.replace("*", str(layer))
        return name.removeprefix(next((begin for begin in absent if name.startswith(begin)), ""))

    if isinstance(one, Tie):
        return Tie(theirs(one.theirs), theirs(one.first))
    if isinstance(one, Drop):
        return replace(one, theirs=theirs(one.theirs))
    return Row(tuple(map(theirs, one.theirs)), tuple(n.replace("*", str(layer)) for n in one.ours), one.op)


def _faults(
    rows: Sequence[Row | Tie | Drop], tensors: Tensors, parameters: Mapping[str, nn.Parameter]
) -> Iterator[tuple[str, str]]:
    """All that keeps these tensors from being this model's, before any is read but for the ties."""
    stored, plan = tensors.names(), [one for one in rows if isinstance(one, Row)]
    used = {name for one in plan for name in one.theirs}
    others = {one.theirs for one in rows if not isinstance(one, Row)}
    yield from (("twice", name) for name in tensors.twice())
    yield from (("missing", name) for name in sorted(used - stored))
    dropped = tuple(name for name in others if name.endswith("."))
    yield from (("unknown", name) for name in sorted(stored - used - others) if not name.startswith(dropped))
    yield from (("unfilled", name) for name in sorted(parameters.keys() - {name for one in plan for name in one.ours}))
    for one in rows:
        if isinstance(one, Tie) and one.theirs in stored - used and one.first in stored:
            yield from () if _equal(tensors, one.theirs, one.first) else (("untied", one.theirs),)
    for name in sorted(used & stored):
        yield from () if tensors.dtype(name) in FLOATS else (("number", f"{name} {tensors.dtype(name)}"),)
    yield from _wrong_shapes(plan, tensors, parameters, stored)


def _equal(tensors: Tensors, one: str, other: str) -> bool:
    alike = (tensors.shape(one), tensors.dtype(one)) == (tensors.shape(other), tensors.dtype(other))
    return alike and torch.equal(tensors.read(one), tensors.read(other))


def _wrong_shapes(
    plan: Iterable[Row], tensors: Tensors, parameters: Mapping[str, nn.Parameter], stored: set[str]
) -> list[tuple[str, str]]:
    """Shapes are compared before anything is read or allocated, through the op on tensors without memory."""
    wrong = []
    for one in plan:
        if any(name not in stored for name in one.theirs):
            continue
        empty = [torch.empty(parameters[name].shape, device="meta") for name in one.ours]
        for name, expected in zip(one.theirs, _op(one).theirs(empty), strict=True):
            if tensors.shape(name) != tuple(expected.shape):
                wrong.append(("shape", f"{name} {tensors.shape(name)} != {tuple(expected.shape)}"))
    return wrong


def _listed(wrong: Sequence[tuple[str, str]], most: int = 12) -> str:
    shown = [say(_WRONG[kind], name=name) for kind, name in wrong[:most]]
    return "; ".join(shown) + (f"; … +{len(wrong) - most}" if len(wrong) > most else "")


_WRONG = {
    "missing": "weights.wrong.missing",
    "unknown": "weights.wrong.unknown",
    "unfilled": "weights.wrong.unfilled",
    "shape": "weights.wrong.shape",
    "untied": "weights.wrong.untied",
    "twice": "weights.wrong.twice",
    "number": "weights.wrong.number",
}


def _own(tensor: Tensor, stored: Sequence[Tensor]) -> Tensor:
    """The tensor in memory of its own: in the file's it lies at odd addresses, where sums round otherwise than in a
    model that was just trained, and it changes when the file does."""
    lent = {other.untyped_storage().data_ptr() for other in stored}
    return tensor.clone() if tensor.untyped_storage().data_ptr() in lent else tensor


def _fill(parameter: nn.Parameter, tensor: Tensor) -> None:
    """Puts the tensor in the parameter's place, for all who hold it; one laid out without memory gets memory here."""
    if parameter.device.type == "meta":
        torch.utils.swap_tensors(parameter, nn.Parameter(tensor, parameter.requires_grad))
    else:
        with torch.no_grad():
            parameter.copy_(tensor)
