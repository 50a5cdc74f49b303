"""MAE (He et al. 2021): ViT that sees few patches of an image, and a small decoder that restores the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from regard import embed, heads, layers
from regard.config import Problem, between
from regard.models import shared, vision
from regard.weights import foreign
from regard.weights.layouts import Under
from regard.weights.table import Table, row, rows, with_endings

READS = vision.READS


@dataclass(frozen=True, kw_only=True)
class Config(vision.Vision):
    """share: of the patches that is hidden in training. normed: what is restored is each pixel's deviation from its
    patch. decoder_*: the sizes of the decoder."""

    share: float = 0.75
    normed: bool = False
    decoder_dim: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 16
    decoder_hidden: int = 2048

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from shared.check_sizes(self, "decoder_dim", "decoder_hidden")
        yield from between(self, 1, shared.DEEPEST, "decoder_depth")
        yield from between(self, 1, shared.MOST_HEADS, "decoder_heads")
        yield from between(self, 0.0, 0.99, "share")
        if self.decoder_heads > 0 and self.decoder_dim % self.decoder_heads:
            yield "decoder_heads", "models.heads", {"dim": self.decoder_dim}


def build(config: Config) -> Any:
    blocks = [vision.block(config) for _ in range(config.depth)]
    head = {
        "pool": lambda: heads.Pool(config.dim, "first"),
        "classify": lambda: heads.Classify(heads.Pool(config.dim, "first"), config.dim, len(config.labels)),
        "restore": lambda: _decoder(config),
    }[config.head]()
    positions = embed.GridPositions(config.grid, config.dim, learned=False)
    patches = embed.VisiblePatches(config.channels, config.dim, config.patch, positions=positions)
    return vision.model(config, patches, blocks, head, norm=vision.norm(config))


def _decoder(config: Config) -> Any:
    import torch

    own = replace(
        config,
        dim=config.decoder_dim,
        depth=config.decoder_depth,
        heads=config.decoder_heads,
        hidden=config.decoder_hidden,
    )
    stack = layers.Stack([vision.block(own) for _ in range(own.depth)], norm=vision.norm(own))
    positions = embed.GridPositions(config.grid, own.dim, learned=False)
    return heads.Restore(torch.nn.Linear(config.dim, own.dim), positions, stack, config.channels, config.patch)


def initialise(model: Any, key: Any) -> Any:
    """Sines for the positions, uniform matrices after Glorot and Bengio (He et al. 2021, appendix A.1)."""
    from regard.embed.patches import sines
    from regard.layers.initial import initialise, xavier

    model = initialise(model, key, xavier(0.02))
    for positions in (model.embed.positions, getattr(model.head, "positions", None)):
        if positions is not None:
            positions.weight.data.copy_(sines(positions.grid, positions.weight.shape[1]))
    return model


TABLE = Table(
    prefix="vit.",
    rows=(
        *vision.body("vit."),
        *vision.stack("decoder.decoder_layers.*", "head.stack."),
        *rows("decoder.mask_token                head.mask", Under(2)),
        *rows("decoder.decoder_pos_embed         head.positions.weight", row),
        *with_endings("""
            decoder.decoder_embed                head.embed
            decoder.decoder_norm                 head.stack.norm
            decoder.decoder_pred                 head.pixels
            classifier                           head.out
        """, ".weight", ".bias"),
    ),
    begin={"decoder.decoder_encoder.layer.": "decoder.decoder_layers."},  # a slip of some versions of their library
)  # fmt: skip

FIELDS = vision.fields(
    same={
        "mask_ratio": "share", "norm_pix_loss": "normed", "decoder_hidden_size": "decoder_dim",
        "decoder_num_hidden_layers": "decoder_depth", "decoder_num_attention_heads": "decoder_heads",
        "decoder_intermediate_size": "decoder_hidden",
    },
    default={
        "mask_ratio": 0.75, "norm_pix_loss": False, "decoder_hidden_size": 512, "decoder_num_hidden_layers": 8,
        "decoder_num_attention_heads": 16, "decoder_intermediate_size": 2048,
    },
)  # fmt: skip
HEADS = {"ViTMAEModel": "pool", "ViTMAEForPreTraining": "restore"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    return foreign.config(Config, vision.values(data, where, FIELDS, HEADS), where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return vision.written(config, FIELDS, HEADS, "vit_mae")
