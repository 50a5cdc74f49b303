"""Which tokens make up a word."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from regard.errors import need
from regard.inputs.surface import Spelling, Surface, characters, chunked

_CHINESE = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_RUN = re.compile(rf"(?P<chinese>[{_CHINESE}]+)|[^\W_{_CHINESE}]+|[^\s]")


def words(surface: Surface, spelling: Spelling, ids: Sequence[int]) -> list[int | None]:
    """The word number of each token, None at special tokens; see `Tokenizer.words`."""
    chunks = chunked(surface, spelling, ids)
    special = [number in spelling.specials for number in ids]
    # A special token parts words, and is none: line ends stand in for it.
    chunks = [b"\n" * len(chunk) if one else chunk for chunk, one in zip(chunks, special, strict=True)]
    owner = _word_of_bytes(b"".join(chunks))
    spans: list[tuple[int, int] | None] = []
    start = 0
    for chunk in chunks:
        touched = [word for word in owner[start : start + len(chunk)] if word is not None]
        spans.append((touched[0], touched[-1]) if touched else None)
        start += len(chunk)
    bound = {word for span in spans if span for word in range(span[0] + 1, span[1] + 1)}
    return _numbered(spans, special, bound)


def _numbered(spans: Sequence[tuple[int, int] | None], special: Sequence[bool], bound: set[int]) -> list[int | None]:
    """Words counted in the order of their tokens; one in `bound` goes with the one before it."""
    found: list[int | None] = []
    count, last = -1, -1
    for span, is_special in zip(spans, special, strict=True):
        if is_special:
            found.append(None)
            continue
        # A space that is a token of its own counts as a word.
        fresh = span is None or last < 0 or any(word not in bound for word in range(last + 1, span[0] + 1))
        count += fresh
        last = last if span is None else span[1]
        found.append(count)
    return found


def _word_of_bytes(data: bytes) -> list[int | None]:
    """The number of the word at each byte, None at spaces."""
    parts = list(characters(data))
    text = "".join(character for _, character in parts)
    starts = [start for start, character in parts for _ in character]  # a broken byte is several characters of text
    ends = [*starts[1:], len(data)]
    owner: list[int | None] = [None] * len(data)
    for number, (begin, end) in enumerate(_spans(text)):
        for place in range(starts[begin], max(ends[end - 1], starts[begin] + 1)):
            owner[place] = number
    return owner


def _spans(text: str) -> Iterator[tuple[int, int]]:
    for match in _RUN.finditer(text):
        if match["chinese"] and len(match[0]) > 1:
            start = match.start()
            for word in _jieba().cut(match[0]):
                yield start, start + len(word)
                start += len(word)
        else:
            yield match.span()


@cache
def _jieba() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tries pkg_resources, which warns of its own end
        jieba = need("jieba", "text")
    from platformdirs import user_cache_path

    cache_folder = user_cache_path("regard", appauthor=False) / "jieba"
    cache_folder.mkdir(parents=True, exist_ok=True)
    jieba.setLogLevel(60)
    # Its dictionary cache is unmarshalled: it must not lie where others can write, as its own choice, /tmp, does.
    found = jieba.Tokenizer()
    found.tmp_dir = str(cache_folder)
    return found
