"""What a process holds of memory, and what the machine has left of memory and disk. Bytes throughout."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from regard import limits

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MEMORY, CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def resident() -> int | None:
    """Memory that this process holds now; None where the system does not tell."""
    if STATUS.exists():
        return _line(STATUS, "VmRSS:")
    psutil = _psutil()
    return psutil.Process().memory_info().rss if psutil else None


def most() -> int | None:
    """The most memory that this process ever held."""
    if STATUS.exists():
        return _line(STATUS, "VmHWM:")
    if sys.platform == "win32":
        psutil = _psutil()
        return psutil.Process().memory_info().peak_wset if psutil else None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def release() -> None:
    """Give back to the system what the allocator keeps of freed memory, where it can (glibc): else what is used again
    would not count as used."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def forget() -> None:
    """Let `most` begin anew from what is held now, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        CLEAR.write_text("5", encoding="ascii")


def available(device: str = "cpu") -> int | None:
    """Memory that a training in this process may use, what the process holds already included."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.mem_get_info(torch.device(device))[0]
    free = _line(MEMORY, "MemAvailable:") if MEMORY.exists() else _free_elsewhere()
    left = _left_in_container()
    found = [size for size in (free, left) if size is not None]
    return min(found) + (resident() or 0) if found else None


def swap() -> int:
    """Memory that the system may move to the disk; 0 where it does not tell."""
    return (_line(MEMORY, "SwapFree:") or 0) if MEMORY.exists() else 0


def free_disk(folder: Path) -> int:
    """Free space where `folder` is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def disk_speed(folder: Path, size: int = 8 << 20) -> float:
    """Bytes a second that a checkpoint is written at: into a file, flushed to the disk, and read for its checksum."""
    while not folder.exists():
        folder = folder.parent
    data = bytes(size)
    path = folder / f".speed-{os.getpid()}"
    began = time.perf_counter()
    try:
        limits.write(path, data)
        hashlib.sha256(path.read_bytes()).digest()
    finally:
        path.unlink(missing_ok=True)
    return size / (time.perf_counter() - began)


def _line(path: Path, name: str) -> int | None:
    """The value of a line "NAME  123 kB" of one of Linux's files."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return None


def _left_in_container() -> int | None:
    """What a container's limit leaves; None where there is none."""
    try:
        limit, used = ((CGROUP / name).read_text(encoding="utf-8").strip() for name in ("memory.max", "memory.current"))
        return max(int(limit) - int(used), 0)
    except (OSError, ValueError):  # no such file; "max"
        return None


def _free_elsewhere() -> int | None:
    psutil = _psutil()
    if psutil:
        return psutil.virtual_memory().available
    try:  # all that there is: better than nothing
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _psutil() -> Any:
    try:
        return importlib.import_module("psutil")
    except ModuleNotFoundError:
        return None
