"""A folder of safetensors files, whole or in shards, as Hugging Face lays it out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from regard import limits
from regard.errors import BadFileError
from regard.weights import header

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.joblib", "*.npy", "*.npz", "*.h5")


DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32,
    "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
}  # fmt: skip


class Folder:
    """The tensors of a model folder, each read when asked for, once and straight into memory of its own. Those of the
    file ``instead`` stand in the place of the folder's own."""

    owned = True

    def __init__(self, folder: Path, instead: str | None = None) -> None:
        if (folder / FILE).exists():
            names = {FILE}
        elif (folder / INDEX).exists():
            names = _shards(folder)
        else:
            raise _none(folder)
        self._files: dict[str, _File] = {}
        self._twice: list[str] = []
        for file in (_File(limits.member(folder, name)) for name in sorted(names)):
            self._twice += [name for name in file.entries if name in self._files]
            self._files |= dict.fromkeys(file.entries, file)
        if instead is not None:
            other = _File(limits.member(folder, instead))
            if strange := sorted(other.entries.keys() - self._files.keys()):
                raise BadFileError("weights.strange_adapter", file=other.path, name=strange[0])
            self._files |= dict.fromkeys(other.entries, other)

    def names(self) -> set[str]:
        return set(self._files)

    def twice(self) -> list[str]:
        """Names that stand in more than one file."""
        return self._twice

    def shape(self, name: str) -> tuple[int, ...]:
        return self._files[name].entries[name].shape

    def dtype(self, name: str) -> str:
        """As safetensors names it: F32, BF16, …"""
        return self._files[name].entries[name].dtype

    def read(self, name: str) -> Tensor:
        return self._files[name].read(name)


class _File:
    """One file, its header checked."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries = {one.name: one for one in header.check(path)}
        self._start = limits.file_size(path) - max((one.end for one in self.entries.values()), default=0)

    def read(self, name: str) -> Tensor:
        one = self.entries[name]
        tensor = torch.empty(one.shape, dtype=DTYPES[one.dtype])
        numbers: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        left = memoryview(numbers)
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(self._start + one.begin)
                while left and (count := file.readinto(left)):
                    left = left[count:]
        except OSError as error:
            raise BadFileError("weights.damaged", file=self.path, why=error.strerror or error) from error
        if left:  # cut off since its header was checked
            raise BadFileError("weights.damaged", file=self.path, why=name)
        return tensor


def _none(folder: Path) -> BadFileError:
    """What to say of a folder without our kind of weights: that it has the other kind, or none."""
    pickled = (path.name for pattern in PICKLED for path in sorted(folder.glob(pattern)))
    if (found := next(pickled, None)) is not None:
        return BadFileError("weights.pickle", folder=folder, file=found)
    return BadFileError("weights.none", folder=folder, file=FILE)


def _shards(folder: Path) -> set[str]:
    path = limits.member(folder, INDEX)
    index = limits.read_json(path)
    files = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(files, dict) or not files or not all(isinstance(name, str) for name in files.values()):
        raise BadFileError("weights.index", file=path)
    names = set(files.values())
    for name in sorted(names):
        if not limits.member(folder, name).exists():
            raise BadFileError("weights.shard", file=path, shard=ascii(name)[:80])
    return names


def write(folder: Path, tensors: Mapping[str, Tensor], *, shard: int = 5 << 30) -> None:
    """Writes the tensors to ``folder``: one file, or shards of at most ``shard`` bytes with their index."""
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if parts[-1] and size + tensor.nbytes > shard:
            parts.append({})
            size = 0
        parts[-1][name] = tensor.to("cpu", memory_format=torch.contiguous_format)
        size += tensor.nbytes
    if len(parts) == 1:
        limits.write(folder / FILE, save(parts[0], metadata={"format": "pt"}))
        _remove(folder, {FILE})
        return
    places: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        limits.write(folder / file, save(part, metadata={"format": "pt"}))
        places |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    limits.write(folder / INDEX, json.dumps(index, indent=1, sort_keys=True))
    _remove(folder, {INDEX, *places.values()})


def _remove(folder: Path, kept: set[str]) -> None:
    """Whatever weights lay in the folder before: a reader would take a whole file for them rather than the shards."""
    for path in (folder / FILE, folder / INDEX, *folder.glob("model-*-of-*.safetensors")):
        if path.name not in kept:
            path.unlink(missing_ok=True)
