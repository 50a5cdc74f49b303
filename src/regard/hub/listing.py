"""What a hub says a model consists of, and which of it is taken.

Hugging Face    GET /api/models/ORG/NAME/revision/REV?blobs=true    {"sha", "siblings": [{"rfilename", "size", "blobId",
                GET /ORG/NAME/resolve/SHA/FILE                       "lfs": {"sha256", "size"}}]}
ModelScope      GET /api/v1/models/ORG/NAME/repo/files?Revision=REV&Recursive=true    {"Code": 200, "Data": {"Files":
                GET /api/v1/models/ORG/NAME/repo?Revision=REV&FilePath=FILE            [{"Path", "Type", "Size", "Sha256"}]}}
"""  # noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from regard import limits
from regard.errors import BadFileError, RegardError
from regard.hub import net
from regard.hub.names import Reference

LARGEST = 16 * limits.MIB  # of a listing
MOST_FILES = 50_000
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}(?:/[A-Za-z0-9_][A-Za-z0-9._-]{0,200}){0,2}")
_SHA256, _SHA1 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")
# What describes a model, its tokenizer, its processor and its licence.
_SMALL = re.compile(
    r"(?:config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|preprocessor_config"
    r"|processor_config|chat_template|modules|config_sentence_transformers|sentence_bert_config|adapter_config)\.json"
    r"|vocab\.txt|merges\.txt|chat_template\.jinja|[A-Za-z0-9_]+\.tiktoken|1_Pooling/config\.json"
    r"|(?:source|target)\.spm|(?:tokenizer|spiece|sentencepiece\.bpe|spm|spm_char)\.model"
    r"|(?:LICENSE|LICENCE|NOTICE|README)(?:\.md|\.txt)?"
)
_WHOLE = ("model.safetensors", "adapter_model.safetensors")
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors|model\.safetensors\.index\.json")
_PICKLE = re.compile(r"pytorch_model\.bin|pytorch_model-\d{5}-of-\d{5}\.bin|adapter_model\.bin")
_GGUF = re.compile(r"[^/]+\.gguf")


@dataclass(frozen=True)
class Entry:
    """A file: its name below the model's folder, its size, and its SHA-256, or else the hash that git gives it."""

    name: str
    size: int
    sha256: str = ""
    git: str = ""


@dataclass(frozen=True)
class Listing:
    """commit: what the revision means now, where the hub says it."""

    commit: str
    entries: tuple[Entry, ...]


def ask(ref: Reference, endpoint: str) -> Listing:
    """What the mirror lists; `net.Unanswered` where it gives no usable answer."""
    name = f"{ref.owner}/{ref.name}"
    if ref.kind == "hf":
        url = f"{endpoint}/api/models/{name}/revision/{quote(ref.revision, safe='')}?blobs=true"
    else:
        url = f"{endpoint}/api/v1/models/{name}/repo/files?" + urlencode(
            {"Revision": ref.revision, "Recursive": "true"}
        )
    raw = net.body(net.ask(url, ref.kind, endpoint), LARGEST)
    try:
        document = limits.parse_json(raw, endpoint)
        return _hf(document) if ref.kind == "hf" else _ms(document, ref.revision)
    except (AttributeError, KeyError, TypeError, ValueError, BadFileError) as error:
        raise net.Unanswered("listing", what=str(error)[:120]) from error


def url(ref: Reference, endpoint: str, commit: str, file: str) -> str:
    """Where a file is asked for."""
    name = f"{ref.owner}/{ref.name}"
    if ref.kind == "hf":
        return f"{endpoint}/{name}/resolve/{commit}/{quote(file)}"
    return f"{endpoint}/api/v1/models/{name}/repo?" + urlencode({"Revision": commit, "FilePath": file})


def chosen(listing: Listing, ref: Reference, *, file: str | None, pickles: bool) -> list[Entry]:
    """The files that are taken: the small ones, and the weights in one form. Raises a RegardError that says what there
    is instead."""
    known = {entry.name: entry for entry in listing.entries if _SAFE.fullmatch(entry.name) and ".." not in entry.name}
    if file is not None:
        if file not in known or not (_GGUF.fullmatch(file) or file.endswith(".safetensors")):
            there = ", ".join(sorted(name for name in known if name.endswith((".gguf", ".safetensors"))))
            raise RegardError("hub.no_file", name=ref, file=file, known=there[:300] or "-")
        return [known[file]] if file.endswith(".gguf") else [*_small(known.values()), known[file]]
    whole = [known[name] for name in _WHOLE if name in known]
    shards = [entry for name, entry in known.items() if _SHARD.fullmatch(name)]
    ggufs = [entry for name, entry in known.items() if _GGUF.fullmatch(name)]
    pickled = [entry for name, entry in known.items() if _PICKLE.fullmatch(name)]
    weights = whole or shards
    if not weights and ggufs:
        if len(ggufs) > 1:
            raise RegardError("hub.several", name=ref, known=", ".join(sorted(one.name for one in ggufs))[:400])
        return ggufs
    if not weights and pickled:
        if not pickles:
            raise RegardError("hub.pickled", name=ref, file=pickled[0].name)
        weights = pickled
    if not weights:
        raise RegardError("hub.no_weights", name=ref)
    return [*_small(known.values()), *weights]


def _small(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if _SMALL.fullmatch(entry.name) and entry.size <= 256 * limits.MIB]


def _hf(document: Any) -> Listing:
    commit = document["sha"]
    if not isinstance(commit, str) or not _SHA1.fullmatch(commit):
        raise ValueError("sha")
    entries = []
    for one in document["siblings"][:MOST_FILES]:
        large = one.get("lfs") or {}
        size = large.get("size", one.get("size"))
        entries.append(_entry(one["rfilename"], size, large.get("sha256", ""), "" if large else one.get("blobId", "")))
    return Listing(commit, tuple(entries))


def _ms(document: Any, revision: str) -> Listing:
    if document.get("Code") != 200:
        raise ValueError(str(document.get("Message"))[:80])
    files = [one for one in document["Data"]["Files"][:MOST_FILES] if one.get("Type") != "tree"]
    return Listing(revision, tuple(_entry(one["Path"], one["Size"], one.get("Sha256", ""), "") for one in files))


def _entry(name: Any, size: Any, sha256: Any, git: Any) -> Entry:
    if not isinstance(name, str) or type(size) is not int or not 0 <= size < 1 << 50:
        raise ValueError(ascii(name)[:80])
    good = isinstance(sha256, str) and isinstance(git, str)
    return Entry(
        name, size, sha256 if good and _SHA256.fullmatch(sha256) else "", git if good and _SHA1.fullmatch(git) else ""
    )
