"""The languages of a model that translates between several, as the command line gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from regard.cli.command import option
from regard.cli.mistakes import Mistake

if TYPE_CHECKING:
    from regard.bundle import Bundle


def language_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--source-language and --target-language."""
    return option("--source-language")(option("--target-language")(function))


def between(loaded: Bundle, source: str | None, target: str | None) -> Bundle:
    """The model for these languages. One that has to be told in which it is to answer, and is not, is refused: it would
    answer in any."""
    from regard.inputs import languages

    loaded = loaded.between(source, target)
    if loaded.task != "seq2seq":
        return loaded
    known = languages.known(loaded.tokenizer)
    begin = loaded.marks.settled(loaded.model.config).begin
    if known and set(known.values()).isdisjoint(begin):
        raise Mistake("cli.which_language", family=loaded.family, count=len(known), some=", ".join(sorted(known)[:12]))
    return loaded
