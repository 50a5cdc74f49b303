"""Reading files that nobody vouched for, and writing files that are never half there.

Every reader refuses by a BadFileError that names the place (`file:line` where there are lines) and by nothing else;
none of them holds more than its stated cap, waits for a pipe, or spends more than the file's size and VALUES values on
what it parses.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

from regard.errors import BadFileError

MIB = 1 << 20
DEPTH = 64
DIGITS = 64  # Hugging Face writes 1e30 as an integer for "no limit"; int() itself takes quadratic time
LONGEST_LINE = 16 * MIB
VALUES = 1 << 20  # in one document: parsed, a value takes up to 64 bytes of memory however short it is written


def read_json(path: str | os.PathLike[str], *, most: int = 64 * MIB, values: int = VALUES) -> Any:
    """The JSON document in `path`, of at most `most` bytes, under the rules of `parse_json`."""
    return parse_json(read_bytes(path, most=most), str(path), values=values)


def parse_json(data: bytes, where: str, *, values: int = VALUES) -> Any:
    """Strict JSON: UTF-8, no key twice, no NaN or Infinity, no nesting past DEPTH, no integer past DIGITS digits, no
    more than `values` values.

    `where` is what an error calls the place: a path, or `file:line`.
    """
    # Counted before anything is parsed, and so a bound: marks within texts count too, and a table counts for three.
    if 3 * len(data) > values and data.count(b",") + data.count(b"[") + 3 * data.count(b"{") > values:
        raise BadFileError("limits.too_many_values", where=where, most=values)
    text = decode(data, where)
    try:
        document = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        line = f"{where}:{error.lineno}" if "\n" in text.rstrip() else where
        raise BadFileError("limits.not_json", where=line, column=error.colno, why=error.msg) from error
    except _Refused as error:
        raise BadFileError(error.key, where=where, what=error.what) from error
    except RecursionError as error:
        raise BadFileError("limits.too_deep", where=where, depth=DEPTH) from error
    _check_tree(document, where, surrogates="\\u" in text)
    return document


def read_toml(path: str | os.PathLike[str], *, most: int = MIB) -> dict[str, Any]:
    """The TOML document in `path`, of at most `most` bytes, nested no deeper than DEPTH, every number finite."""
    where = str(path)
    # TOML's own rule is that \r\n and \n are the line ends; tomllib wants them as \n.
    text = decode(read_bytes(path, most=most), where).replace("\r\n", "\n")
    if _LONG_KEY.search(text):  # on a key of n parts tomllib spends n * n steps
        raise BadFileError("limits.too_deep", where=where, depth=DEPTH)
    if long := _LONG_NUMBER.search(text):  # reading one takes a hundred times its memory
        raise BadFileError("limits.too_many_digits", where=where, what=f"{long[1][:12]}…")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFileError("limits.not_toml", where=where, why=str(error)) from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of too many digits, a date that is none
        raise BadFileError("limits.not_toml", where=where, why=type(error).__name__) from error
    _check_tree(document, where, surrogates=False)
    return document


def open_text(path: str | os.PathLike[str], *, longest: int = LONGEST_LINE) -> Iterator[tuple[int, str]]:
    r"""Yields (line number from 1, line without its end) of a UTF-8 text; \n and \r\n end lines, a BOM is dropped.

    Refuses, by file:line, what is not UTF-8, a NUL byte, a line of more than `longest` bytes. Holds one line at a time.
    """
    _check_file(path)
    try:
        with open(path, "rb") as file:
            number = 0
            while raw := file.readline(longest + 1):
                number += 1
                if len(raw) > longest:
                    raise BadFileError("limits.line_too_long", where=f"{path}:{number}", most=_size(longest))
                raw = raw.removesuffix(b"\n").removesuffix(b"\r")
                yield number, decode(raw, f"{path}:{number}", first=number == 1)
    except OSError as error:
        raise _unreadable(path, error) from error


def read_text(path: str | os.PathLike[str], *, most: int = 64 * MIB) -> str:
    r"""The whole UTF-8 text of `path`, line ends as \n; a fault is named by file:line."""
    data = read_bytes(path, most=most)
    try:
        return decode(data, str(path)).replace("\r\n", "\n")
    except BadFileError:
        for number, raw in enumerate(data.split(b"\n"), start=1):
            decode(raw, f"{path}:{number}", first=number == 1)
        raise


def read_bytes(path: str | os.PathLike[str], *, most: int) -> bytes:
    """The bytes of the file `path`; a folder, a missing file and one of more than `most` bytes are refused."""
    _check_file(path)
    try:
        with open(path, "rb") as file:
            # One byte more than allowed: the size on disk is no promise (a file that grows, /proc, a pipe).
            data = file.read(most + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(data) > most:
        raise BadFileError("limits.too_large", where=str(path), most=_size(most))
    return data


def decode(raw: bytes, where: str, *, first: bool = True) -> str:
    """`raw` as text; a BadFileError at `where` if it is not UTF-8 or holds a NUL byte. `first`: a BOM may lead."""
    if first and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BadFileError("limits.not_utf8", where=where, guess="UTF-16")
    try:
        text = raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise BadFileError("limits.not_utf8", where=where, guess=_guess_encoding(raw)) from error
    if "\0" in text:
        raise BadFileError("limits.nul", where=where)
    return text


def check_format(found: Any, known: int, where: str) -> None:
    """Refuses what says of itself that it is in another format than the ones up to `known`, by name."""
    if type(found) is not int or not 1 <= found <= known:
        raise BadFileError("limits.format", where=where, found=ascii(found)[:40], known=known)


def file_size(path: str | os.PathLike[str]) -> int:
    """The bytes of the file `path`; refuses what is missing, a folder, or no file at all (a pipe, a device)."""
    return _check_file(path)


def member(folder: str | os.PathLike[str], name: str) -> Path:
    """The path of the file `name` of a model's folder, under the rules of `inside`; but in the cache of the Hugging
    Face Hub, where a snapshot's files are links to the blobs beside it, such a link is followed."""
    root = Path(folder).absolute()
    if root.parent.name == "snapshots" and name == Path(name).name and "\0" not in name:
        path = Path(folder, name)
        try:
            if path.resolve().parent == (root.parent.parent / "blobs").resolve():
                return path
        except (OSError, RuntimeError):  # a loop of links: refused below
            pass
    return inside(folder, name)


def inside(root: str | os.PathLike[str], name: str) -> Path:
    """The path of `name` under `root`; refuses one that leads out of it on any system, or through a link."""
    windows = PureWindowsPath(name)
    parts = {*PurePosixPath(name).parts, *windows.parts}
    bad = not name.strip() or "\0" in name or ".." in parts or windows.drive or windows.root or parts <= {"."}
    bad = bad or any(part.endswith(":") for part in parts)  # CON: is a device on Windows
    if bad or PurePosixPath(name).is_absolute():
        raise BadFileError("limits.outside", name=ascii(name), root=str(root))
    path = Path(root, name)
    try:
        resolved = path.resolve()
        escaped = not resolved.is_relative_to(Path(root).resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name the system cannot hold
        escaped = True
    if escaped:
        raise BadFileError("limits.outside", name=ascii(name), root=str(root))
    return path


def write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file so that a reader finds the old content or the new, never a part."""
    with replacing(path) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write in the place of `path`: beside it, and at the end fsynced and renamed; after an error, gone."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make the names in `folder` survive a power cut, where the system lets a folder be opened (not on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _Refused(ValueError):
    def __init__(self, key: str, what: str) -> None:
        super().__init__(key)
        self.key, self.what = key, what


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused("limits.key_twice", ascii(key)[:80])
            seen.add(key)
    return document


def _constant(name: str) -> Any:
    raise _Refused("limits.not_finite", name)


def _integer(digits: str) -> int:
    if len(digits) > DIGITS:
        raise _Refused("limits.too_many_digits", f"{digits[:12]}…")
    return int(digits)


def _fraction(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _Refused("limits.not_finite", digits[:20])
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer, parse_float=_fraction
)


def _check_tree(document: Any, where: str, *, surrogates: bool) -> None:
    """Depth and finite numbers; with `surrogates`, also that no escape left half a character in a text."""
    level = [document]
    for _ in range(DEPTH + 1):
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                below += node.values()
                if surrogates:
                    below += node.keys()
            elif isinstance(node, list):
                below += node
            elif isinstance(node, float) and not math.isfinite(node):
                raise BadFileError("limits.not_finite", where=where, what=str(node))
            elif isinstance(node, int) and abs(node) >= _LARGEST:  # TOML's 0x… may have a million digits
                raise BadFileError("limits.too_many_digits", where=where, what=f"{node:#x}"[:12] + "…")
            elif surrogates and isinstance(node, str) and any("\ud800" <= letter <= "\udfff" for letter in node):
                raise BadFileError("limits.half_character", where=where, what=ascii(node)[:80])
        if not below:
            return
        level = below
    raise BadFileError("limits.too_deep", where=where, depth=DEPTH)


def _check_file(path: str | os.PathLike[str]) -> int:
    """The size of the file; opening a pipe would wait for a writer, and a device may have no end."""
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise BadFileError("limits.missing", where=str(path)) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except ValueError as error:  # a name the system cannot hold
        raise BadFileError("limits.unreadable", where=ascii(str(path))[:200], why=str(error)) from error
    if stat.S_ISDIR(found.st_mode):
        raise BadFileError("limits.is_folder", where=str(path))
    if not stat.S_ISREG(found.st_mode):
        raise BadFileError("limits.not_a_file", where=str(path))
    return found.st_size


def _unreadable(path: str | os.PathLike[str], error: OSError) -> BadFileError:
    return BadFileError("limits.unreadable", where=str(path), why=error.strerror or str(error))


_LARGEST = 10**DIGITS
# A key of more than DEPTH parts (`a.b.c…`), where a key may begin. No step can be taken back, so it runs in one go.
_PART = r"""(?>[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_LONG_NUMBER = re.compile(r"[=\[,][ \t\n]*+([+-]?[0-9][0-9A-Za-z_.+-]{400})")
_LONG_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*+{_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{DEPTH}}}", re.MULTILINE)


def _guess_encoding(raw: bytes) -> str:
    """What to tell `iconv -f`: bytes that read as Chinese in GB18030 probably are; else a Western single-byte code."""
    sample = raw[:4096]
    for length in range(len(sample), max(len(sample) - 4, 0), -1):  # the cut may stand inside a character
        try:
            text = sample[:length].decode("gb18030")
        except UnicodeDecodeError:
            continue
        chinese = sum("\u4e00" <= letter <= "\u9fff" for letter in text)
        return "GB18030" if chinese and chinese * 2 >= sum(letter > "\x7f" for letter in text) else "Windows-1252"
    return "Windows-1252"


def _size(count: int) -> str:
    return f"{count / MIB:.3g} MiB" if count >= MIB else f"{count} B"
