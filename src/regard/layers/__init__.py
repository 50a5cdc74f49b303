"""The parts of every Transformer. Reading order: attention, projection, position, mask, cache, feed_forward, norm,
residual, context.

Names resolve on first use, so that a family's config can be read without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard.layers.added import AddedAttention, AddedCrossAttention
    from regard.layers.attention import Attention, CrossAttention
    from regard.layers.blocks import BlockSparseAttention
    from regard.layers.cache import Cache, Growing, Preallocated, Ring
    from regard.layers.chunks import ChunkAttention, Cut, HashedAttention, SharedQK
    from regard.layers.context import Context, Places, Voice
    from regard.layers.convolution import ConvolutionalPositions, Convolved, Neighbours
    from regard.layers.disentangled import Disentangled
    from regard.layers.everywhere import WindowAttention
    from regard.layers.experts import Experts, GatedExperts, GroupRouter, Router
    from regard.layers.feed_forward import FeedForward, Gated
    from regard.layers.grid import GridBias, PlacedStack, Shared
    from regard.layers.landmarks import LandmarkAttention
    from regard.layers.mask import Mask
    from regard.layers.norm import BatchNorm, ChannelNorm, ChannelScale, LayerNorm, RMSNorm, TimeNorm
    from regard.layers.position import (
        Alibi,
        Buckets,
        DynamicRotary,
        LongRotary,
        Position,
        Rotary,
        ShawRelative,
        TransformerXLRelative,
    )
    from regard.layers.projection import Grouped, KeysUnbiased, Latent, NormedTogether, PlacesApart, TurnedFirst
    from regard.layers.random_features import RandomFeatureAttention
    from regard.layers.reduced import MixedFeedForward, ReducedAttention
    from regard.layers.residual import (
        Beside,
        Block,
        MixedNormedStack,
        MixedStack,
        NormedStack,
        Parallel,
        Residual,
        Stack,
        Viewing,
    )
    from regard.layers.reversible import Reversible
    from regard.layers.span import SpanAttention
    from regard.ops.attention import eager, fused, soft_capped
    from regard.ops.random import Key

__all__ = [
    "Attention",
    "CrossAttention",
    "BlockSparseAttention",
    "Reversible",
    "SharedQK",
    "HashedAttention",
    "Cut",
    "ChunkAttention",
    "Cache",
    "Growing",
    "Preallocated",
    "Ring",
    "Context",
    "Places",
    "Voice",
    "Experts",
    "GatedExperts",
    "GroupRouter",
    "Router",
    "Disentangled",
    "WindowAttention",
    "FeedForward",
    "Gated",
    "LandmarkAttention",
    "Mask",
    "LayerNorm",
    "RMSNorm",
    "ChannelScale",
    "GridBias",
    "AddedAttention",
    "AddedCrossAttention",
    "MixedFeedForward",
    "ReducedAttention",
    "PlacedStack",
    "Shared",
    "Alibi",
    "Buckets",
    "DynamicRotary",
    "LongRotary",
    "Position",
    "Rotary",
    "ShawRelative",
    "TransformerXLRelative",
    "Grouped",
    "KeysUnbiased",
    "Latent",
    "NormedTogether",
    "PlacesApart",
    "TurnedFirst",
    "RandomFeatureAttention",
    "Block",
    "Beside",
    "Parallel",
    "Viewing",
    "Residual",
    "Stack",
    "MixedNormedStack",
    "MixedStack",
    "NormedStack",
    "BatchNorm",
    "ChannelNorm",
    "TimeNorm",
    "Convolved",
    "Neighbours",
    "ConvolutionalPositions",
    "SpanAttention",
    "eager",
    "fused",
    "soft_capped",
    "Key",
]

_WHERE = {
    "Attention": "layers.attention",
    "CrossAttention": "layers.attention",
    "BlockSparseAttention": "layers.blocks",
    "Reversible": "layers.reversible",
    "SharedQK": "layers.chunks",
    "HashedAttention": "layers.chunks",
    "Cut": "layers.chunks",
    "ChunkAttention": "layers.chunks",
    "Cache": "layers.cache",
    "Growing": "layers.cache",
    "Preallocated": "layers.cache",
    "Ring": "layers.cache",
    "Context": "layers.context",
    "Places": "layers.context",
    "Voice": "layers.context",
    "Experts": "layers.experts",
    "GatedExperts": "layers.experts",
    "GroupRouter": "layers.experts",
    "Router": "layers.experts",
    "Disentangled": "layers.disentangled",
    "WindowAttention": "layers.everywhere",
    "FeedForward": "layers.feed_forward",
    "Gated": "layers.feed_forward",
    "LandmarkAttention": "layers.landmarks",
    "Mask": "layers.mask",
    "LayerNorm": "layers.norm",
    "RMSNorm": "layers.norm",
    "ChannelScale": "layers.norm",
    "GridBias": "layers.grid",
    "AddedAttention": "layers.added",
    "AddedCrossAttention": "layers.added",
    "MixedFeedForward": "layers.reduced",
    "ReducedAttention": "layers.reduced",
    "PlacedStack": "layers.grid",
    "Shared": "layers.grid",
    "Alibi": "layers.position",
    "Buckets": "layers.position",
    "DynamicRotary": "layers.position",
    "LongRotary": "layers.position",
    "Position": "layers.position",
    "Rotary": "layers.position",
    "ShawRelative": "layers.position",
    "TransformerXLRelative": "layers.position",
    "Grouped": "layers.projection",
    "KeysUnbiased": "layers.projection",
    "Latent": "layers.projection",
    "NormedTogether": "layers.projection",
    "PlacesApart": "layers.projection",
    "TurnedFirst": "layers.projection",
    "RandomFeatureAttention": "layers.random_features",
    "Beside": "layers.residual",
    "Block": "layers.residual",
    "Parallel": "layers.residual",
    "Viewing": "layers.residual",
    "Residual": "layers.residual",
    "Stack": "layers.residual",
    "MixedNormedStack": "layers.residual",
    "MixedStack": "layers.residual",
    "NormedStack": "layers.residual",
    "BatchNorm": "layers.norm",
    "ChannelNorm": "layers.norm",
    "TimeNorm": "layers.norm",
    "Convolved": "layers.convolution",
    "Neighbours": "layers.convolution",
    "ConvolutionalPositions": "layers.convolution",
    "SpanAttention": "layers.span",
    "eager": "ops.attention",
    "fused": "ops.attention",
    "soft_capped": "ops.attention",
    "Key": "ops.random",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"regard.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_WHERE)
