"""What --device, --dtype and --threads come to on this machine."""

from __future__ import annotations

from typing import Any


def chosen(device: str = "auto", dtype: str = "auto", threads: int | None = None) -> dict[str, Any]:
    """`device` and `dtype` as `bundle.load` takes them; the process computes with `threads` from here on.

    "auto" is the best device there is, and the dtype that the weights are stored in, but for a CPU, where anything
    narrower than float32 is many times slower.
    """
    import torch

    from regard.train import machine
    from regard.train.recipe import MachineConfig

    found = machine.resolve(MachineConfig(device=device, threads=threads)).device
    if threads is not None:
        torch.set_num_threads(threads)
    stored = dtype == "auto" and torch.device(found).type == "cuda"
    return {"device": found, "dtype": None if stored else "float32" if dtype == "auto" else dtype}
