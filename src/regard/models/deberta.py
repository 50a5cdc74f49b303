"""DeBERTa, versions 2 and 3 (He et al. 2020, 2021): BERT that keeps what a token is apart from where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.config import between
from regard.models import encoder, shared
from regard.weights import foreign
from regard.weights.table import Drop, rows


@dataclass(frozen=True, kw_only=True)
class Config(encoder.Encoder):
    """Sizes default to the base model of version 3. types: kinds of token, perhaps none. absolute: positions are also
    added to the input. furthest: distances beyond it are one. buckets: how many of them are told apart on either side,
    None for all. normed: the embeddings of distances are.
    """

    vocab: int = 128_100
    eps: float = 1e-7
    types: int = 0
    absolute: bool = False
    furthest: int = 512
    buckets: int | None = 256
    normed: bool = True
    head: encoder.Head = "pool"

    def check(self) -> Any:
        yield from super().check()
        yield from between(self, 0, shared.LARGEST, "types")
        yield from between(self, 4, shared.LARGEST, "furthest", "buckets")
        if self.buckets is not None and self.furthest < self.buckets:
            yield "buckets", "models.buckets", {"furthest": self.furthest}


def build(config: Config) -> Any:
    def norm() -> Any:
        return layers.LayerNorm(config.dim, eps=config.eps)

    position = layers.Disentangled(
        config.dim,
        config.buckets or config.furthest,
        furthest=config.furthest if config.buckets else None,
        norm=norm() if config.normed else None,
    )
    three = (3 * config.dim / config.heads) ** -0.5  # content, and both mixed terms
    tokens = embed.Tokens(
        config.vocab,
        config.dim,
        positions=embed.Learned(config.context, config.dim) if config.absolute else None,
        types=config.types,
        norm=norm(),
        dropout=config.dropout,
    )

    def block() -> Any:
        return encoder.block(config, encoder.attention(config, position=position, scale=three))

    stack = layers.Stack([block() for _ in range(config.depth)])
    head = encoder.head(config, tokens, transform=config.activation, pooler="gelu", pooled=None)
    return shared.transformer(config, tokens, stack, head, causal=False)


initialise = encoder.initialise

TABLE = encoder.table(
    "deberta.",
    *rows("""
        deberta.embeddings.word_embeddings.weight                 embed.tokens.weight
        deberta.embeddings.position_embeddings.weight             embed.positions.weight
        deberta.embeddings.token_type_embeddings.weight           embed.types.weight
        deberta.encoder.rel_embeddings.weight                     stack.blocks.0.attention.position.weight
    """),
    *encoder.ends("""
        deberta.embeddings.LayerNorm                              embed.norm
        deberta.encoder.LayerNorm                                 stack.blocks.0.attention.position.norm
        deberta.encoder.layer.*.attention.self.query_proj         stack.blocks.*.attention.q
        deberta.encoder.layer.*.attention.self.key_proj           stack.blocks.*.attention.k
        deberta.encoder.layer.*.attention.self.value_proj         stack.blocks.*.attention.v
        deberta.encoder.layer.*.attention.output.dense            stack.blocks.*.attention.o
        deberta.encoder.layer.*.attention.output.LayerNorm        stack.blocks.*.attention_then
        deberta.encoder.layer.*.intermediate.dense                stack.blocks.*.feed_forward.up
        deberta.encoder.layer.*.output.dense                      stack.blocks.*.feed_forward.down
        deberta.encoder.layer.*.output.LayerNorm                  stack.blocks.*.feed_forward_then
        pooler.dense                                              head.pool.dense
        pooler.dense                                              head.pooler.dense
        cls.predictions.transform.dense                           head.transform.linear
        cls.predictions.transform.LayerNorm                       head.transform.norm
        classifier                                                head.out
        classifier                                                head.tag
        classifier                                                head.choice
        qa_outputs                                                head.span
    """),
    *rows("cls.predictions.bias                                   head.bias"),
    *encoder.tied("deberta.", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "cls.predictions.bias"),
    Drop("deberta.embeddings.position_ids"),
    # What the published files hold for the tasks that they were trained on.
    *encoder.unused(
        "lm_predictions.lm_head.dense", "lm_predictions.lm_head.LayerNorm", "mask_predictions.dense",
        "mask_predictions.LayerNorm", "mask_predictions.classifier",
    ),
    Drop("lm_predictions.lm_head.bias"),
)  # fmt: skip

FIELDS = encoder.fields(
    same={
        "type_vocab_size": "types", "position_biased_input": "absolute", "max_relative_positions": "furthest",
        "position_buckets": "buckets",
    },
    only={
        "relative_attention": (True,), "share_att_key": (True,), "pooler_hidden_act": ("gelu",), "legacy": (True,),
        "conv_kernel_size": (0,), "z_steps": (0,),
    },
    harmless=frozenset({"pooler_dropout", "conv_act", "conv_groups", "cls_dropout"}),
    default={
        "type_vocab_size": 0, "position_biased_input": True, "max_relative_positions": -1, "position_buckets": -1,
        "layer_norm_eps": 1e-7,
    },
    stated=frozenset({"relative_attention", "share_att_key"}),
)  # fmt: skip
HEADS = encoder.names("DebertaV2")
_OWN = frozenset({
    "pos_att_type", "norm_rel_ebd", "embedding_size", "attention_head_size", "pooler_hidden_size",
})  # fmt: skip


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = encoder.values(data, where, FIELDS, HEADS, own=_OWN)
    kinds = data.get("pos_att_type")
    if sorted(kinds.split("|") if isinstance(kinds, str) else kinds or []) != ["c2p", "p2c"]:
        shared.refuse("pos_att_type", kinds, ("p2c|c2p",), where)
    normed = data.get("norm_rel_ebd", "none")
    if normed not in ("none", "layer_norm"):
        shared.refuse("norm_rel_ebd", normed, ("none", "layer_norm"), where)
    widths = {"embedding_size": 1, "pooler_hidden_size": 1, "attention_head_size": values["heads"]}
    for key, share in widths.items():
        if key in data and data[key] * share != values["dim"]:
            shared.refuse(key, data[key], (values["dim"],), where)
    for key, unset in (("furthest", values["context"]), ("buckets", None)):
        values[key] = unset if values[key] < 1 else values[key]
    return foreign.config(Config, values | {"normed": normed == "layer_norm"}, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return encoder.written(config, FIELDS, HEADS, "deberta-v2") | {
        "position_buckets": config.buckets or -1,
        "max_relative_positions": -1 if config.furthest == config.context else config.furthest,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm" if config.normed else "none",
        "pooler_hidden_size": config.dim,
    }
