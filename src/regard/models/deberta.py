"""DeBERTa, versions 2 and 3 (He et al. 2020, 2021): BERT that keeps what a token is apart from where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from regard import embed, layers
from regard.config import between
from regard.models import encoder, shared
from regard.weights import foreign
from regard.weights.table import Drop, Row, rows

KINDS = ("c2p", "p2c")


@dataclass(frozen=True, kw_only=True)
class Config(encoder.Encoder):
    """Sizes default to the base model of version 3. types: kinds of token, perhaps none. absolute: positions are also
    added to the input. relative: attention knows distances. kinds: what meets in the scores, "c2p", content and
    position, and "p2c", position and content; each makes the scale of all smaller. shared: distances are projected as
    tokens are. furthest: distances beyond it are one. buckets: how many of them are told apart on either side, None for
    all. normed: the embeddings of distances are. kernel, groups, convolved_activation: of a convolution beside the
    first layer (version 2's large models), 0 for none. legacy: the vocabulary's head is named as in the reference's
    first version, whose names the published weights do not have.
    """

    vocab: int = 128_100
    eps: float = 1e-7
    types: int = 0
    absolute: bool = False
    relative: bool = True
    kinds: tuple[str, ...] = ("p2c", "c2p")
    shared: bool = True
    furthest: int = 512
    buckets: int | None = 256
    normed: bool = True
    kernel: int = 0
    groups: int = 1
    convolved_activation: str = "tanh"
    legacy: bool = True
    head: encoder.Head = "pool"

    def check(self) -> Any:
        yield from super().check()
        yield from between(self, 0, shared.LARGEST, "types")
        yield from between(self, 0, shared.LARGEST, "kernel")
        yield from between(self, 1, self.dim, "groups")
        if self.kernel and self.kernel % 2 == 0:
            yield "kernel", "models.odd_kernel", {}
        if self.groups > 0 and self.dim % self.groups:
            yield "groups", "models.feature_groups", {"dim": self.dim}
        if self.normed and not self.relative:
            yield "normed", "models.normed_distances", {}
        if not set(self.kinds) <= set(KINDS) or len(set(self.kinds)) < max(len(self.kinds), self.relative):
            yield "kinds", "models.score_kinds", {"known": ", ".join(KINDS)}
        yield from between(self, 4, shared.LARGEST, "furthest", "buckets")
        if self.buckets is not None and self.furthest < self.buckets:
            yield "buckets", "models.buckets", {"furthest": self.furthest}


def build(config: Config) -> Any:
    def norm() -> Any:
        return layers.LayerNorm(config.dim, eps=config.eps)

    position = _position(config, norm) if config.relative else None
    scale = ((1 + len(config.kinds)) * config.dim / config.heads) ** -0.5
    tokens = embed.Tokens(
        config.vocab,
        config.dim,
        positions=embed.Learned(config.context, config.dim) if config.absolute else None,
        types=config.types,
        norm=norm(),
        dropout=config.dropout,
    )

    def block(number: int) -> Any:
        rate = encoder.attention_rate(config)
        attention = layers.Attention(_projection(config), position=position, scale=scale, dropout=rate)
        made = encoder.sublayers(config, attention)
        if number or not config.kernel:
            return layers.Block(**made)
        beside = layers.Neighbours(
            config.dim,
            config.kernel,
            groups=config.groups,
            activation=config.convolved_activation,
            dropout=config.dropout,
        )
        return layers.Beside(beside, norm=norm(), **made)

    stack = layers.Stack([block(number) for number in range(config.depth)])
    head = encoder.head(config, tokens, transform=config.activation, pooler="gelu", pooled=None)
    return shared.transformer(config, tokens, stack, head, causal=False)


def _position(config: Config, norm: Any) -> Any:
    return layers.Disentangled(
        config.dim,
        config.buckets or config.furthest,
        furthest=config.furthest if config.buckets else None,
        norm=norm() if config.normed else None,
        kinds=config.kinds,
    )


def _projection(config: Config) -> Any:
    if config.shared or not config.relative:
        return encoder.projection(config)
    names = {"c2p": "k", "p2c": "q"}
    places = tuple(names[kind] for kind in config.kinds)
    return layers.PlacesApart(**vars(encoder.projection(config)), places=places)


initialise = encoder.initialise

def _vocabulary(transform: str, bias: str, *, legacy: bool) -> list[Row]:
    """The rows of the vocabulary's head by its older or its newer names."""
    made = encoder.ends(f"{transform}dense head.transform.linear\n{transform}LayerNorm head.transform.norm")
    made = (*made, *rows(f"{bias}bias head.bias"))
    return [replace(row, when=lambda config: config.legacy == legacy) for row in made]


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
        deberta.encoder.layer.*.attention.self.pos_query_proj     stack.blocks.*.attention.q_places
        deberta.encoder.layer.*.attention.self.pos_key_proj       stack.blocks.*.attention.k_places
        deberta.encoder.layer.*.attention.output.dense            stack.blocks.*.attention.o
        deberta.encoder.layer.*.attention.output.LayerNorm        stack.blocks.*.attention_then
        deberta.encoder.layer.*.intermediate.dense                stack.blocks.*.feed_forward.up
        deberta.encoder.layer.*.output.dense                      stack.blocks.*.feed_forward.down
        deberta.encoder.layer.*.output.LayerNorm                  stack.blocks.*.feed_forward_then
        deberta.encoder.conv.conv                                 stack.blocks.0.beside.conv
        deberta.encoder.conv.LayerNorm                            stack.blocks.0.both
        pooler.dense                                              head.pool.dense
        pooler.dense                                              head.pooler.dense
        classifier                                                head.out
        classifier                                                head.tag
        classifier                                                head.choice
        qa_outputs                                                head.span
    """),
    *_vocabulary("cls.predictions.transform.", "cls.predictions.", legacy=True),
    *_vocabulary("lm_predictions.lm_head.", "lm_predictions.lm_head.", legacy=False),
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
        "position_buckets": "buckets", "relative_attention": "relative", "share_att_key": "shared",
        "conv_kernel_size": "kernel", "conv_groups": "groups", "legacy": "legacy",
    },
    only={"pooler_hidden_act": ("gelu",), "z_steps": (0,)},
    harmless=frozenset({"pooler_dropout", "cls_dropout"}),
    default={
        "type_vocab_size": 0, "position_biased_input": True, "max_relative_positions": -1, "position_buckets": -1,
        "layer_norm_eps": 1e-7, "relative_attention": False, "share_att_key": False, "conv_kernel_size": 0,
        "conv_groups": 1, "legacy": True,
    },
)  # fmt: skip
HEADS = encoder.names("DebertaV2")
_OWN = frozenset({
    "pos_att_type", "norm_rel_ebd", "conv_act", "embedding_size", "attention_head_size", "pooler_hidden_size",
})  # fmt: skip


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = encoder.values(data, where, FIELDS, HEADS, own=_OWN)
    said = data.get("pos_att_type") or []
    kinds = tuple(kind.strip() for kind in said.lower().split("|")) if isinstance(said, str) else tuple(said)
    if not set(kinds) <= set(KINDS) or len(set(kinds)) < max(len(kinds), bool(values["relative"])):
        shared.refuse("pos_att_type", said, ("p2c|c2p", "p2c", "c2p"), where)
    normed = data.get("norm_rel_ebd", "none")
    known = ("none", "layer_norm") if values["relative"] else ("none",)
    if normed not in known:
        shared.refuse("norm_rel_ebd", normed, known, where)
    widths = {"embedding_size": 1, "pooler_hidden_size": 1, "attention_head_size": values["heads"]}
    for key, share in widths.items():
        if key in data and data[key] * share != values["dim"]:
            shared.refuse(key, data[key], (values["dim"],), where)
    for key, unset in (("furthest", values["context"]), ("buckets", None)):
        values[key] = unset if values[key] < 1 else values[key]
    values |= {
        "normed": normed == "layer_norm",
        "kinds": list(kinds),
        "convolved_activation": foreign.activation(data.get("conv_act", "tanh"), where),
    }
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return encoder.written(config, FIELDS, HEADS, "deberta-v2") | {
        "position_buckets": config.buckets or -1,
        "max_relative_positions": -1 if config.furthest == config.context else config.furthest,
        "pos_att_type": list(config.kinds),
        "conv_act": foreign.foreign_activation(config.convolved_activation),
        "norm_rel_ebd": "layer_norm" if config.normed else "none",
        "pooler_hidden_size": config.dim,
    }
