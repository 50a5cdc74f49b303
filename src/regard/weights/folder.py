"""A folder of safetensors files, whole or in shards, as Hugging Face lays it out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from regard import limits
from regard.errors import BadFileError

FILE, INDEX = "model.safetensors", "model.safetensors.index.json"


class Folder:
    """The tensors of a model folder, read when asked for (memory-mapped). Closes with the last reference to it."""

    def __init__(self, folder: Path) -> None:
        if (folder / FILE).exists():
            names = {FILE}
        elif (folder / INDEX).exists():
            names = _shards(folder)
        else:
            raise BadFileError("weights.none", folder=folder, file=FILE)
        self._files: dict[str, Any] = {}
        self._twice: list[str] = []
        for file in (_opened(_inside(folder, name)) for name in sorted(names)):
            held = file.keys()
            self._twice += [name for name in held if name in self._files]
            self._files |= dict.fromkeys(held, file)

    def names(self) -> set[str]:
        return set(self._files)

    def twice(self) -> list[str]:
        """Names that stand in more than one file."""
        return self._twice

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._files[name].get_slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """As safetensors names it: F32, BF16, …"""
        return self._files[name].get_slice(name).get_dtype()

    def read(self, name: str) -> Tensor:
        return self._files[name].get_tensor(name)


def _opened(path: Path) -> Any:
    try:
        opened = safe_open(path, framework="pt")
        with open(path, "rb") as file:
            header = file.read(int.from_bytes(file.read(8), "little"))
    except (SafetensorError, OSError) as error:
        raise BadFileError("weights.damaged", file=path, why=error) from error
    limits.parse_json(header, str(path))  # the library lets a name stand twice, and takes the last
    return opened


def _inside(folder: Path, name: str) -> Path:
    """Where a file of the folder lies: in it, or, in the cache of the Hugging Face Hub, linked to the blobs beside."""
    hub = folder.absolute().parent.parent if folder.absolute().parent.name == "snapshots" else None
    if hub and name == Path(name).name and (folder / name).resolve().parent == (hub / "blobs").resolve():
        return folder / name
    return limits.inside(folder, name)


def _shards(folder: Path) -> set[str]:
    index = limits.read_json(folder / INDEX)
    files = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise BadFileError("weights.index", file=folder / INDEX)
    for name in files.values():
        if not _inside(folder, name).exists():
            raise BadFileError("weights.shard", file=folder / INDEX, shard=name)
    return set(files.values())


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
