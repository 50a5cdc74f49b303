"""Small parts and models on prime sizes, every weight random, so that none can be left out unseen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regard import embed, heads, layers, models
from regard.layers import Context, Mask
from regard.layers.places import Places
from regard.models.transformer import Transformer
from regard.ops import rotary

VOCAB, HEADS, KV_HEADS, HEAD_DIM, DEPTH = 31, 6, 2, 10, 2

POSITIONS: dict[str, Callable[[], layers.Position | None]] = {
    "none": lambda: None,
    "rotary": lambda: layers.Rotary(rotary.frequencies(HEAD_DIM, 100.0)),
    "partly rotary": lambda: layers.Rotary(rotary.frequencies(4, 100.0)),
    "alibi": lambda: layers.Alibi(HEADS),
    "buckets": lambda: layers.Buckets(HEADS, buckets=7, furthest=11, both_sides=False),
    "two-sided buckets": lambda: layers.Buckets(HEADS, buckets=14, furthest=11, both_sides=True),
    "shaw": lambda: layers.ShawRelative(HEAD_DIM, furthest=3),
    "transformer-xl": lambda: layers.TransformerXLRelative(14, HEADS, HEAD_DIM),
}


def randomised(model: nn.Module, seed: int = 3, spread: float = 0.3) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = torch.empty_like(parameter).normal_(0.0, spread, generator=generator)
            norm = parameter.dim() == 1 and name.endswith("weight")
            parameter.copy_(values + 1.0 if norm else values)
    return model.eval()


@dataclass(frozen=True)
class Sizes:
    """The config of a model put together by hand."""

    dim: int = 14
    context: int = 64


def by_hand(
    position: str = "none", *, causal: bool = True, core=layers.fused, window: int | None = None, dropout: float = 0.0
) -> Transformer:
    """A pre-norm model of two layers that hold one position, on grouped heads."""
    held, dim = POSITIONS[position](), Sizes.dim
    projection = layers.Grouped(dim=dim, heads=HEADS, kv_heads=KV_HEADS, head_dim=HEAD_DIM, bias=True)
    own = None if window is None else Mask(window=window)

    def block() -> layers.Block:
        attention = layers.Attention(projection, position=held, core=core, mask=own, dropout=dropout)
        feed_forward = layers.FeedForward(dim, 17, "gelu", dropout=dropout)
        return layers.Block(
            attention=layers.Residual(sublayer=attention, before=layers.LayerNorm(dim), dropout=dropout),
            feed_forward=layers.Residual(sublayer=feed_forward, before=layers.LayerNorm(dim), dropout=dropout),
        )

    tokens = embed.Tokens(VOCAB, dim)
    stack = layers.Stack([block() for _ in range(DEPTH)], norm=layers.LayerNorm(dim))
    head = heads.Language(tokens.tokens.weight)
    model = Transformer(Sizes(), embed=tokens, stack=stack, head=head, mask=Mask(causal=causal))
    return randomised(model)  # type: ignore[return-value]


_ATTENTION = {"heads": HEADS, "kv_heads": KV_HEADS, "head_dim": HEAD_DIM}
_PLAIN = {"vocab": VOCAB, "context": 61, "dim": 21, "depth": DEPTH, "heads": 3, "hidden": 17}
_QWEN3 = {"vocab": VOCAB, "context": 61, "dim": 13, "depth": 3, "hidden": 17, "attention": _ATTENTION}
_WINDOWED = _QWEN3 | {"attention": _ATTENTION | {"window": 5, "local": [0, 2]}}
_CLASSES = {"head": "classify", "labels": ["a", "b", "c"]}
FAMILIES = {
    "bert": ("bert", _PLAIN),
    "bert classify": ("bert", _PLAIN | _CLASSES),
    "gpt2": ("gpt2", _PLAIN),
    "gpt2 classify": ("gpt2", _PLAIN | _CLASSES),
    "qwen3": ("qwen3", _QWEN3),
    "qwen3 windowed": ("qwen3", _WINDOWED),
    "qwen3 classify": ("qwen3", _QWEN3 | _CLASSES),
    "vaswani": ("vaswani", _PLAIN | {"dim": 42}),
}
DECODERS = ["gpt2", "qwen3", "qwen3 windowed", *(f"by hand {name}" for name in POSITIONS)]


def tiny(name: str, **changes):
    """A random model in evaluation mode: of a family, or by hand with a position."""
    if name.startswith("by hand "):
        return by_hand(name.removeprefix("by hand "), **changes)
    family, values = FAMILIES[name]
    return randomised(models.build(models.config(family, values | {"dropout": 0.0} | changes)))


def some_tokens(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(3, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def padded(rows: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
    """Rows of several lengths as one batch, the rest of each filled with tokens that must not matter."""
    lengths = [len(row) for row in rows]
    batch = some_tokens(len(rows), max(lengths), seed=97)
    for filled, row in zip(batch, rows, strict=True):
        filled[: len(row)] = row
    return batch, lengths


def bind(mask: Mask, T: int, S: int | None = None):
    """A mask at queries 0..T-1 (the last T of S keys where S is given)."""
    S = T if S is None else S
    return mask.bind(Places.count(S - T, T), Places.count(0, S))


def opened(x: Tensor, **what) -> Context:
    return Context(**what).open((x.shape[0], x.shape[1]), x.device)
