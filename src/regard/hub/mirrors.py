"""Which addresses are asked for a hub's models, in order, and where their answers may come from.

The first of these that says anything decides alone: --mirror; REGARD_HF_MIRRORS or REGARD_MS_MIRRORS (addresses with
commas); HF_ENDPOINT or MODELSCOPE_ENDPOINT; `mirrors.toml` in the folder of settings, with `hf = [...]` and
`ms = [...]`; the hub itself.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import platformdirs

from regard import limits
from regard.errors import BadFileError, ConfigError

USUAL = {"hf": ("https://huggingface.co",), "ms": ("https://modelscope.cn",)}
_ENDPOINTS = {"hf": "HF_ENDPOINT", "ms": "MODELSCOPE_ENDPOINT"}
# Where hubs keep large files; beside these, an answer may only send one back to the mirror that gave it.
STORES = {
    "hf": ("huggingface.co", "hf.co", "hf-mirror.com"),
    "ms": ("modelscope.cn", "modelscope.ai", "aliyuncs.com"),
}
FILE = "mirrors.toml"


def endpoints(kind: str, asked: Sequence[str] = ()) -> tuple[str, ...]:
    """The addresses of a hub in the order in which they are tried; a ConfigError for one that is none."""
    listed = os.environ.get(f"REGARD_{kind.upper()}_MIRRORS", "")
    told = list(asked) or [one.strip() for one in listed.split(",") if one.strip()]
    if not told and os.environ.get(_ENDPOINTS[kind]):
        told = [os.environ[_ENDPOINTS[kind]]]
    found = tuple(one.rstrip("/") for one in told or _file(kind) or USUAL[kind])
    for one in found:
        parts = urlsplit(one)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.username or parts.query:
            raise ConfigError("hub.mirror", mirror=one[:120])
    return found


def settings() -> Path:
    """The file of one's own mirrors."""
    chosen = os.environ.get("REGARD_CONFIG")
    return (Path(chosen) if chosen else Path(platformdirs.user_config_dir("regard", appauthor=False))) / FILE


def _file(kind: str) -> tuple[str, ...]:
    path = settings()
    if not path.is_file():
        return ()
    told = limits.read_toml(path).get(kind, [])
    if not isinstance(told, list) or not all(isinstance(one, str) for one in told):
        raise BadFileError("hub.mirrors_file", file=path, kind=kind)
    return tuple(told)


def origin(url: str | SplitResult) -> tuple[str, str, int]:
    """(scheme, host, port)."""
    parts = urlsplit(url) if isinstance(url, str) else url
    return parts.scheme, (parts.hostname or "").lower(), parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)


def permitted(url: str, kind: str, endpoint: str) -> bool:
    """Whether a mirror may send one there: back to itself, or by https to a store of its hub."""
    try:
        parts = urlsplit(url)
        scheme, host, port = origin(parts)
    except ValueError:
        return False
    if parts.username or parts.password or not host:
        return False
    if (scheme, host, port) == origin(endpoint):
        return True
    stores = any(host == one or host.endswith(f".{one}") for one in STORES[kind])
    return scheme == "https" and port == 443 and stores
