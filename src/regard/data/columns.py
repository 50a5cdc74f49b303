"""Which column of a table is the text, the label, the source and the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regard.data.forms import kind
from regard.errors import BadFileError, RegardError

if TYPE_CHECKING:
    from regard.data.sources import FileSource

ROLES = ("text", "label", "source", "target")
_READABLE = {"label": ("text", "whole number", "true/false")}  # what a column of a role may hold; others only text


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The columns somebody asked for; None is the one of the usual name, if there is one."""

    text: str | None
    label: str | None
    source: str | None
    target: str | None

    @property
    def asked(self) -> dict[str, str]:
        return {role: column for role in ROLES if (column := getattr(self, role)) is not None}

    @property
    def numbered(self) -> bool:
        """Whether the columns are asked for by number, as in a table without a line of names."""
        return bool(self.asked) and all(column.isascii() and column.isdigit() for column in self.asked.values())

    def roles(self, columns: Mapping[str, Any], count: int, name: str) -> dict[str, str]:
        """Role -> column, for the roles this source has; refuses a column that is not there."""
        there = ", ".join(columns) or "-"
        roles: dict[str, str] = {}
        for role in ROLES:
            column = self.asked.get(role, role if role in columns else None)
            if column is None:
                continue
            if column not in columns:
                raise RegardError("data.missing_column", path=name, column=column, columns=there, role=role)
            roles[role] = column
        if "text" not in roles and "source" not in roles:
            raise RegardError("data.which_column", path=name, columns=there)
        return roles

    def check(self, roles: Mapping[str, str], columns: Mapping[str, Mapping[str, int]], rows: FileSource) -> None:
        """Refuse, by file:line, the first row that lacks a chosen column or has no text in it."""
        for role, column in roles.items():
            good = sum(columns[column].get(name, 0) for name in _READABLE.get(role, ("text",)))
            if good == len(rows):
                continue
            for number in range(len(rows)):
                self.value(rows.record(number), column, role, rows.where(number))

    @staticmethod
    def value(record: Mapping[str, Any], column: str, role: str, where: str) -> str:
        """One value of a row as text, or an error naming the place."""
        value = record.get(column)
        if isinstance(value, str):
            return value
        found = kind(value) if column in record else "-"
        if found not in _READABLE.get(role, ("text",)):
            raise BadFileError("data.not_text", where=where, column=column, found=found)
        return str(value).lower() if isinstance(value, bool) else str(value)
