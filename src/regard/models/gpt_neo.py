"""GPT-Neo (Black et al. 2021): GPT-2 with a window in every other layer, and scores that are not scaled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from regard import embed, layers
from regard.config import Problem, at_least
from regard.errors import BadFileError
from regard.models import decoder
from regard.weights import foreign
from regard.weights.table import Drop, Table, Tie, rows, with_endings


@dataclass(frozen=True, kw_only=True)
class Config(decoder.Gpt):
    """Sizes default to the 125M model. Layers named in ``local`` see only the last ``window`` tokens."""

    window: int = 256
    local: tuple[int, ...] = (1, 3, 5, 7, 9, 11)
    tied: bool = True

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from at_least(self, 1, "window")
        if any(not 0 <= layer < self.depth for layer in self.local):
            yield "local", "models.local", {"last": self.depth - 1}


def build(config: Config) -> Any:
    near = layers.Mask(window=config.window)

    def norm() -> Any:
        return layers.LayerNorm(config.dim, eps=config.eps)

    def block(number: int) -> Any:
        mask = near if number in config.local else None
        projection = decoder.every(config, output_bias=True)
        attention = layers.Attention(projection, mask=mask, scale=1.0, dropout=config.dropout)
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        return decoder.pre_norm(config, norm, attention, feed_forward)

    positions = embed.Learned(config.context, config.dim)
    tokens = embed.Tokens(config.vocab, config.dim, positions=positions, dropout=config.dropout)
    return decoder.model(config, tokens, [block(number) for number in range(config.depth)], norm())


initialise = decoder.initialise

TABLE = Table(
    prefix="transformer.",
    instead=decoder.alone,
    rows=(
        *rows("""
            transformer.wte.weight                            embed.tokens.weight
            transformer.wpe.weight                            embed.positions.weight
            transformer.h.*.attn.attention.q_proj.weight      stack.blocks.*.attention.q.weight
            transformer.h.*.attn.attention.k_proj.weight      stack.blocks.*.attention.k.weight
            transformer.h.*.attn.attention.v_proj.weight      stack.blocks.*.attention.v.weight
            lm_head.weight                                    head.weight
            score.weight                                      head.out.weight
        """),
        *with_endings("""
            transformer.h.*.ln_1                              stack.blocks.*.attention_before
            transformer.h.*.attn.attention.out_proj           stack.blocks.*.attention.o
            transformer.h.*.ln_2                              stack.blocks.*.feed_forward_before
            transformer.h.*.mlp.c_fc                          stack.blocks.*.feed_forward.up
            transformer.h.*.mlp.c_proj                        stack.blocks.*.feed_forward.down
            transformer.ln_f                                  stack.norm
            classifier                                        head.tag
            qa_outputs                                        head.span
        """, ".weight", ".bias"),
        Tie("lm_head.weight", "transformer.wte.weight"),
        Drop("transformer.h.*.attn.attention.bias"),
        Drop("transformer.h.*.attn.attention.masked_bias"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "hidden_size": "dim", "num_layers": "depth",
        "num_heads": "heads", "intermediate_size": "hidden", "layer_norm_epsilon": "eps", "resid_dropout": "dropout",
        "tie_word_embeddings": "tied", "window_size": "window",
    },
    harmless=frozenset({
        "attention_dropout", "embed_dropout", "classifier_dropout", "attention_layers", "summary_type",
        "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout",
    }),
    default={
        "intermediate_size": None, "layer_norm_epsilon": 1e-5, "resid_dropout": 0.0, "tie_word_embeddings": True,
        "window_size": 256,
    },
)  # fmt: skip
HEADS = decoder.names("GPTNeo", "tag", "span")
_ACTIVATION = ("activation_function", "gelu_new")
_KINDS = ("global", "local")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = decoder.values(data, where, FIELDS, HEADS, _ACTIVATION, "attention_types")
    decoder.fill_hidden(values)
    whole = foreign.config(Config, values | {"local": ()}, where, FIELDS)
    local = _local(data.get("attention_types", [[["global", "local"], 12]]), whole.depth, where)
    return foreign.config(Config, values | {"local": local}, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    kinds = [_KINDS[number in config.local] for number in range(config.depth)]
    periods = (n for n in range(1, config.depth + 1) if kinds == kinds[:n] * (config.depth // n))
    period = next(periods)
    made = decoder.written(config, FIELDS, HEADS, _ACTIVATION)
    return made | {
        "model_type": "gpt_neo",
        "attention_types": [[kinds[:period], config.depth // period]],
        "attention_layers": kinds,
        "attention_dropout": config.dropout,
        "embed_dropout": config.dropout,
    }


def _local(types: Any, depth: int, where: str) -> tuple[int, ...]:
    """The layers with a window out of ``[[["global", "local"], 12]]``."""
    kinds: list[str] = []
    for item in types if isinstance(types, list) else [None]:
        pattern, times = item if isinstance(item, list) and len(item) == 2 else ([None], 0)
        known = isinstance(pattern, list) and all(kind in _KINDS for kind in pattern)
        if not known or type(times) is not int or not 0 < times <= depth:
            raise BadFileError("weights.setting", where=where, key="attention_types", value=types, accepted=_KINDS)
        kinds += [str(kind) for kind in pattern] * times
    if len(kinds) != depth:
        accepted = (depth, *_KINDS)
        raise BadFileError("weights.setting", where=where, key="attention_types", value=types, accepted=accepted)
    return tuple(number for number, kind in enumerate(kinds) if kind == "local")
