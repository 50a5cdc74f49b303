"""In which scripts texts are written, counted, and in which languages, guessed.

A script is a fact of Unicode. A language is a guess, made only as far as it can be justified: by the script where the
script belongs to one language, by kana for Japanese, for simplified and traditional Chinese by the characters that only
GB 2312 or only Big5 has, and in Latin script by the commonest words of seven languages. What gives no ground is left
open: `zh`, `latin`, `mixed`, `none`, or the name of the script.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

# First character of each run of characters, and what the run is. "sign": digits, punctuation, symbols, blanks.
_RUNS: tuple[tuple[int, str], ...] = (
    (0x0000, "sign"), (0x0041, "latin"), (0x005B, "sign"), (0x0061, "latin"), (0x007B, "sign"), (0x00AA, "latin"),
    (0x00AB, "sign"), (0x00BA, "latin"), (0x00BB, "sign"), (0x00C0, "latin"), (0x00D7, "sign"), (0x00D8, "latin"),
    (0x00F7, "sign"), (0x00F8, "latin"), (0x02B9, "sign"), (0x0370, "greek"), (0x0400, "cyrillic"), (0x0530, "other"),
    (0x0590, "hebrew"), (0x0600, "arabic"), (0x0700, "other"), (0x0750, "arabic"), (0x0780, "other"),
    (0x08A0, "arabic"), (0x0900, "devanagari"), (0x0980, "other"), (0x0E00, "thai"), (0x0E80, "other"),
    (0x1100, "hangul"), (0x1200, "other"), (0x1E00, "latin"), (0x1F00, "greek"), (0x2000, "sign"), (0x2C00, "other"),
    (0x2E00, "sign"), (0x2E80, "han"), (0x2FE0, "sign"), (0x3005, "han"), (0x3006, "sign"), (0x3007, "han"),
    (0x3008, "sign"), (0x3040, "kana"), (0x30FB, "sign"), (0x30FC, "kana"), (0x3100, "other"), (0x3130, "hangul"),
    (0x3190, "sign"), (0x31F0, "kana"), (0x3200, "sign"), (0x3400, "han"), (0x4DC0, "sign"), (0x4E00, "han"),
    (0xA000, "other"), (0xA960, "hangul"), (0xA980, "other"), (0xAC00, "hangul"), (0xD800, "sign"), (0xF900, "han"),
    (0xFB00, "latin"), (0xFB07, "other"), (0xFB1D, "hebrew"), (0xFB50, "arabic"), (0xFE00, "sign"), (0xFE70, "arabic"),
    (0xFEFF, "sign"), (0xFF21, "latin"), (0xFF3B, "sign"), (0xFF41, "latin"), (0xFF5B, "sign"), (0xFF66, "kana"),
    (0xFFA0, "hangul"), (0xFFE0, "sign"), (0x10000, "other"), (0x1F000, "emoji"), (0x1FB00, "other"), (0x20000, "han"),
    (0x323B0, "other"), (0xE0000, "sign"),
)  # fmt: skip
SCRIPTS = ("latin", "han", "kana", "hangul", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "thai", "other",
           "emoji", "sign")  # fmt: skip
_LETTERS = len(SCRIPTS) - 2

_OF_SCRIPT = {"hangul": "ko", "greek": "el", "hebrew": "he", "thai": "th"}
_PLENTY = 0.1  # of the letters: so much kana makes a text Japanese
_MOST = 0.7  # of the letters: with less in any one script a text is mixed

_WORDS = {
    "en": "the and of to is was that it this with for you are not have but they his from which be at by an there i "
    "no so as me or if all what who just like more has had can will one out about than its in on a my your",
    "de": "der die das und ist nicht ein eine zu den mit von sie auf für dem sich auch es im wird wenn oder",
    "fr": "le les et est des une du que pour dans pas qui sur au avec ce il elle vous sont cette à être",
    "es": "el los y es que una por con para las del se como más pero su al lo está este no",
    "it": "il di che è una per non sono con del della le gli si come più anche ma questo nel",
    "pt": "o os e é que uma para com não do da em dos das por mais como mas se ao foi",
    "nl": "de het een en van is dat niet op te met voor zijn er aan ook als maar om bij",
}  # fmt: skip
_VOTES: dict[str, list[str]] = {}
for _language, _said in _WORDS.items():
    for _word in _said.split():
        _VOTES.setdefault(_word, []).append(_language)
_READ = 60  # words of a text that are looked at

_STARTS = np.array([start for start, _ in _RUNS], dtype=np.uint32)
_KIND = np.array([SCRIPTS.index(name) for _, name in _RUNS], dtype=np.int64)
_TABLE = _KIND[np.searchsorted(_STARTS, np.arange(0x3000, dtype=np.uint32), side="right") - 1]


def counts(texts: Sequence[str]) -> np.ndarray:
    """(N, len(SCRIPTS)) int64: the characters of each text by script."""
    size = len(SCRIPTS)
    letters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    kinds = np.empty(len(letters), dtype=np.int64)
    low = letters < len(_TABLE)
    kinds[low] = _TABLE[letters[low]]
    kinds[~low] = _KIND[np.searchsorted(_STARTS, letters[~low], side="right") - 1]
    rows = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    return np.bincount(rows * size + kinds, minlength=len(texts) * size).reshape(-1, size)


def language(text: str, count: np.ndarray) -> str:
    """The language of a text whose characters by script are `count`."""
    letters = int(count[:_LETTERS].sum())
    if letters == 0:
        return "none"
    share = {name: int(each) / letters for name, each in zip(SCRIPTS[:_LETTERS], count, strict=False)}
    if share["kana"] >= _PLENTY and share["kana"] + share["han"] >= _MOST:
        return "ja"
    script = max(share, key=lambda name: share[name])
    if share[script] < _MOST:
        return "mixed"
    if script == "han":
        return _chinese(text)
    return _latin(text) if script == "latin" else _OF_SCRIPT.get(script, script)


def _chinese(text: str) -> str:
    mainland, taiwan = _only_in("gb2312", "big5"), _only_in("big5", "gb2312")
    simplified = sum(letter in mainland for letter in text)
    traditional = sum(letter in taiwan for letter in text)
    if simplified == traditional:
        return "zh"
    return "zh-hans" if simplified > traditional else "zh-hant"


@cache
def _only_in(standard: str, other: str) -> frozenset[str]:
    """The characters that one national standard has and the other lacks."""
    return frozenset(_characters(standard) - _characters(other))


def _characters(standard: str) -> set[str]:
    text = "".join(map(chr, range(0x4E00, 0xA000)))
    return set(text.encode(standard, "ignore").decode(standard))


def _latin(text: str) -> str:
    votes: dict[str, int] = {}
    for word in text.lower().split(maxsplit=_READ)[:_READ]:
        for name in _VOTES.get(word.strip(".,;:!?\"'()[]“”’"), ()):
            votes[name] = votes.get(name, 0) + 1
    best = sorted(votes.items(), key=lambda one: -one[1])[:2]
    return best[0][0] if best and (len(best) == 1 or best[0][1] > best[1][1]) else "latin"
