"""Decoding as a model's files advise it, where the one who asks says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from regard.errors import ConfigError
from regard.generate.settings import Rules, Search, Settings
from regard.inputs import advice

if TYPE_CHECKING:
    from regard.bundle import Bundle

DRAWN = {
    "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p", "typical_p": "typical_p",
}  # fmt: skip
SEARCHED = {
    "num_beams": "beams", "num_beam_groups": "groups", "diversity_penalty": "diversity",
    "length_penalty": "length_penalty", "early_stopping": "early_stopping",
}  # fmt: skip
RULES = {"repetition_penalty": "repetition", "no_repeat_ngram_size": "no_repeat"}
# Whoever names one of these has chosen how a text is found.
WAYS = frozenset(
    {*DRAWN.values(), "beams", "groups", "diversity", "forced", "contrast", "guesses", "lookup", "best_of"}
)  # fmt: skip
_STOPPING = {True: "full", "never": "never"}


@dataclass(frozen=True)
class Advised:
    """settings: what was named, with what is advised for the rest; taken: that rest by our names; others: advice that
    is not followed, by its own."""

    settings: Settings
    taken: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)


def advised(bundle: Bundle, named: Mapping[str, Any], usual: Mapping[str, Any] | None = None) -> Advised:
    """Settings from fields of Settings, Rules and Search by their names: those ``named``, then what the model's files
    advise, then ``usual``. A beam search or a draw is advised to whoever named no way of their own, and a number of
    one to whoever named that one. Raises ConfigError for named ones that contradict each other; advice that does is
    not followed."""
    said = dict(bundle.marks.advice)
    others = {key: value for key, value in said.items() if key in advice.OTHERS}
    rest = {name: value for name, value in (usual or {}).items() if name not in named}
    taken = _taken(said, named, bundle.task)
    if not taken:
        return Advised(settings({**rest, **named}), others=others)
    drawing = WAYS | {"repetition"}  # what is usual of these gives way to any advice about them
    kept = {name: value for name, value in rest.items() if name not in drawing or not taken.keys() & drawing}
    try:
        return Advised(settings({**kept, **taken, **named}), taken, others)
    except ConfigError:
        return Advised(settings({**rest, **named}), others=said)


def settings(flat: Mapping[str, Any]) -> Settings:
    """Settings of fields that stand in Settings, Rules or Search."""
    rules, search = (
        {one.name: flat[one.name] for one in fields(kind) if one.name in flat} for kind in (Rules, Search)
    )
    own = {name: value for name, value in flat.items() if name not in rules and name not in search}
    return Settings(rules=Rules(**rules), search=Search(**search), **own)


def _taken(said: Mapping[str, Any], named: Mapping[str, Any], task: str) -> dict[str, Any]:
    found = _ours(said, RULES) | _lengths(said, named, task)
    beams = named.get("beams", 1 if named.keys() & WAYS or named.get("samples", 1) > 1 else said.get("num_beams", 1))
    if beams > 1 and not (said.get("do_sample") and "beams" not in named):
        found |= _ours(said, SEARCHED) | {"beams": beams}
    elif said.get("do_sample", task == "causal-lm") and named.get("temperature") != 0 and not _searched(named):
        drawn = _ours(said, DRAWN)
        found |= {"temperature": 0.0} if drawn.get("temperature") == 0 else drawn
        if said.get("do_sample"):
            found.setdefault("temperature", 1.0)
    return {name: value for name, value in found.items() if name not in named}


def _searched(named: Mapping[str, Any]) -> bool:
    return named.get("beams", 1) > 1 or named.get("contrast") is not None


def _ours(said: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    found = {ours: said[theirs] for theirs, ours in names.items() if theirs in said}
    if "early_stopping" in found:
        found["early_stopping"] = _STOPPING[found["early_stopping"]]
    return found


def _lengths(said: Mapping[str, Any], named: Mapping[str, Any], task: str) -> dict[str, Any]:
    """A target's lengths count the token that it stands behind. Of a text that goes on from a prompt they count the
    prompt too, and say nothing of what is asked here."""
    found: dict[str, Any] = {}
    if task != "seq2seq":
        return found
    least = said.get("min_new_tokens", said.get("min_length", 1) - 1)
    most = said.get("max_new_tokens", said.get("max_length", 1) - 1)
    if most > 0:
        found["max_tokens"] = most
    bound = named.get("max_tokens", most or least)
    # A form ends where it is complete.
    if least > 0 and least <= bound and not (named.get("schema") or named.get("regex")):
        found["min_tokens"] = least
    return found
