"""How x becomes queries, keys and values.

A projection is a value. It says which linear layers an attention owns, and computes with them::

    layers()                     -> {name: module}, owned by the attention under these names
    q(own, x, rotate)            -> (B, H, T, K)
    state(own, source, rotate)   -> what a cache keeps of the source's tokens, each (B, G, S, ...)
    expand(own, state)           -> k (B, G, S, K), v (B, G, S, Kv)

``own`` is the attention, so a layer that was replaced from outside (an adapter, a quantised one) is the one used.
``rotate`` is the position's; the projection decides what of its q and k is turned. Keys are turned before they are
cached: a key's position never changes, and turning the whole cache anew at every step would read it twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from regard.layers.linear import Linear

Rotate = Callable[[Tensor], Tensor]


class Projection(Protocol):
    @property
    def heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...

    def layers(self) -> dict[str, nn.Module]: ...
    def q(self, own: Any, x: Tensor, rotate: Rotate) -> Tensor: ...
    def state(self, own: Any, source: Tensor, rotate: Rotate) -> tuple[Tensor, ...]: ...
    def expand(self, own: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class Grouped:
    """H query heads on G key-value heads: G = H is multi-head (Vaswani et al. 2017), G = 1 multi-query (Shazeer 2019),
    between them grouped-query attention (Ainslie et al. 2023).

    ``norm`` makes a norm over each head's K features of q and k, before the rotation (Henry et al. 2020).
    """

    dim: int
    heads: int
    head_dim: int
    kv_heads: int
    bias: bool = False
    output_bias: bool = False
    norm: Callable[[int], nn.Module] | None = None
    memory_dim: int | None = None

    def layers(self) -> dict[str, nn.Module]:
        source = self.memory_dim or self.dim
        made: dict[str, nn.Module] = {
            "q": Linear(self.dim, self.heads * self.head_dim, bias=self.bias),
            "k": Linear(source, self.kv_heads * self.head_dim, bias=self.bias),
            "v": Linear(source, self.kv_heads * self.head_dim, bias=self.bias),
            "o": Linear(self.heads * self.head_dim, self.dim, bias=self.output_bias),
        }
        if self.norm is not None:
            made["q_norm"], made["k_norm"] = self.norm(self.head_dim), self.norm(self.head_dim)
        return made

    def q(self, own: Any, x: Tensor, rotate: Rotate) -> Tensor:
        q = own.q(x).unflatten(-1, (self.heads, self.head_dim))  # (B, T, H, K)
        q = q if self.norm is None else own.q_norm(q)
        return rotate(q.transpose(1, 2))

    def state(self, own: Any, source: Tensor, rotate: Rotate) -> tuple[Tensor, ...]:
        return self.keys(own, source, rotate), self.values(own, source)

    def keys(self, own: Any, source: Tensor, rotate: Rotate) -> Tensor:
        k = own.k(source).unflatten(-1, (self.kv_heads, self.head_dim))  # (B, S, G, K)
        k = k if self.norm is None else own.k_norm(k)
        return rotate(k.transpose(1, 2))

    def values(self, own: Any, source: Tensor) -> Tensor:
        return own.v(source).unflatten(-1, (self.kv_heads, self.head_dim)).transpose(1, 2)

    def expand(self, own: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        return state[0], state[1]


@dataclass(frozen=True, kw_only=True)
class KeysUnbiased(Grouped):
    """Biases, but for the keys, where one adds the same to all scores of a query and the softmax takes it out again
    (Radford et al. 2022's code)."""

    def layers(self) -> dict[str, nn.Module]:
        return super().layers() | {"k": Linear(self.memory_dim or self.dim, self.kv_heads * self.head_dim, bias=False)}


@dataclass(frozen=True, kw_only=True)
class PlacesApart(Grouped):
    """Beside the layers of tokens those that project embeddings of positions alone; ``places``: in the stead of which
    ("q", "k") there are such (DeBERTa)."""

    places: tuple[str, ...]

    def layers(self) -> dict[str, nn.Module]:
        apart = {f"{name}_places": Linear(self.dim, self.heads * self.head_dim, bias=self.bias) for name in self.places}
        return super().layers() | apart


@dataclass(frozen=True, kw_only=True)
class TurnedFirst(Grouped):
    """As many keys as queries, whose sources are turned by their positions before they are projected, in pieces of K
    features; values are not (wav2vec2-conformer)."""

    def q(self, own: Any, x: Tensor, rotate: Rotate) -> Tensor:
        return own.q(self._turned(x, rotate)).unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)

    def state(self, own: Any, source: Tensor, rotate: Rotate) -> tuple[Tensor, ...]:
        k = own.k(self._turned(source, rotate)).unflatten(-1, (self.kv_heads, self.head_dim))
        v = own.v(source).unflatten(-1, (self.kv_heads, self.head_dim))
        return k.transpose(1, 2), v.transpose(1, 2)

    def _turned(self, x: Tensor, rotate: Rotate) -> Tensor:
        return rotate(x.unflatten(-1, (self.heads, -1)).transpose(1, 2)).transpose(1, 2).flatten(2)


@dataclass(frozen=True, kw_only=True)
class NormedTogether(Grouped):
    """Grouped heads whose ``norm`` runs over the features of all heads at once (OLMo 2, 2025)."""

    def layers(self) -> dict[str, nn.Module]:
        assert self.norm is not None
        made = super().layers()
        sizes = {"q_norm": self.heads * self.head_dim, "k_norm": self.kv_heads * self.head_dim}
        return made | {name: self.norm(size) for name, size in sizes.items()}

    def q(self, own: Any, x: Tensor, rotate: Rotate) -> Tensor:
        return rotate(own.q_norm(own.q(x)).unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2))

    def state(self, own: Any, source: Tensor, rotate: Rotate) -> tuple[Tensor, ...]:
        k = own.k_norm(own.k(source)).unflatten(-1, (self.kv_heads, self.head_dim))
        v = own.v(source).unflatten(-1, (self.kv_heads, self.head_dim))
        return rotate(k.transpose(1, 2)), v.transpose(1, 2)


@dataclass(frozen=True, kw_only=True)
class Latent:
    """Keys and values of all heads out of one narrow vector a token (DeepSeek-V2, 2024, section 2.1).

    A head's q and k are ``plain`` features, and ``turned`` ones that carry the position; the turned ones of k are
    shared by all heads. A cache keeps the narrow vector (``kv_rank``) and the turned key, and nothing else.
    ``q_rank``: queries pass through a narrow vector too; None: they do not.
    """

    dim: int
    heads: int
    plain: int
    turned: int
    value_dim: int
    kv_rank: int
    norm: Callable[[int], nn.Module]
    q_rank: int | None = None
    bias: bool = False

    @property
    def head_dim(self) -> int:
        return self.plain + self.turned

    def layers(self) -> dict[str, nn.Module]:
        made: dict[str, nn.Module] = {
            "kv_down": Linear(self.dim, self.kv_rank + self.turned, bias=self.bias),
            "kv_norm": self.norm(self.kv_rank),
            "kv_up": Linear(self.kv_rank, self.heads * (self.plain + self.value_dim), bias=False),
            "o": Linear(self.heads * self.value_dim, self.dim, bias=self.bias),
        }
        if self.q_rank is None:
            return made | {"q": Linear(self.dim, self.heads * self.head_dim, bias=False)}
        return made | {
            "q_down": Linear(self.dim, self.q_rank, bias=self.bias),
            "q_norm": self.norm(self.q_rank),
            "q_up": Linear(self.q_rank, self.heads * self.head_dim, bias=False),
        }

    def q(self, own: Any, x: Tensor, rotate: Rotate) -> Tensor:
        q = own.q(x) if self.q_rank is None else own.q_up(own.q_norm(own.q_down(x)))
        plain, turned = q.unflatten(-1, (self.heads, -1)).transpose(1, 2).split((self.plain, self.turned), -1)
        return torch.cat((plain, rotate(turned)), -1)

    def state(self, own: Any, source: Tensor, rotate: Rotate) -> tuple[Tensor, ...]:
        narrow, turned = own.kv_down(source).unsqueeze(1).split((self.kv_rank, self.turned), -1)
        return own.kv_norm(narrow), rotate(turned)  # (B, 1, S, rank), (B, 1, S, turned)

    def expand(self, own: Any, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        narrow, turned = state
        both = own.kv_up(narrow.squeeze(1)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        plain, v = both.split((self.plain, self.value_dim), -1)
        return torch.cat((plain, turned.expand(-1, self.heads, -1, -1)), -1), v
