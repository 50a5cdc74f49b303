"""Delimited text (CSV, TSV) by RFC 4180: fields in quotes may hold the delimiter, line ends and doubled quotes."""

from __future__ import annotations

QUOTE = '"'


class Misquoted(ValueError):
    """Something other than a delimiter follows a closing quote."""


class Fields:
    """Splits records into fields, a line at a time, so that a record over many lines costs no more than its length.

    A quote is one only at the start of a field, as every reader has it; elsewhere it is a character. With `quoted`
    False it is a character everywhere (plain TSV).
    """

    def __init__(self, delimiter: str, *, quoted: bool) -> None:
        self.delimiter = delimiter
        self.quoted = quoted
        self._fields: list[str] = []
        self._parts: list[str] | None = None  # of the quoted field that is still open

    @property
    def open(self) -> bool:
        """Whether the record goes on in the next line."""
        return self._parts is not None

    def feed(self, line: str) -> list[str] | None:
        """The fields of the record that ends with `line` (given without its line end); None while it goes on."""
        if self._parts is None and not (self.quoted and QUOTE in line):
            return line.split(self.delimiter)
        at: int | None = 0
        if self._parts is not None:
            at = self._inside(line, 0)
        while at is not None:
            if line.startswith(QUOTE, at):
                self._parts = []
                at = self._inside(line, at + 1)
                continue
            end = line.find(self.delimiter, at)
            self._fields.append(line[at:] if end < 0 else line[at:end])
            at = None if end < 0 else end + len(self.delimiter)
        if self.open:
            return None
        fields, self._fields = self._fields, []
        return fields

    def _inside(self, line: str, at: int) -> int | None:
        """Read on inside quotes; where the next field starts, or None at the end of the line."""
        assert self._parts is not None
        while (quote := line.find(QUOTE, at)) >= 0:
            self._parts.append(line[at:quote])
            if line.startswith(QUOTE, quote + 1):
                self._parts.append(QUOTE)
                at = quote + 2
                continue
            self._fields.append("".join(self._parts))
            self._parts = None
            if quote + 1 == len(line):
                return None
            if not line.startswith(self.delimiter, quote + 1):
                raise Misquoted(line[quote : quote + 20])
            return quote + 1 + len(self.delimiter)
        self._parts += [line[at:], "\n"]
        return None


def split(text: str, delimiter: str, *, quoted: bool) -> list[str] | None:
    """The fields of one whole record, which may go over several lines; None if a quote is left open."""
    fields = Fields(delimiter, quoted=quoted)
    found: list[str] | None = None
    for line in text.split("\n"):
        found = fields.feed(line)
    return found
