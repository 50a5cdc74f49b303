"""A folder of safetensors files, whole or in shards, as Hugging Face lays it out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

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
        self._files: dict[str, Path] = {}
        if (folder / FILE).exists():
            names = {FILE}
        elif (folder / INDEX).exists():
            names = _shards(folder)
        else:
            raise BadFileError("weights.none", folder=folder, file=FILE)
        self._open = {}
        for name in sorted(names):
            path = limits.inside(folder, name)
            try:
                self._open[path] = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                raise BadFileError("weights.damaged", file=path, why=error) from error
            for key in self._open[path].keys():  # noqa: SIM118 - not a dict
                if key in self._files:
                    raise BadFileError("weights.twice", name=key, file=path, other=self._files[key])
                self._files[key] = path

    def names(self) -> set[str]:
        return set(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._open[self._files[name]].get_slice(name).get_shape())

    def read(self, name: str) -> Tensor:
        return self._open[self._files[name]].get_tensor(name)


def _shards(folder: Path) -> set[str]:
    index = limits.read_json(folder / INDEX)
    files = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise BadFileError("weights.index", file=folder / INDEX)
    for name in files.values():
        if not limits.inside(folder, name).exists():
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
        return
    places: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        limits.write(folder / file, save(part, metadata={"format": "pt"}))
        places |= dict.fromkeys(part, file)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    limits.write(folder / INDEX, json.dumps(index, indent=1, sort_keys=True))
