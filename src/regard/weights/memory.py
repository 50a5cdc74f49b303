"""Memory that nothing uses any more, given back to the system."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from typing import Any


def give_back() -> None:
    """What lies free between tensors that stay. The C library of Linux keeps freed pieces of up to 32 MiB for itself,
    and those that passed by while a model was read came to half of it."""
    trim = _trim()
    if trim is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], Any] | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
