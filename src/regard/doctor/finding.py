"""What a check comes to: a colour, one sentence, and the command that mends what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from regard.words import say

Status = Literal["green", "amber", "red", "unasked"]


class Said(str):
    """A key of the message table among the values of a sentence: said in the language that the sentence is."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`key` and `values` name a sentence of the message table; `command` mends an amber or a red."""

    status: Status
    key: str
    values: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""


def good(key: str, /, **values: Any) -> Verdict:
    return Verdict(status="green", key=key, values=values)


def doubtful(key: str, command: str, /, **values: Any) -> Verdict:
    return Verdict(status="amber", key=key, values=values, command=command)


def bad(key: str, command: str, /, **values: Any) -> Verdict:
    return Verdict(status="red", key=key, values=values, command=command)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The verdict of one check; "unasked" where a red one before it leaves nothing to ask."""

    check: str
    group: str
    verdict: Verdict
    seconds: float = 0.0

    @property
    def status(self) -> Status:
        return self.verdict.status

    @property
    def title(self) -> str:
        """What is checked, in the language in use."""
        return say(f"doctor.{self.check}.title")

    @property
    def sentence(self) -> str:
        """What was found, in the language in use."""
        values = self.verdict.values.items()
        return say(self.verdict.key, **{name: say(v) if isinstance(v, Said) else v for name, v in values})

    @property
    def command(self) -> str:
        return self.verdict.command

    def to_dict(self) -> dict[str, Any]:
        found = {"check": self.check, "group": self.group, "status": self.status, "title": self.title}
        return found | {"sentence": self.sentence, "command": self.command, "seconds": round(self.seconds, 3)}


@dataclass(frozen=True, kw_only=True)
class Examination:
    """Everything that was found about `what`, a "run", a "recipe" or a "model", on so many rows and tokens."""

    what: str
    kind: str
    task: str
    family: str
    findings: tuple[Finding, ...]
    rows: int
    tokens: int
    seconds: float

    def of(self, status: Status) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.status == status)

    @property
    def status(self) -> Status:
        """The worst there is."""
        return "red" if self.of("red") else "amber" if self.of("amber") else "green"

    def __getitem__(self, check: str) -> Finding:
        """The finding of a check by name; KeyError for one that does not apply."""
        for finding in self.findings:
            if finding.check == check:
                return finding
        raise KeyError(check)

    def to_dict(self) -> dict[str, Any]:
        found = {"what": self.what, "kind": self.kind, "task": self.task, "family": self.family, "status": self.status}
        found |= {"rows": self.rows, "tokens": self.tokens, "seconds": round(self.seconds, 3)}
        return found | {"findings": [finding.to_dict() for finding in self.findings]}
