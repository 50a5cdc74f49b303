"""The tokens of a model that writes down speech with its times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from regard import limits
from regard.errors import BadFileError

GENERATION = "generation_config.json"
START, END, BEFORE = "<|startoftranscript|>", "<|endoftext|>", "<|startofprev|>"
TASKS = {"transcribe": "<|transcribe|>", "translate": "<|translate|>"}
SILENT = ("<|nospeech|>", "<|nocaptions|>")
UNTIMED = "<|notimestamps|>"
NEVER = (START, BEFORE, "<|startoflm|>", *TASKS.values(), *SILENT)


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """Numbers of tokens. times: the first of those that say a time, the next ones ``step`` seconds later each.
    languages: code -> token, of a model that was trained on several; none of one that knows English alone."""

    start: int
    end: int
    before: int
    silent: int
    times: int
    step: float
    tasks: Mapping[str, int]
    languages: Mapping[str, int]
    never: tuple[int, ...] = ()
    never_first: tuple[int, ...] = ()

    def prompt(self, language: str | None, task: str, earlier: Sequence[int]) -> list[int]:
        """What a window's text stands behind: what was said before it, then language and task."""
        told = [self.before, *earlier] if earlier else []
        what = [self.languages[language], self.tasks[task]] if language is not None else []
        return [*told, self.start, *what]

    def seconds(self, token: int) -> float:
        """The time that a token says."""
        return (token - self.times) * self.step


def spoken(bundle: Any) -> Spoken | None:
    """A bundle's tokens of speech; None where its model does not write times."""
    if bundle.task != "seq2seq" or not hasattr(bundle.processor, "seconds"):
        return None
    numbers = {one["content"]: one["id"] for one in bundle.tokenizer.document()["added_tokens"]}
    silent = next((numbers[name] for name in SILENT if name in numbers), None)
    needed = [START, END, BEFORE, UNTIMED, *TASKS.values()]
    if silent is None or not all(name in numbers for name in needed):
        return None
    config = bundle.model.config
    first, last = numbers[START] + 1, numbers[TASKS["translate"]]
    # Between the start and the first task stand the languages; a model of English alone never learnt them.
    learnt = numbers[START] == config.start and config.vocab > 51_864
    languages = {name[2:-2]: number for name, number in numbers.items() if first <= number < last} if learnt else {}
    return Spoken(
        start=numbers[START],
        end=numbers[END],
        before=numbers[BEFORE],
        silent=silent,
        times=numbers[UNTIMED] + 1,
        step=bundle.processor.seconds / config.frames,
        tasks={task: numbers[name] for task, name in TASKS.items()},
        languages=languages,
        never=(
            *_suppressed(bundle, "suppress_tokens", config.suppressed),
            *(numbers[name] for name in NEVER if name in numbers),
            numbers[UNTIMED],
        ),
        never_first=_suppressed(bundle, "begin_suppress_tokens", config.suppressed_first),
    )


def _suppressed(bundle: Any, key: str, known: tuple[int, ...]) -> tuple[int, ...]:
    """Tokens of a list that older files hold in config.json and newer ones in generation_config.json."""
    if known or bundle.folder is None or not (bundle.folder / GENERATION).is_file():
        return known
    data = limits.read_json(limits.member(bundle.folder, GENERATION))
    listed = data.get(key) if isinstance(data, dict) else None
    if listed is None:
        return known
    vocab = bundle.model.config.vocab
    if not isinstance(listed, list) or not all(type(one) is int and 0 <= one < vocab for one in listed):
        raise BadFileError(
            "weights.setting", where=bundle.folder / GENERATION, key=key, value=listed, accepted=f"< {vocab}"
        )
    return tuple(listed)
