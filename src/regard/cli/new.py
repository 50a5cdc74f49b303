"""`regard new`: a recipe fitted to somebody's data, to read, change and train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from regard.cli.command import answer, argument, option, verb
from regard.words import say

TASKS = ("causal-lm", "masked-lm", "seq2seq", "classification")
SAMPLES = {
    "causal-lm": "sample:tang-poems",
    "masked-lm": "sample:addresses",
    "seq2seq": "sample:office-help",
    "classification": "sample:film-reviews",
}


@verb("new")
@argument("folder", type=click.Path())
@option("--task", type=click.Choice(TASKS))
@option("--data")
@option("--text")
@option("--label")
@option("--source")
@option("--target")
def command(folder: str, task: str | None, data: str | None, **named: str | None) -> None:
    from regard import limits
    from regard.errors import RegardError
    from regard.train import draft
    from regard.train.recipe import absolute

    path = Path(folder) / "recipe.toml"
    if path.exists():
        raise RegardError("cli_new.exists", path=path)
    spec = absolute(data) or SAMPLES[task or "causal-lm"]
    table = draft.look(spec, named)
    task, columns = draft.guess(table, named, task)
    missing = [role for role in draft.ROLES[task] if role not in columns]
    if missing:
        wanted = {"roles": ", ".join(missing), "options": " ".join(f"--{role} …" for role in missing)}
        raise RegardError("cli_new.missing", task=task, path=data or spec, columns=", ".join(table.columns), **wanted)
    found = draft.draft(table, columns, task)
    weights = draft.parameters(found)
    minutes = draft.seconds(found, weights) / 60
    cost = say("cli_new.cost", minutes=f"{max(minutes, 1):,.0f}", parameters=f"{weights / 1e6:.1f}", steps=found.steps)
    guessed = [say("cli_new.guess", role=role, column=column) for role, column in columns.items()]
    limits.write(path, draft.text(found, spec, cost, guessed))
    document: dict[str, Any] = {"recipe": str(path), "task": task, "data": spec, "columns": columns}
    document |= {"rows": table.rows, "parameters": weights, "steps": found.steps, "minutes": round(minutes, 1)}
    lines = [say("cli_new.written", path=path.as_posix(), task=task, rows=f"{table.rows:,}"), *guessed, cost]
    lines += [say("cli_new.next"), f"  regard data show {path.as_posix()}", f"  regard train {path.as_posix()}"]
    answer(document, lambda screen: screen.print("\n".join(lines), markup=False, soft_wrap=True))
