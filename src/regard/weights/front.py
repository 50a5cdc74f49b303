"""A binary file read from its front, mapped into memory: nothing is taken that the bytes left do not hold."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Any

from regard import limits
from regard.errors import BadFileError


class Front:
    """``at`` is where the next byte stands. A format says by ``broken`` how it names a rule that a file breaks;
    ``empty`` is the rule that a file without a byte does."""

    empty = "cut"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self.at = Path(path), 0
        try:
            limits.file_size(self.path)
            with open(self.path, "rb") as file:
                if os.fstat(file.fileno()).st_size == 0:
                    raise self.broken(self.empty)
                self.data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except OSError as error:
            raise self.damaged(error.strerror or error) from error

    def number(self, form: str) -> Any:
        """The next number, little-endian, in the letters of ``struct``."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def take(self, length: int) -> memoryview:
        """The next bytes."""
        if length > len(self.data) - self.at:
            raise self.broken("cut")
        self.at += length
        return self.data[self.at - length : self.at]

    def broken(self, rule: str, /, **values: Any) -> BadFileError:
        """The error of a file that breaks the rule."""
        raise NotImplementedError

    def damaged(self, why: object) -> BadFileError:
        """The error of a file that cannot be read."""
        raise NotImplementedError
