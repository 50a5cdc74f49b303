"""What several families' files say alike: checks of their configs, the usual heads, the foreign names of heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from regard import layers
from regard.config import Problem, between
from regard.errors import BadFileError
from regard.weights import foreign

LARGEST, DEEPEST, MOST_HEADS = 1 << 24, 1000, 1 << 12  # beyond what was ever built, and far below what overflows


def check_sizes(config: Any, *names: str) -> Iterator[Problem]:
    """Sizes that can be: what a file claims is believed only so far."""
    for name in names:
        yield from between(config, 1, {"depth": DEEPEST, "heads": MOST_HEADS}.get(name, LARGEST), name)


def check_heads(config: Any) -> Iterator[Problem]:
    """The width must divide into the heads."""
    if config.heads > 0 and config.dim % config.heads:
        yield "heads", "models.heads", {"dim": config.dim}


def check_head(config: Any) -> Iterator[Problem]:
    """A head that classifies needs classes to choose from."""
    if config.head in ("classify", "tag", "follows", "speaker") and len(config.labels) < 2:
        yield "labels", "models.labels", {}


def check_activation(config: Any) -> Iterator[Problem]:
    known = tuple(dict.fromkeys(foreign.ACTIVATIONS.values()))
    if config.activation not in known:
        yield "activation", "models.activation", {"known": ", ".join(known)}


def vocabulary(config: Any, tokens: Any) -> Any:
    """The matrix of the vocabulary: the embedding's, or one of its own."""
    import torch

    return tokens.tokens.weight if config.tied else torch.nn.Parameter(torch.zeros(config.vocab, config.dim))


def transformer(config: Any, tokens: Any, stack: Any, head: Any, *, causal: bool) -> Any:
    from regard.models.transformer import Transformer

    return Transformer(config, embed=tokens, stack=stack, head=head, mask=layers.Mask(causal=causal))


def foreign_head(data: Mapping[str, Any], known: Mapping[str, str], usual: str, where: str) -> Any:
    """The head that a config.json's ``architectures`` asks for."""
    named = data.get("architectures") or [usual]
    name = named[0] if isinstance(named, list) else named
    if not isinstance(name, str) or name not in known:
        raise BadFileError("weights.head", where=where, name=name, known=", ".join(known))
    return known[name]


def refuse(key: str, value: Any, accepted: tuple[Any, ...], where: str) -> NoReturn:
    """A setting whose value means something that this code does not do."""
    raise BadFileError("weights.setting", where=where, key=key, value=value, accepted=accepted)


def architecture(known: Mapping[str, str], head: str) -> str:
    """The foreign name of a head."""
    return next(theirs for theirs, ours in known.items() if ours == head)
