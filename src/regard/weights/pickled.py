"""PyTorch's pickled weights, turned into safetensors: on request alone, and only by PyTorch's own reader of tensors.

`torch.load(weights_only=True)` runs no code; where it refuses a file, the file is refused. Nothing else here reads one.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from regard.errors import BadFileError
from regard.weights import folder as files

MOST_TENSORS = 1 << 20


def convert(folder: Path) -> None:
    """Put the tensors of a folder's .bin files into safetensors in their place. Raises BadFileError."""
    tensors: dict[str, Tensor] = {}
    paths = sorted(folder.glob("*.bin"))
    for path in paths:
        for name, tensor in read(path).items():
            if name in tensors:
                raise BadFileError("weights.pickle_refused", file=path, why=f"{ascii(name)[:80]} x 2")
            tensors[name] = tensor
    files.write(folder, tensors)
    for path in paths:
        path.unlink()


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of one file by name, each with memory of its own."""
    size = path.stat().st_size
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as packed:
                if sum(one.file_size for one in packed.infolist()) > size:  # packed so that it would burst
                    raise BadFileError("weights.pickle_refused", file=path, why="zip")
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except BadFileError:
        raise
    except Exception as error:
        why = str(error).strip().splitlines() or [type(error).__name__]
        raise BadFileError("weights.pickle_refused", file=path, why=why[0][:200]) from error
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or len(found) > MOST_TENSORS:
        raise BadFileError("weights.pickle_refused", file=path, why=type(found).__name__)
    return {_name(name, path): _own(name, tensor, path, size) for name, tensor in found.items()}


def _name(name: Any, path: Path) -> str:
    if not isinstance(name, str):
        raise BadFileError("weights.pickle_refused", file=path, why=ascii(name)[:80])
    return name


def _own(name: Any, tensor: Any, path: Path, size: int) -> Tensor:
    """A tensor that is whole in the file: strides may repeat one number so that it fills any memory."""
    plain = isinstance(tensor, Tensor) and tensor.layout == torch.strided and not tensor.is_quantized
    if not plain or tensor.device.type != "cpu" or tensor.numel() * tensor.element_size() > size:
        raise BadFileError("weights.pickle_refused", file=path, why=ascii(name)[:80])
    return tensor.detach().contiguous().clone()
