"""Data sets packed as .zip or .tar: their members as plain files in the cache.

A member's name is what errors and file:line call it, and never a path: nothing is ever written under a name that an
archive gives. An archive that tries (`../`, `/etc`, `C:\\`), that holds links or devices, whose members overlap, that
is encrypted, or that holds or unpacks to more than its caps is refused before anything of it is unpacked.
"""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, BinaryIO

from regard.data import plain
from regard.data.content import visible
from regard.data.pages import digest_of, open_file, unreadable
from regard.errors import BadFileError
from regard.limits import MIB
from regard.words import nearest

MOST_MEMBERS = 10_000
MOST_DIRECTORY = 4 * MIB  # of a zip's central directory; zipfile reads it whole
MOST_HEADER = MIB  # of a tar member's long name or extended header; tarfile reads it whole

_ZIP = (".zip",)
_TAR = {
    ".tar": "",
    ".tar.gz": ".gz",
    ".tgz": ".gz",
    ".tar.xz": ".xz",
    ".txz": ".xz",
    ".tar.bz2": ".bz2",
    ".tbz": ".bz2",
}


@dataclass(frozen=True, kw_only=True)
class Member:
    """A file of an archive: its name there, and where its content lies in the cache, with the SHA-256 of it."""

    name: str
    path: Path
    digest: str


@dataclass(frozen=True, kw_only=True)
class _Entry:
    name: str
    size: int
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    name = path.name.lower()
    return name.endswith((*_ZIP, *_TAR))


def members(path: Path, name: str, chosen: str | None = None) -> list[Member]:
    """The files of an archive in the order of their names, hidden ones passed over; or the one that is `chosen`."""
    with _entries(path, name) as (entries, key):
        wanted = sorted((entry for entry in entries if not _hidden(entry.name)), key=lambda entry: entry.name)
        if chosen is not None:
            wanted = [entry for entry in wanted if entry.name == chosen]
            if not wanted:
                names = [entry.name for entry in entries]
                near = nearest(chosen, names) or (names[0] if names else "-")
                raise BadFileError("data.archive_no_member", where=name, member=visible(chosen), near=visible(near))
        if not wanted:
            raise BadFileError("data.empty_folder", where=name)
        numbers = {entry.name: number for number, entry in enumerate(entries)}
        found = []
        for entry in wanted:
            kept = plain.kept(f"{key}-{numbers[entry.name]}-member", lambda entry=entry: _pieces(entry, name))
            found.append(Member(name=entry.name, path=kept[0], digest=kept[1]))
        return found


@contextmanager
def _entries(path: Path, name: str) -> Iterator[tuple[list[_Entry], str]]:
    """(the files of the archive, checked; the SHA-256 of what they are read from)."""
    lowered = path.name.lower()
    try:
        if lowered.endswith(_ZIP):
            digest = digest_of(path, name)
            said = _check_directory(path, name)
            with zipfile.ZipFile(path) as archive:
                if len(archive.infolist()) != said:  # a damaged length can hide members from zipfile
                    raise zipfile.BadZipFile(f"{len(archive.infolist())} files of {said}")
                yield _zip_entries(archive, name, path.stat().st_size), digest
            return
        packing = next(packing for suffix, packing in _TAR.items() if lowered.endswith(suffix))
        content, digest = plain.unpacked(path, name, packing) if packing else (path, digest_of(path, name))
        with tarfile.open(content, "r:", tarinfo=_TarInfo) as archive:
            yield _tar_entries(archive, name), digest
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, ValueError, NotImplementedError) as error:
        raise BadFileError("data.badly_packed", where=name, why=visible(str(error))[:200]) from error
    except OSError as error:
        raise unreadable(name, error) from error


def _zip_entries(archive: zipfile.ZipFile, name: str, size: int) -> list[_Entry]:
    infos = archive.infolist()
    _check_count(len(infos), name)
    most = size * plain.MOST_TIMES + plain.MOST_MORE
    if sum(info.file_size for info in infos) > most:
        raise BadFileError("data.unpacks_too_much", where=name, most=most // MIB)
    spans = sorted((info.header_offset, info.header_offset + 30 + info.compress_size) for info in infos)
    if any(start < end for (_, end), (start, _) in pairwise(spans)):
        raise BadFileError("data.archive_overlap", where=name)
    entries = []
    for info in infos:
        mode = info.external_attr >> 16
        member = _zip_name(info)
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BadFileError("data.archive_method", where=name, member=visible(member))
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise BadFileError("data.archive_link", where=name, member=visible(member))
        _check_name(member, name)
        if not info.is_dir():
            entries.append(_Entry(name=member, size=info.file_size, open=lambda info=info: archive.open(info)))
    return _checked(entries, name)


def _tar_entries(archive: tarfile.TarFile, name: str) -> list[_Entry]:
    entries: list[_Entry] = []
    count = 0
    while (info := archive.next()) is not None:
        count += 1
        _check_count(count, name)
        if not (info.isdir() or info.isreg()) or info.issparse():
            raise BadFileError("data.archive_link", where=name, member=visible(info.name))
        _check_name(info.name, name)
        if info.isreg():
            entries.append(_Entry(name=info.name, size=info.size, open=lambda info=info: _opened(archive, info)))
    # tarfile takes the first thing that is no header for the end; the end is a block of zeros.
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("no end mark")
    return _checked(entries, name)


def _opened(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    assert file is not None, "only regular files are opened"
    return file


class _TarInfo(tarfile.TarInfo):
    """Refuses a header that would make tarfile read more than MOST_HEADER at once."""

    def _proc_member(self, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:  # the hook that tarfile names for subclasses
        if not self.isfile() and self.size > MOST_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(tarfile_)  # pyright: ignore[reportAttributeAccessIssue]


def _checked(entries: Sequence[_Entry], name: str) -> list[_Entry]:
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            raise BadFileError("data.archive_twice", where=name, member=visible(entry.name))
        seen.add(entry.name)
    return list(entries)


def _check_count(count: int, name: str) -> None:
    if count > MOST_MEMBERS:
        raise BadFileError("data.archive_members", where=name, most=f"{MOST_MEMBERS:,}")


def _check_name(member: str, name: str) -> None:
    windows = PureWindowsPath(member)
    outside = ".." in windows.parts or ".." in PurePosixPath(member).parts or windows.drive or windows.root
    if not member.strip("/. ") or "\0" in member or outside or PurePosixPath(member).is_absolute():
        if member.rstrip("/") == ".":  # tar's own name for the folder that was packed
            return
        raise BadFileError("data.archive_outside", where=name, member=ascii(member)[:200])


def _check_directory(path: Path, name: str) -> int:
    """Refuse a central directory that is too large before zipfile reads it (APPNOTE.TXT, 4.3.14 and 4.3.16); how many
    members it says it has.
    """
    with open_file(path, name) as file:
        size = file.seek(0, 2)
        first = max(size - (1 << 16) - 22, 0)
        file.seek(first)
        tail = file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < 22:
            raise zipfile.BadZipFile("no directory at its end")
        count, length = _little(tail, at + 10, 2), _little(tail, at + 12, 4)
        large = _zip64(file, tail, at)
    count, length = large or (count, length)
    _check_count(count, name)
    if length > MOST_DIRECTORY:
        raise BadFileError("data.archive_members", where=name, most=f"{MOST_MEMBERS:,}")
    return count


def _zip64(file: BinaryIO, tail: bytes, at: int) -> tuple[int, int] | None:
    """(members, length of the directory) as the 64-bit end record has them, if there is one."""
    if at < 20 or tail[at - 20 : at - 16] != b"PK\6\7":
        return None
    file.seek(min(_little(tail, at - 12, 8), 1 << 62))
    record = file.read(56)
    if len(record) < 56 or not record.startswith(b"PK\6\6"):
        raise zipfile.BadZipFile("no directory at its end")
    return _little(record, 32, 8), _little(record, 40, 8)


def _little(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name; one not marked as UTF-8 is read as that, or as GB18030, which Chinese systems write."""
    if info.flag_bits & 0x800 or info.filename.isascii():
        return info.filename
    raw = info.filename.encode("cp437", "replace")
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return info.filename


def _hidden(member: str) -> bool:
    parts = PurePosixPath(member).parts
    return "__MACOSX" in parts or any(part.startswith(".") and part != "." for part in parts)


def _pieces(entry: _Entry, name: str) -> Iterator[bytes]:
    done = 0
    with entry.open() as file:
        while piece := file.read(MIB):
            done += len(piece)
            if done > entry.size:
                raise BadFileError("data.unpacks_too_much", where=name, most=entry.size // MIB)
            yield piece
    if done != entry.size:
        raise EOFError(f"{visible(entry.name)}: {done} bytes of {entry.size}")
