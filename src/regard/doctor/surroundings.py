"""The machine: what it computes with, and what of it is left."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections import Counter
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from regard.doctor.finding import Verdict, bad, doubtful, good
from regard.doctor.laid import question
from regard.doctor.subject import Subject
from regard.layers import Attention
from regard.train import machine
from regard.train.run import versions

LITTLE = 1 << 30  # bytes of memory or disk below which little else can be done
TRAINING = 4  # copies of the weights in training: weights, gradient, two moments


def kernels(subject: Subject) -> Verdict:
    """Dtype, device, and the kernels that attention runs on."""
    dtypes = Counter(str(p.dtype).removeprefix("torch.") for p in subject.model.parameters())
    values = {"dtype": ", ".join(dtypes), "device": str(subject.device), "cores": _cores(subject.model)}
    values["kernel"] = _kernel(subject)
    narrow = set(dtypes) - {"float32", "float64"}
    if narrow and subject.device.type == "cpu":
        return doubtful("doctor.kernels.narrow", f"regard doctor {subject.quoted} --device auto", **values)
    if subject.device.type == "cpu" and (better := machine.best_device()) != "cpu":
        command = f"regard doctor {subject.quoted} --device {better}"
        return doubtful("doctor.kernels.idle", command, better=better, **values)
    return good("doctor.kernels.ok", **values)


def packages(subject: Subject) -> Verdict:
    """The packages are of versions that this one works with, and of those that the run was made with."""
    for name, least in needed():
        try:
            if _numbers(version(name)) < _numbers(least):
                values = {"package": name, "found": version(name), "least": least}
                return bad("doctor.packages.old", f"python -m pip install '{name}>={least}'", **values)
        except PackageNotFoundError:
            return bad("doctor.packages.missing", f"python -m pip install '{name}>={least}'", package=name)
    now = versions()
    made = next((line["versions"] for line in reversed(_history(subject)) if "versions" in line), now)
    moved = [name for name in ("python", "torch", "numpy", "tokenizers") if made.get(name, now[name]) != now[name]]
    if moved:
        what = ", ".join(f"{name} {made[name]} → {now[name]}" for name in moved)
        packages = " ".join(f"{name}=={made[name]}" for name in moved if name != "python")
        command = f"python -m pip install {packages}" if packages else subject.again
        return doubtful("doctor.packages.moved", command, what=what)
    return good("doctor.packages.ok", python=now["python"], torch=now["torch"], regard=now["regard"])


def threads(subject: Subject) -> Verdict:
    """As many threads as there are processors that this process may use, at most."""
    used, there = torch.get_num_threads(), processors()
    if used > there:
        command = f"regard doctor {subject.quoted} --threads {there}"
        return doubtful("doctor.threads.many", command, used=used, there=there)
    return good("doctor.threads.ok", used=used, there=there)


def room(subject: Subject) -> Verdict:
    """Enough memory to train this model, and enough disk for its checkpoints."""
    size = sum(p.numel() * p.element_size() for p in subject.model.parameters())
    free, disk = memory(), shutil.disk_usage(_folder(subject)).free
    copies = subject.recipe.train.keep.newest + 2  # and the best, and the one being written
    need, files = TRAINING * size, 3 * size * copies
    values = {"memory": (free or 0) >> 20, "disk": disk >> 20, "need": need >> 20, "files": files >> 20}
    if free is not None and free < max(need, LITTLE // 4) and subject.device.type == "cpu":
        return doubtful("doctor.room.memory", f"{subject.again} --set train.machine.recompute=true", **values)
    if disk < max(files, LITTLE // 4):
        return doubtful("doctor.room.disk", f"{subject.again} --set train.keep.newest=1", **values)
    return good("doctor.room.ok", **values)


def memory() -> int | None:
    """Bytes of memory that can be had now; None where the system does not say."""
    if sys.platform == "win32":
        return _windows_memory()
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (OSError, ValueError):
        return None


def processors() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def needed() -> list[tuple[str, str]]:
    """(package, least version) of what this package asks for without extras."""
    try:
        asked = [line for line in requires("regard") or () if "extra ==" not in line]
    except PackageNotFoundError:
        return []
    pairs = (line.split(";")[0].partition(">=") for line in asked)
    return [(name.strip(), least.strip()) for name, _, least in pairs]


class _Listening(TorchDispatchMode):
    """Lists the names of the operations that are carried out."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def _kernel(subject: Subject) -> str:
    """The kernels of attention in a pass over one document."""
    task = subject.task
    if not subject.reads_text and (task is None or not subject.rows):
        return "-"
    with torch.no_grad(), _Listening() as heard:
        if task is not None and not subject.reads_text:
            task.loss(subject.model, subject.batch, None)
        else:
            question(subject.model, subject.documents[:1], subject.sources[:1]).look()
    found = sorted(name.strip("_") for name in heard.names if "attention" in name)
    return ", ".join(found) or "bmm"


def _cores(model: Any) -> str:
    """The names of the cores of its attentions."""
    cores = [module.core for module in model.modules() if isinstance(module, Attention)]
    names = {(core.func if isinstance(core, partial) else core) for core in cores}
    return ", ".join(sorted(getattr(core, "__name__", type(core).__name__) for core in names)) or "-"


def _history(subject: Subject) -> list[dict[str, Any]]:
    return subject.run.history() if subject.run is not None else []


def _folder(subject: Subject) -> Path:
    path = Path(subject.what)
    return path if path.is_dir() else Path.cwd()


def _numbers(text: str) -> tuple[int, ...]:
    """(2, 13, 0) of "2.13.0+cpu"."""
    parts = text.partition("+")[0].split(".")
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in parts[:3])


def _windows_memory() -> int | None:
    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "paged", "page", "all", "left", "extended")),
        ]

    status = Status(length=ctypes.sizeof(Status))
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009, only there on Windows
    return int(status.free) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None
