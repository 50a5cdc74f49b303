"""Every sentence a user reads, in English and Chinese, out of one table.

`say("data.missing_column", path=p, columns=c)` returns the sentence in the current language. What stands before the
first dot of the key names a file of the table, `words/data.toml`, read when first needed; the rest is the path in it:

    [missing_column]
    en = "{path} has no column {column!r}; it has {columns}. Name one with --text."
    zh = "{path} 没有 {column!r} 这一列；现有的列：{columns}。请用 --text 指定。"

Placeholders are those of `str.format`, the same in both languages.
"""

from __future__ import annotations

import locale
import os
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any, Literal, cast

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

_chosen: Language | None = None


def say(key: str, /, **values: Any) -> str:
    """The sentence `key` in the current language, its placeholders filled from `values`."""
    return say_in(language(), key, **values)


def say_in(language: Language, key: str, /, **values: Any) -> str:
    """The sentence `key` in `language`: for a page that holds both languages."""
    room, _, rest = key.partition(".")
    entry: Any = table(room)
    for part in rest.split("."):
        entry = entry.get(part) if isinstance(entry, dict) else None
    if not isinstance(entry, dict):
        # A sentence is often asked for while an error is on its way: a hole in the table must not replace that error.
        return " ".join([key, *(f"{name}={value!r}" for name, value in values.items())])
    return str(entry[language]).format(**values)


def language() -> Language:
    """The language in use: `set_language`'s, else REGARD_LANG's, else the locale's, else English."""
    return _chosen or _from_environment(os.environ.get("REGARD_LANG")) or _from_locale()


def set_language(name: Language | None) -> None:
    """Choose the language for this process; None goes back to the environment's."""
    global _chosen
    if name is not None and name not in LANGUAGES:
        raise ValueError(f"{name!r} is not one of {LANGUAGES}")
    _chosen = name


@contextmanager
def speaking(name: Language | None) -> Iterator[None]:
    """Speak `name` inside the block; None leaves the language as it is."""
    before = _chosen
    set_language(name or before)
    try:
        yield
    finally:
        set_language(before)


def has(key: str) -> bool:
    """Whether the table holds a sentence under `key`."""
    room, _, rest = key.partition(".")
    entry: Any = table(room)
    for part in rest.split("."):
        entry = entry.get(part) if isinstance(entry, dict) else None
    return isinstance(entry, dict) and all(isinstance(entry.get(name), str) for name in LANGUAGES)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was most likely meant to be, if one is near."""
    import difflib  # here, for it is needed only where somebody mistyped, and every start would pay for it

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return found[0] if found else None


@cache
def table(room: str) -> dict[str, Any]:
    """The sentences of one room as nested dicts; empty where the room has no file."""
    file = resources.files("regard") / "words" / f"{room}.toml"
    return tomllib.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def _from_locale() -> Language:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if value := os.environ.get(variable):
            return _from_environment(value) or "en"
    # Windows sets none of these; there the C library's locale names the language ("Chinese (Simplified)_China").
    return _from_environment(locale.getlocale()[0]) or "en"


def _from_environment(value: str | None) -> Language | None:
    """'zh_CN.UTF-8', 'zh-Hans' and 'Chinese (Simplified)_China' are zh; a name of neither language is None."""
    lowered = (value or "").lower()
    if lowered.startswith(("zh", "chinese")):
        return "zh"
    return cast(Language, "en") if lowered.startswith(("en", "c.", "posix")) or lowered == "c" else None
