"""The model card: what a finished model is, what it was made from, what it reached, and how to use it."""

from __future__ import annotations

from typing import Any

from regard.train.run import Run
from regard.words import say


def card(run: Run, step: int) -> str:
    """README.md of a run whose model is that of `step`."""
    recipe, data = run.recipe, run.data
    scores = next((line["held_out"] for line in run.scores() if line["step"] == step), {})
    updates = run.updates()
    facts = {
        "task": recipe.task_name,
        "family": recipe.model["family"],
        "base": recipe.base or "-",
        "data": recipe.data.train,
        "rows": f"{data['rows']['train']:,} / {data['rows']['held_out']:,}",
        "fingerprint": data["fingerprints"]["train"][:16],
        "steps": f"{step:,} / {recipe.train.steps:,}",
        "tokens": f"{sum(line['tokens'] for line in updates):,}",
        "hours": f"{sum(line['seconds'] for line in updates) / 3600:.2f} ({recipe.train.machine.device})",
        "seed": recipe.train.seed,
    }
    lines = [f"# {recipe.about.title or run.folder.name}", "", say("train.card.intro"), "", *_table(facts)]
    lines += ["", f"## {say('train.card.scores')}", "", *_scores(scores), "", f"## {say('train.card.use')}", ""]
    verb = "generate" if recipe.task_name == "causal-lm" else "predict"
    lines += ["```", f"regard {verb} {run.folder.name}", f"regard eval {run.folder.name}", "```", ""]
    return "\n".join(lines)


def _table(facts: dict[str, Any]) -> list[str]:
    rows = [f"| {say(f'train.card.{name}')} | {value} |" for name, value in facts.items()]
    return ["| | |", "|---|---|", *rows]


def _scores(scores: dict[str, dict[str, float | None]]) -> list[str]:
    if not scores:
        return [say("train.card.no_scores")]
    lines = []
    for name, score in scores.items():
        value, low, high = score["value"], score["low"], score["high"]
        span = "" if low is None or high is None else f" ({low:.4g} – {high:.4g})"
        lines.append(f"* {name}: {'-' if value is None else f'{value:.4g}'}{span}")
    return lines
