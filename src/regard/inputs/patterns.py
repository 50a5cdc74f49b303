"""Regular expressions out of a tokenizer's file: which of them may run on a text.

The engine behind them goes back and tries again, so that a pattern of ten characters can take a year. A pattern runs
here if it is a known one; or if its form rules out exponential time (no repetition inside a repetition, no reference
back, few repetitions one after another) and a trial, in a process that can be ended, shows its time to be in
proportion to the text's length.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from functools import cache
from typing import Any

from regard.words import say

LONGEST = 2000
MOST_REPEATS = 8  # in one alternative
LARGEST_COUNT = 256  # in {n,m}
SECONDS = 1.0  # of the processor, for all texts of the trial
PATIENCE = 20.0  # of the clock, where the processor's cannot be limited
STEEPEST = 3.0  # doubling a text may take this many times as long: 2 is linear, 4 is quadratic
LENGTH = 1 << 13

_LETTERS = (  # words that begin large, and words that do not
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
)
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = rf"{_LETTERS[0]}{_SHORT}|{_LETTERS[1]}{_SHORT}|\p{{N}}{{1,3}}{_REST}"
TEKKEN = rf"{_LETTERS[0]}|{_LETTERS[1]}|\p{{N}}{_REST}"  # Mistral's
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
# Those of the best-known byte-level vocabularies, by the models that brought them.
KNOWN = frozenset({
    # Llama 3, cl100k
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    # Qwen 2, 2.5 and 3
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    # GPT-2
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    O200K, TEKKEN, BLOOM,
    # spaces, as SentencePiece takes them together and off the ends
    " {2,}", r"\A | \z",
    # ours
    r"(?i:'(?:s|t|re|ve|m|ll|d)(?!\p{L}))| ?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+|\s*[\r\n]|\s+(?!\S)|\s+",
})  # fmt: skip

_BACKWARD = re.compile(r"\\[1-9kgG]|\(\?(?:\(|R|&|P[>=]|~|\{|C|[+-]?\d)|\(\*")
_QUANTIFIER = re.compile(r"[*+?]|\{(\d*)(,?)(\d*)\}")


def fault(pattern: Any) -> str | None:
    """Why a pattern may not run, in words; None if it may."""
    if not isinstance(pattern, str) or len(pattern) > LONGEST:
        return say("inputs.pattern.long", most=LONGEST)
    if not pattern:
        return say("inputs.pattern.empty")
    if pattern in KNOWN:
        return None
    return _form(pattern) or _trial(pattern)


def _form(pattern: str) -> str | None:
    """What in the form of a pattern could make it exponential."""
    plain = re.sub(r"\\\\", "  ", pattern)
    if _BACKWARD.search(plain):
        return say("inputs.pattern.back")
    groups, repeats, place = [False], 0, 0  # for each open group: does it hold a choice or a repetition?
    while place < len(pattern):
        letter = pattern[place]
        ended, held, place = False, False, _after(pattern, place)
        if letter == "(":
            groups.append(False)
            if pattern.startswith("?", place):
                place = _after_kind(pattern, place)
                if pattern[place - 1] == ")":  # flags alone: (?i)
                    groups.pop()
            continue
        if letter == "|":
            groups[-1] = True
            repeats = repeats if len(groups) > 1 else 0
            continue
        if letter == ")" and len(groups) > 1:
            ended, held = True, groups.pop()
            groups[-1] |= held
        found = _QUANTIFIER.match(pattern, place)
        if found is None:
            continue
        place = found.end()
        least, comma, most = found.groups() if found[1] is not None else ("", ",", "")
        if max(int(least or 0), int(most or 0)) > LARGEST_COUNT:
            return say("inputs.pattern.count", most=LARGEST_COUNT)
        if ended and held and found[0] != "?":
            return say("inputs.pattern.nested")
        if comma:  # an exact {3} leaves nothing to try again
            groups[-1], repeats = True, repeats + 1
        if repeats > MOST_REPEATS:
            return say("inputs.pattern.repeats", most=MOST_REPEATS)
    return None


def _after(pattern: str, place: int) -> int:
    """Where the next item begins: after an escape with its braces, a class with the classes in it, or a character."""
    if pattern[place] == "\\":
        braced = re.compile(r"\\[pPxuoN]\{[^}]*\}").match(pattern, place)
        return braced.end() if braced else place + 2
    if pattern[place] != "[":
        return place + 1
    depth, place = 1, place + 1
    place += pattern.startswith("^", place)
    place += pattern.startswith("]", place)
    while depth and place < len(pattern):
        depth += {"[": 1, "]": -1}.get(pattern[place], 0)
        place += 2 if pattern[place] == "\\" else 1
    return place


def _after_kind(pattern: str, place: int) -> int:
    """After what says the kind of a group: ?:, ?=, ?!, ?<=, ?<!, ?>, ?i:, ?<name>."""
    found = re.compile(r"\?(?:<[=!]|[:=!>]|[a-zA-Z-]*[:)]|P?<\w+>)").match(pattern, place)
    return found.end() if found else place + 1


@cache
def _trial(pattern: str) -> str | None:
    """Runs the pattern over texts that are hard for it, in a process of its own."""
    command = [sys.executable, "-P", __file__]
    try:
        done = subprocess.run(
            command, input=json.dumps(pattern), capture_output=True, text=True, timeout=PATIENCE, check=False,
            encoding="utf-8", env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return say("inputs.pattern.slow")
    verdict = done.stdout.strip()
    if verdict == "good":
        return None
    return say("inputs.pattern.invalid") if verdict == "invalid" else say("inputs.pattern.slow")


def _main() -> None:
    """The trial's process: prints good, slow or invalid, or is ended by the system for taking too long."""
    from tokenizers import Regex, pre_tokenizers

    if sys.platform != "win32":
        import resource

        spent = int(time.process_time() + SECONDS) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (spent, spent))
    pattern = json.loads(sys.stdin.read())
    try:
        step = pre_tokenizers.Split(Regex(pattern), "isolated")
    except Exception:
        print("invalid")
        return

    def seconds(text: str) -> float:
        start = time.process_time()
        step.pre_tokenize_str(text)
        return time.process_time() - start

    letters = dict.fromkeys(re.findall(r"\w", pattern.replace("\\", ""))[:32] + list(" \n^0aA字.́'-\t\r"))
    for letter in letters:
        for tail in ("", "!", "x", "\n"):
            short = seconds(letter * LENGTH + tail)
            if short > 0.01 and seconds(letter * (2 * LENGTH) + tail) > STEEPEST * short:
                print("slow")
                return
    print("good")


if __name__ == "__main__":
    _main()
