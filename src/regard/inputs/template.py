"""Which special tokens stand around a text, and around a pair."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import chain, islice

import tokenizers

from regard.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Template:
    """before + text + after; pair_before + text + between + second text + pair_after. Empty: nothing is added.

    `types` are the segment numbers of (pair_before, text, between, second text, pair_after).
    """

    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    pair_before: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    pair_after: tuple[int, ...] = ()
    types: tuple[int, ...] = (0, 0, 0, 1, 1)

    def fill(self, first: list[int], second: list[int] | None, context: int | None) -> tuple[list[int], list[int]]:
        """The tokens around and between, and each token's segment; cut to `context` from the end of the longer text."""
        if second is None:
            room = _room(context, len(self.before) + len(self.after))
            ids = [*self.before, *first[:room], *self.after]
            return ids, [0] * len(ids)
        room = _room(context, len(self.pair_before) + len(self.between) + len(self.pair_after))
        kept, kept_second = _shares(len(first), len(second), room)
        parts = (self.pair_before, first[:kept], self.between, second[:kept_second], self.pair_after)
        kinds = [kind for kind, part in zip(self.types, parts, strict=True) for _ in part]
        return [number for part in parts for number in part], kinds

    def instead(self, tokens: Collection[int], token: int) -> Template:
        """The same with ``token`` wherever one of ``tokens`` stands."""
        parts = ("before", "after", "pair_before", "between", "pair_after")
        told = {part: tuple(token if one in tokens else one for one in getattr(self, part)) for part in parts}
        return replace(self, **told)

    def complete(self, ids: list[int]) -> list[int]:
        """Add what `before` and `after` demand and `ids` does not already begin and end with."""
        begun = tuple(ids[: len(self.before)]) == self.before
        ended = bool(self.after) and tuple(ids[-len(self.after) :]) == self.after
        return [*(() if begun else self.before), *ids, *(() if ended else self.after)]


def probe(rust: tokenizers.Tokenizer) -> Template:
    """The template of a loaded tokenizer, read off what its post-processor does to one text and to a pair."""
    text = _kept(rust)
    single, pair = rust.encode(text), rust.encode(text, text)
    first = [place for place, part in enumerate(pair.sequence_ids) if part == 0]
    second = [place for place, part in enumerate(pair.sequence_ids) if part == 1]
    inside = [place for place, part in enumerate(single.sequence_ids) if part == 0]
    if not (first and second and inside):
        return Template()
    types = pair.type_ids
    return Template(
        before=tuple(single.ids[: inside[0]]),
        after=tuple(single.ids[inside[-1] + 1 :]),
        pair_before=tuple(pair.ids[: first[0]]),
        between=tuple(pair.ids[first[-1] + 1 : second[0]]),
        pair_after=tuple(pair.ids[second[-1] + 1 :]),
        types=(types[0], types[first[0]], types[first[-1] + 1], types[second[0]], types[-1]),
    )


def _kept(rust: tokenizers.Tokenizer) -> str:
    """A text that something is left of: some vocabularies have no "a", some rules drop it."""
    words = (word for word in rust.get_vocab(with_added_tokens=False) if word.isprintable())
    for text in chain(("a", "A", "0", "字"), islice(words, 1000)):
        if rust.encode(text, add_special_tokens=False).ids:
            return text
    return "a"


def processor(template: Template, rust: tokenizers.Tokenizer) -> tokenizers.processors.TemplateProcessing:
    """The same template as the `tokenizers` library writes it into tokenizer.json."""
    used = {*template.before, *template.after, *template.pair_before, *template.between, *template.pair_after}
    names = {number: str(rust.id_to_token(number)) for number in used}
    begin, first, between, second, end = template.types

    def spell(numbers: tuple[int, ...], kind: int) -> list[str]:
        return [f"{names[number]}:{kind}" for number in numbers]

    pair = [*spell(template.pair_before, begin), f"$A:{first}", *spell(template.between, between), f"$B:{second}"]
    return tokenizers.processors.TemplateProcessing(
        single=[*spell(template.before, 0), "$A:0", *spell(template.after, 0)],
        pair=[*pair, *spell(template.pair_after, end)],
        special_tokens=[(name, number) for number, name in names.items()],
    )


def _room(context: int | None, taken: int) -> int | None:
    if context is None:
        return None
    if context <= taken:
        raise ConfigError("inputs.context_too_small", context=context, least=taken + 1)
    return context - taken


def _shares(first: int, second: int, room: int | None) -> tuple[int, int]:
    """How much of each text is kept: the longer is cut first, as transformers' longest_first does."""
    if room is None or first + second <= room:
        return first, second
    half = room // 2
    if first >= second:
        return max(room - second, room - half), min(second, half)
    return min(first, room - half), max(room - first, half)
