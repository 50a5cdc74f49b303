"""What comes through a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator

from regard.errors import BadFileError


def lines() -> Iterator[str]:
    """The lines of stdin without their ends, empty ones too; UTF-8 whatever the terminal's encoding is. Raises
    BadFileError for what is no UTF-8."""
    text = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig")
    try:
        yield from (line.rstrip("\r\n") for line in text)
    except UnicodeDecodeError as error:
        raise BadFileError("cli.not_utf8", why=error.reason) from error
    finally:
        text.detach()
