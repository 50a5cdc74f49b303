"""Longformer (Beltagy et al. 2020): RoBERTa on long texts: a token sees its neighbourhood, a few see all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import layers
from regard.config import between
from regard.errors import RegardError
from regard.models import encoder, shared
from regard.weights import foreign
from regard.weights.table import rows


@dataclass(frozen=True, kw_only=True)
class Config(encoder.Encoder):
    """window: how many tokens around each one each layer sees, half of them on either side. types: kinds of token.
    pad: the id of the padding; position 0 has the row after it."""

    vocab: int = 50_265
    context: int = 4096
    eps: float = 1e-5
    types: int = 1
    pad: int = 1
    window: tuple[int, ...] = (512,) * 12

    def check(self) -> Any:
        yield from super().check()
        yield from shared.check_sizes(self, "types")
        yield from between(self, 0, self.vocab - 1, "pad")
        yield from check_window(self)


def check_window(config: Any) -> Any:
    if len(config.window) != config.depth or any(size < 2 or size % 2 for size in config.window):
        yield "window", "models.windows", {"depth": config.depth}


def build(config: Config) -> Any:
    marks = _MARKS.get(config.head)

    def attention(window: int) -> Any:
        projection, rate = encoder.projection(config), encoder.attention_rate(config)
        return layers.WindowAttention(projection, reach=window // 2, marks=marks, dropout=rate)

    tokens = encoder.tokens(config, types=config.types, offset=config.pad + 1)
    stack = layers.Stack([encoder.block(config, attention(window)) for window in config.window])
    head = encoder.head(config, tokens, transform="gelu", pooler="tanh", pooled="tanh")
    return shared.transformer(config, tokens, stack, head, causal=False)


def _first(positions: Any) -> Any:
    """A decision on the whole text is read off its first token."""
    return positions == 0


def _asked(positions: Any) -> Any:
    """Which tokens are the question, only the caller knows."""
    raise RegardError("core.no_everywhere")


_MARKS = {"classify": _first, "score": _first, "span": _asked, "choice": _asked}

initialise = encoder.initialise

TABLE = encoder.table(
    "longformer.",
    *encoder.body("longformer."),
    *encoder.ends("""
        longformer.encoder.layer.*.attention.self.query_global   stack.blocks.*.attention.whole.q
        longformer.encoder.layer.*.attention.self.key_global     stack.blocks.*.attention.whole.k
        longformer.encoder.layer.*.attention.self.value_global   stack.blocks.*.attention.whole.v
        longformer.pooler.dense                                  head.dense
        longformer.pooler.dense                                  head.pooler.dense
        lm_head.dense                                            head.transform.linear
        lm_head.layer_norm                                       head.transform.norm
        classifier.dense                                         head.pool.dense
        classifier.out_proj                                      head.out
        classifier                                               head.tag
        classifier                                               head.choice
        qa_outputs                                               head.span
    """),
    *rows("lm_head.bias                                          head.bias"),
    *encoder.tied("longformer.", "lm_head.decoder.weight", "lm_head.decoder.bias", "lm_head.bias"),
    *encoder.unused("longformer.pooler.dense"),
)

FIELDS = encoder.fields(
    same={"type_vocab_size": "types", "pad_token_id": "pad"},
    harmless=frozenset({"ignore_attention_mask", "attention_mode", "onnx_export"}),
    default={"type_vocab_size": 2, "pad_token_id": 1},
)
HEADS = encoder.names("Longformer")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = encoder.values(data, where, FIELDS, HEADS, own=frozenset({"attention_window"}))
    values |= encoder.counted(values, values["pad"], where) | {"window": windows(data, values["depth"])}
    return foreign.config(Config, values, where, FIELDS)


def windows(data: Mapping[str, Any], depth: Any) -> Any:
    """One for each layer, or one for all."""
    given = data.get("attention_window", 512)
    return [given] * depth if type(given) is int and type(depth) is int and 0 < depth <= shared.DEEPEST else given


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    made = encoder.written(config, FIELDS, HEADS, "longformer")
    rows = config.context + config.pad + 1
    return made | {"max_position_embeddings": rows, "attention_window": list(config.window)}
