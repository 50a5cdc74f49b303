"""A first recipe for somebody's data: task, columns, sizes and cost, read off the data and written with the reasons."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from regard.data import sources
from regard.data.sources import Source
from regard.errors import RegardError
from regard.words import say

LOOK = 500  # rows that are looked at
PAIRS = (
    ("source", "target"),
    ("src", "tgt"),
    ("question", "answer"),
    ("input", "output"),
    ("prompt", "response"),
    ("body", "title"),
    ("document", "summary"),
    ("en", "zh"),
    ("zh", "en"),
    ("en", "de"),
    ("de", "en"),
)
ROLES = {
    "causal-lm": ("text",),
    "masked-lm": ("text",),
    "seq2seq": ("source", "target"),
    "classification": ("text", "label"),
}
LABELS = ("label", "labels", "class", "category", "sentiment", "stars", "topic", "intent", "rating", "target", "y")
CHINESE = re.compile("[\u3400-\u9fff]")


@dataclass(frozen=True, kw_only=True)
class Table:
    """What the first rows of a source look like. `columns`: name -> its values as text."""

    spec: str
    rows: int
    columns: dict[str, list[str]]

    def length(self, name: str) -> float:
        """Mean characters of a column."""
        return sum(map(len, self.columns[name])) / max(len(self.columns[name]), 1)

    def classes(self, name: str) -> int:
        return len(set(self.columns[name]))


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What was decided: values of a recipe by their dotted keys, in groups, and why."""

    task: str
    columns: dict[str, str]  # role -> column
    characters: float  # of one row
    chinese: bool
    rows: int
    context: int
    dim: int
    depth: int
    tokens: int  # in a batch
    steps: int

    @property
    def epoch(self) -> int:
        """Tokens of all rows, roughly."""
        return max(round(self.rows * self.characters / characters_per_token(self.chinese)), 1)


def look(spec: str, columns: Mapping[str, str | None]) -> Table:
    """The first rows of a source. `columns` (role -> column) are those that the user named."""
    source = _open(spec, columns)
    rows = range(min(LOOK, len(source)))
    records = [source.record(number) for number in rows]
    names = list(dict.fromkeys(key for record in records for key in record))
    values = {name: [str(record[name]) for record in records if record.get(name) is not None] for name in names}
    return Table(spec=spec, rows=len(source), columns={name: found for name, found in values.items() if found})


def guess(table: Table, named: Mapping[str, str | None], task: str | None) -> tuple[str, dict[str, str]]:
    """The task, if none is given, and the column of each role that it has; what is named stands."""
    asked = {role: column for role, column in named.items() if column is not None}
    pair = asked if {"source", "target"} & asked.keys() else _pair(table) if not asked else {}
    label = asked.get("label") or (None if "text" in asked and task is None else _label(table))
    if task is None:
        task = "seq2seq" if pair else "classification" if label else "causal-lm"
    if task == "seq2seq":
        return task, {role: pair[role] for role in ROLES[task] if role in pair}
    rest = [name for name in table.columns if name != label]
    text = asked.get("text") or ("text" if "text" in rest else max(rest, key=table.length, default=None))
    found = {"text": text, "label": label}
    return task, {role: column for role in ROLES[task] if (column := found[role]) is not None}


def _pair(table: Table) -> dict[str, str]:
    there = {name.lower(): name for name in table.columns}
    return next(
        ({"source": there[one], "target": there[other]} for one, other in PAIRS if one in there and other in there), {}
    )


def _label(table: Table) -> str | None:
    there = {name.lower(): name for name in table.columns}
    return next((there[name] for name in LABELS if name in there and is_label(table, there[name])), None)


def is_label(table: Table, name: str) -> bool:
    """Few values that come again and again."""
    return 2 <= table.classes(name) <= max(2, len(table.columns[name]) // 5) and table.length(name) < 40


def draft(table: Table, columns: dict[str, str], task: str) -> Draft:
    """Sizes that fit the data: a larger model for more text, and about so many epochs as such a task wants."""
    texts = [text for role in ("text", "source", "target") if role in columns for text in table.columns[columns[role]]]
    roles = sum(role in columns for role in ("text", "source", "target"))
    characters = roles * sum(map(len, texts)) / max(len(texts), 1)
    chinese = sum(bool(CHINESE.search(text)) for text in texts) > len(texts) / 2
    longest = sorted(len(text) for text in texts)[int(0.98 * (len(texts) - 1))] / characters_per_token(chinese)
    first = Draft(
        task=task,
        columns=columns,
        characters=characters,
        chinese=chinese,
        rows=table.rows,
        context=min(max(32 * math.ceil((longest + 2) / 32), 64), 256),
        dim=192,
        depth=3,
        tokens=2048,
        steps=0,
    )
    dim, depth, most = next(size[1:] for size in SIZES if first.epoch >= size[0])
    tokens = min(max(256, 2 ** round(math.log2(first.epoch / 20))), most)  # some twenty updates an epoch at least
    steps = round(EPOCHS[task] * first.epoch / tokens)
    return replace(first, dim=dim, depth=depth, tokens=tokens, steps=min(max(steps, 50), 20_000))


SIZES = ((20_000_000, 384, 6, 8192), (2_000_000, 256, 4, 4096), (0, 192, 3, 2048))  # epoch's tokens, dim, depth, batch
EPOCHS = {"causal-lm": 3, "masked-lm": 10, "seq2seq": 20, "classification": 8}
FAMILY = {"causal-lm": "qwen3", "masked-lm": "bert", "seq2seq": "vaswani", "classification": "bert"}


def characters_per_token(chinese: bool) -> float:
    return 1.0 if chinese else 4.0


def model(draft: Draft) -> dict[str, Any]:
    """The [model] table."""
    heads = draft.dim // 64
    family, small = FAMILY[draft.task], draft.dim < 256
    found: dict[str, Any] = {"family": family, "context": draft.context, "dim": draft.dim, "depth": draft.depth}
    if family == "qwen3":
        found |= {"hidden": 64 * round(draft.dim * 8 / 3 / 64), "dropout": 0.1 if small else 0.0}
        return found | {"attention": {"heads": heads, "kv_heads": heads, "head_dim": 64}}
    return found | {"hidden": 4 * draft.dim, "heads": heads, "dropout": 0.1}


def vocabulary(draft: Draft) -> tuple[str, int]:
    """The [tokenizer]'s kind and size."""
    if draft.chinese and draft.task == "causal-lm":
        return "characters", 6000
    return "bpe", 8000 if draft.epoch > 1_000_000 else 4000


def parameters(draft: Draft) -> int:
    """Weights of the model, counted without making them."""
    from regard import models

    values = {key: value for key, value in model(draft).items() if key != "family"}
    family = models.empty(models.config(FAMILY[draft.task], {**values, "vocab": vocabulary(draft)[1]}))
    return sum(parameter.numel() for parameter in family.parameters())


def seconds(draft: Draft, weights: int) -> float:
    """How long the training will take here: 6 operations a weight and token, forward and backward (Kaplan et al. 2020,
    table 1), at half of what this machine's matrix product reaches just now.
    """
    return 6 * weights * draft.tokens * draft.steps / (0.5 * products())


def products(size: int = 768, rounds: int = 5) -> float:
    """Operations a second of a float32 matrix product on this machine's CPU, measured; the best of a few."""
    import torch

    one = torch.ones(size, size)
    best = math.inf
    for _ in range(rounds):
        began = time.perf_counter()
        torch.matmul(one, one)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def text(draft: Draft, spec: str, cost: str, guessed: Sequence[str]) -> str:
    """recipe.toml, with a comment beside whatever one might want to change."""
    kind, vocab = vocabulary(draft)
    sizes = [f"{key} = {_value(value)}" for key, value in model(draft).items()]
    return TEMPLATE.format(
        head=_comment("head"),
        cost=_value(cost),
        task=_value(draft.task),
        guessed=_comment("guessed", what="; ".join(guessed)),
        data=_value(spec),
        columns="\n".join(f"{role} = {_value(column)}" for role, column in draft.columns.items()),
        kind=_value(kind),
        vocab=vocab,
        about_model=_comment("model"),
        model="\n".join(sizes),
        steps=draft.steps,
        about_steps=_comment("steps", epochs=f"{draft.steps * draft.tokens / draft.epoch:.1f}"),
        tokens=draft.tokens,
        rate=0.0003 if draft.task == "classification" else 0.001,
        often=max(draft.steps // 10, 10),
        **{name: _comment(name) for name in COMMENTS},
    )


COMMENTS = ("tasks", "share", "batch", "accumulate", "optimizer", "rates", "warmup", "every", "patience", "keep")
TEMPLATE = """{head}

[about]
cost = {cost}

[task]
name = {task}  {tasks}

[data]
{guessed}
train = {data}
share = 0.05  {share}
{columns}

[tokenizer]
kind = {kind}  # bpe, wordpiece, unigram, characters, bytes
vocab = {vocab}

{about_model}
[model]
{model}

[train]
steps = {steps}  {about_steps}
seed = 0

[train.batch]
tokens = {tokens}  {batch}
accumulate = 1  {accumulate}

[train.optimizer]
name = "adamw"  {optimizer}
rate = {rate}  {rates}

[train.schedule]
name = "cosine"  # constant, linear, cosine, wsd, inverse_sqrt
warmup = 0.05  {warmup}

[train.evaluate]
every = {often}  {every}
# patience = 3  {patience}

[train.keep]
every = {often}  {keep}
"""


def _open(spec: str, columns: Mapping[str, Any]) -> Source:
    """The source under whichever column can be read, so that its columns can be looked at."""
    try:
        return sources.open(spec, **columns)
    except RegardError as error:
        if error.key != "data.which_column":
            raise
        refused = error
    for column in str(refused.values["columns"]).split(", "):
        try:
            return sources.open(spec, text=column)
        except RegardError:
            continue
    raise refused


def _comment(key: str, **values: str) -> str:
    return "\n".join(f"# {line}" for line in say(f"cli_new.comment.{key}", **values).strip().split("\n"))


def _value(value: Any) -> str:
    """As TOML says it; JSON's strings are TOML's too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
