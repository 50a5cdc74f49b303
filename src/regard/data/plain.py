"""Packed files, Parquet tables and `datasets` as plain text files in the cache: there every record can be reached."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import inspect
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from regard.data import cache
from regard.data.pages import digest_of, open_file, unreadable
from regard.errors import BadFileError, RegardError, need
from regard.limits import MIB

# A packed file may unpack to this many times its size, and this much on top: text comes to 3-20 times, a bomb to 1000.
MOST_TIMES = 200
MOST_MORE = 64 * MIB

OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}

DATASETS = "datasets:"

SAFE_ARROW = (14, 0, 1)


def unpacked(path: Path, name: str, packing: str) -> tuple[Path, str]:
    """The plain copy of a file packed as .gz, .xz or .bz2, and the SHA-256 of it."""
    return kept(digest_of(path, name), lambda: _unpack(path, name, packing))


def parquet(path: Path, name: str) -> tuple[Path, str]:
    """A Parquet table as JSONL (one line a row, so that line and row numbers agree), and the SHA-256 of it.

    Columns of text, numbers and true/false are taken; lists, structures and bytes are no text and are left out.
    """
    arrow = _arrow()
    return kept(digest_of(path, name) + "-parquet", lambda: _json_lines(_parquet_rows(path, name, arrow)))


def dataset(spec: str) -> tuple[Path, str]:
    """`datasets:NAME` or a folder of `save_to_disk`, with `#SPLIT` behind it, as JSONL, and the SHA-256 of that."""
    library = need("datasets", extra="tables")
    _arrow()
    where, _, split = spec.removeprefix(DATASETS).partition("#")
    try:
        found = library.load_from_disk(where) if Path(where).is_dir() else library.load_dataset(where)
    except Exception as error:  # the library raises whatever its parts raise
        why = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        raise RegardError("data.dataset", name=where, why=why) from error
    if isinstance(found, dict):
        if split not in found:
            raise RegardError("data.dataset_split", name=where, splits=", ".join(found), first=next(iter(found)))
        found = found[split]
    elif split:
        raise RegardError("data.dataset_no_split", name=where)
    files = [digest_of(Path(file["filename"]), file["filename"]) for file in found.cache_files]
    key = hashlib.sha256(json.dumps([files, found._fingerprint]).encode()).hexdigest()
    return kept(f"{key}-dataset", lambda: _json_lines(_dataset_rows(found)))


def _arrow() -> Any:
    """pyarrow, of a version in which a file cannot run code (CVE-2023-47248)."""
    arrow = need("pyarrow", extra="tables")
    if tuple(int(part) for part in re.findall(r"\d+", arrow.__version__)[:3]) < SAFE_ARROW:
        wanted = ".".join(map(str, SAFE_ARROW))
        raise RegardError("data.old_pyarrow", found=arrow.__version__, wanted=wanted)
    return arrow


def kept(key: str, make: Callable[[], Iterable[bytes]]) -> tuple[Path, str]:
    """What `make` yields, as a cached file under `key`, with its SHA-256; a damaged copy is made again."""
    for _ in range(2):
        plain = cache.keep(f"{key}.plain", lambda file: _write(file, make(), key))
        # The sum is written before its file appears, so where there is a file there is its sum.
        wanted = cache.keep(f"{key}.sha256", lambda file: None).read_text(encoding="ascii", errors="replace")
        if digest_of(plain, str(plain)) == wanted:
            return plain, wanted
        cache.forget(f"{key}.sha256")
        cache.forget(f"{key}.plain")
    raise RegardError("data.cache", folder=cache.folder(), why=key)


def _write(file: BinaryIO, pieces: Iterable[bytes], key: str) -> None:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        file.write(piece)
    cache.keep(f"{key}.sha256", lambda sum_file: _put(sum_file, digest.hexdigest()))


def _put(file: BinaryIO, text: str) -> None:
    file.write(text.encode("ascii"))


def _unpack(path: Path, name: str, packing: str) -> Iterator[bytes]:
    with open_file(path, name):
        most = path.stat().st_size * MOST_TIMES + MOST_MORE
    done = 0
    try:
        with OPENERS[packing](path, "rb") as file:
            while piece := file.read(MIB):
                done += len(piece)
                if done > most:
                    raise BadFileError("data.unpacks_too_much", where=name, most=most // MIB)
                yield piece
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, MemoryError) as error:
        raise BadFileError("data.badly_packed", where=name, why=str(error) or type(error).__name__) from error
    except OSError as error:  # bz2 says "Invalid data stream" by an OSError without a number
        if error.errno is None:
            raise BadFileError("data.badly_packed", where=name, why=str(error)) from error
        raise unreadable(name, error) from error


def _json_lines(rows: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False, default=str).encode("utf-8", "surrogatepass") + b"\n"


def _parquet_rows(path: Path, name: str, arrow: Any) -> Iterator[dict[str, Any]]:
    from pyarrow import parquet as reader

    try:
        with reader.ParquetFile(path, **_arrow_settings(reader)) as file:
            columns = [field.name for field in file.schema_arrow if _scalar(arrow, field.type)]
            if not columns:
                raise BadFileError("data.no_text_columns", where=name)
            for batch in file.iter_batches(batch_size=1024, columns=columns):
                for row in batch.to_pylist():
                    yield {column: _plain(value) for column, value in row.items()}
    except (arrow.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise BadFileError("data.bad_parquet", where=name, why=why) from error


def _arrow_settings(reader: Any) -> dict[str, Any]:
    """What the head of a file may make pyarrow allocate (bytes of names, entries of lists); no types but its own."""
    settings = {"thrift_string_size_limit": 16 * MIB, "thrift_container_size_limit": 1_000_000}
    known = inspect.signature(reader.ParquetFile).parameters  # pyarrow 14 has no such types to turn off
    return {**settings, **({"arrow_extensions_enabled": False} if "arrow_extensions_enabled" in known else {})}


def _dataset_rows(found: Any) -> Iterator[dict[str, Any]]:
    names = {name: feature for name, feature in found.features.items() if hasattr(feature, "int2str")}
    for row in found:
        for name, feature in names.items():
            if row[name] is not None and row[name] >= 0:
                row[name] = feature.int2str(row[name])
        yield {name: _plain(value) for name, value in row.items() if isinstance(value, str | int | float | None)}


def _scalar(arrow: Any, kind: Any) -> bool:
    types = arrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    text = types.is_string(kind) or types.is_large_string(kind) or kind == arrow.string_view()
    number = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return text or number or types.is_temporal(kind) or types.is_decimal(kind)


def _plain(value: Any) -> Any:
    """NaN and infinity are not JSON; a number that is none is left empty."""
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value
