"""What BART and its kin share: an encoder and a decoder on one vocabulary, and how fairseq's descendants name them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from regard import heads, layers
from regard.config import Problem, between, verify
from regard.models import shared
from regard.weights import foreign
from regard.weights.table import Drop, Row, Table, Tie, row, rows, with_endings


@dataclass(frozen=True, kw_only=True)
class Seq2Seq:
    """Sizes default to the large models. depth, heads and hidden are the encoder's, decoder_* the decoder's.

    dropout is that of every addition, attention_dropout that of attention's weights, hidden_dropout that within the
    feed-forward layers. start: the token that every target begins with. scaled: token vectors are multiplied by
    sqrt(dim). labels: classes of a whole text, read off the last token of a target that repeats its source, shifted
    by ``start``; a span is marked on such a target.
    """

    vocab: int = 50_265
    context: int = 1024
    dim: int = 1024
    depth: int = 12
    decoder_depth: int = 12
    heads: int = 16
    decoder_heads: int = 16
    hidden: int = 4096
    decoder_hidden: int = 4096
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    hidden_dropout: float = 0.0
    scaled: bool = False
    start: int = 2
    pad: int = 1
    head: Literal["language", "body", "classify", "score", "span"] = "language"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "context", "dim", "depth", "heads", "hidden", "decoder_hidden")
        yield from between(self, 1, shared.DEEPEST, "decoder_depth")
        yield from between(self, 1, shared.MOST_HEADS, "decoder_heads")
        yield from between(self, 0, self.vocab - 1, "start", "pad")
        yield from between(self, 0.0, 0.99, "dropout", "attention_dropout", "hidden_dropout")
        yield from shared.check_heads(self)
        if self.decoder_heads > 0 and self.dim % self.decoder_heads:
            yield "decoder_heads", "models.heads", {"dim": self.dim}
        yield from shared.check_head(self)
        yield from shared.check_activation(self)


def build(
    config: Any,
    tokens: Callable[[], Any],
    norm: Literal["before", "then"],
    *,
    attention: Callable[[int], Any] | None = None,
    bias: bool = True,
    source: Any = None,
    projection: Callable[[Any, int], Any] | None = None,
) -> Any:
    """The model on what ``tokens()`` embeds, the source first; ``norm`` before each sublayer, with one more at the end
    of both stacks, or after each addition. ``attention`` gives that of each layer of an encoder that has another than
    the decoder. ``bias``: the vocabulary has one. ``source`` embeds a source that is no text. ``projection`` makes that
    of so many heads."""
    from regard.models.transformer import EncoderDecoder

    def end() -> Any:
        return layers.LayerNorm(config.dim) if norm == "before" else None

    def sees_all(number: int) -> Any:
        return layers.Attention((projection or grouped)(config, config.heads), dropout=config.attention_dropout)

    made = attention or sees_all
    decoding = (projection or grouped)(config, config.decoder_heads)
    if source is None:
        source, target = tokens(), tokens()
        target.tokens = source.tokens  # one matrix for both, and for the vocabulary
    else:
        target = tokens()
    return EncoderDecoder(
        config,
        source_embed=source,
        encoder=layers.Stack([encoder_block(config, made(n), norm) for n in range(config.depth)], norm=end()),
        target_embed=target,
        stack=layers.Stack([decoder_block(config, decoding, norm) for _ in range(config.decoder_depth)], norm=end()),
        head=_head(config, target, bias),
    )


def grouped(config: Any, count: int) -> Any:
    head_dim = config.dim // count
    return layers.Grouped(
        dim=config.dim, heads=count, kv_heads=count, head_dim=head_dim, bias=True, output_bias=True
    )  # fmt: skip


def encoder_block(config: Any, attention: Any, norm: str) -> Any:
    feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation, dropout=config.hidden_dropout)
    return layers.Block(
        attention=_residual(config, attention, norm), feed_forward=_residual(config, feed_forward, norm)
    )  # fmt: skip


def decoder_block(config: Any, projection: Any, norm: str, *, cross: Any = None) -> Any:
    """``cross``: the projection of what looks at the memory, where it is another."""
    rate = config.attention_dropout
    feed_forward = layers.FeedForward(
        config.dim, config.decoder_hidden, config.activation, dropout=config.hidden_dropout
    )  # fmt: skip
    return layers.Block(
        attention=_residual(config, layers.Attention(projection, dropout=rate), norm),
        cross_attention=_residual(config, layers.CrossAttention(cross or projection, dropout=rate), norm),
        feed_forward=_residual(config, feed_forward, norm),
    )


def _residual(config: Any, sublayer: Any, norm: str) -> Any:
    made: dict[str, Any] = {norm: layers.LayerNorm(config.dim)}
    return layers.Residual(sublayer=sublayer, dropout=config.dropout, **made)


def _head(config: Any, embedded: Any, bias: bool) -> Any:
    if config.head in ("language", "body"):
        return heads.Language(embedded.tokens.weight, bias=bias and config.head == "language")
    if config.head == "span":
        return heads.Span(config.dim)
    pool = heads.Pool(config.dim, "last", dense=True)
    if config.head == "score":
        return heads.Score(pool, config.dim, dropout=config.dropout)
    return heads.Classify(pool, config.dim, len(config.labels), dropout=config.dropout)


def initialise(model: Any, key: Any) -> Any:
    """Normal 0.02 throughout (Lewis et al. 2019's code)."""
    from regard.layers.initial import initialise, normal

    return initialise(model, key, normal(0.02))


_SIDE = """
    model.{side}.layers.*.self_attn.q_proj              {stack}.blocks.*.attention.q
    model.{side}.layers.*.self_attn.k_proj              {stack}.blocks.*.attention.k
    model.{side}.layers.*.self_attn.v_proj              {stack}.blocks.*.attention.v
    model.{side}.layers.*.self_attn.out_proj            {stack}.blocks.*.attention.o
    model.{side}.layers.*.self_attn_layer_norm          {stack}.blocks.*.attention_{norm}
    model.{side}.layers.*.fc1                           {stack}.blocks.*.feed_forward.up
    model.{side}.layers.*.fc2                           {stack}.blocks.*.feed_forward.down
    model.{side}.layers.*.final_layer_norm              {stack}.blocks.*.feed_forward_{norm}
    model.{side}.layernorm_embedding                    {embed}.norm
    model.{side}.layer_norm                             {stack}.norm
"""
_CROSS = """
    model.decoder.layers.*.encoder_attn.q_proj          stack.blocks.*.cross_attention.q
    model.decoder.layers.*.encoder_attn.k_proj          stack.blocks.*.cross_attention.k
    model.decoder.layers.*.encoder_attn.v_proj          stack.blocks.*.cross_attention.v
    model.decoder.layers.*.encoder_attn.out_proj        stack.blocks.*.cross_attention.o
    model.decoder.layers.*.encoder_attn_layer_norm      stack.blocks.*.cross_attention_{norm}
    classification_head.dense                           head.pool.dense
    classification_head.out_proj                        head.out
    qa_outputs                                          head.span
"""


def table(norm: str, *others: Row | Tie | Drop, prefix: str = "model.") -> Table:
    """The rows that all of these have; what a model lacks of them (a final norm, a bias) is left out. ``others`` may
    take the place of some."""
    usual = (
        *rows("model.shared.weight                          source_embed.tokens.weight"),
        *rows("final_logits_bias                            head.bias", row),
        *stacks(norm),
        *LEARNED,
    )
    made = (replace(one, theirs=tuple(_under(prefix, name) for name in one.theirs)) for one in usual)
    shared = f"{prefix}shared.weight"
    ties = (f"{prefix}encoder.embed_tokens.weight", f"{prefix}decoder.embed_tokens.weight", "lm_head.weight")
    return Table(prefix=prefix, rows=(*others, *made, *(Tie(name, shared) for name in ties)))


def stacks(norm: str) -> tuple[Row, ...]:
    """The rows of both stacks."""
    sides = (("encoder", "encoder", "source_embed"), ("decoder", "stack", "target_embed"))
    both = (_SIDE.format(side=side, stack=stack, embed=embed, norm=norm) for side, stack, embed in sides)
    return (
        *(made for text in both for made in with_endings(text, ".weight", ".bias")),
        *with_endings(_CROSS.format(norm=norm), ".weight", ".bias"),
    )


def perceiving(norm: str, *others: Row | Tie | Drop, vocabulary: str) -> Table:
    """The rows of a model whose source is no text; ``others`` are those of what embeds it. ``vocabulary``: how its
    matrix is called where it is the embedding's again."""
    tokens = "model.decoder.embed_tokens.weight"
    usual = (*rows(f"{tokens} target_embed.tokens.weight"), *stacks(norm))
    return Table(prefix="model.", rows=(*others, *usual, Tie(vocabulary, tokens)))


def _under(prefix: str, name: str) -> str:
    return prefix + name.removeprefix("model.") if name.startswith("model.") else name


LEARNED = rows("""
    model.encoder.embed_positions.weight                source_embed.positions.weight
    model.decoder.embed_positions.weight                target_embed.positions.weight
""")
# Sinusoids that were stored: they are computed.
COMPUTED = tuple(
    Drop(f"model.{side}.embed_positions.{end}") for side in ("encoder", "decoder") for end in ("weight", "weights")
)

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "d_model": "dim", "encoder_layers": "depth",
        "decoder_layers": "decoder_depth", "encoder_attention_heads": "heads", "decoder_attention_heads":
        "decoder_heads", "encoder_ffn_dim": "hidden", "decoder_ffn_dim": "decoder_hidden", "dropout": "dropout",
        "attention_dropout": "attention_dropout", "activation_dropout": "hidden_dropout",
        "scale_embedding": "scaled", "decoder_start_token_id": "start", "pad_token_id": "pad",
    },
    only={"tie_word_embeddings": (True,), "is_encoder_decoder": (True,), "add_bias_logits": (False,)},
    harmless=frozenset({
        "encoder_layerdrop", "decoder_layerdrop", "classif_dropout",
        "classifier_dropout", "init_std", "force_bos_token_to_be_generated", "save_step", "output_past",
        "gradient_checkpointing",
    }),
    default={
        "dropout": 0.1, "attention_dropout": 0.0, "activation_dropout": 0.0, "scale_embedding": False,
        "pad_token_id": 1,
    },
)  # fmt: skip


def fields(
    only: Mapping[str, tuple[Any, ...]],
    default: Mapping[str, Any] | None = None,
    same: Mapping[str, str] | None = None,
) -> foreign.Fields:
    """The common settings, those that a family has at one value only, and those it calls otherwise."""
    called = same or {}
    kept = {theirs: ours for theirs, ours in FIELDS.same.items() if ours not in called.values() and theirs not in only}
    return replace(
        FIELDS,
        same={**kept, **called},
        only={**FIELDS.only, **only},
        default={**FIELDS.default, **(default or {})},
    )


def names(family: str) -> dict[str, str]:
    """Foreign class -> head."""
    return {
        f"{family}ForConditionalGeneration": "language",
        f"{family}ForSequenceClassification": "classify",
        f"{family}Model": "body",
    }


def values(
    data: Mapping[str, Any],
    where: str,
    fields: foreign.Fields,
    names: Mapping[str, str],
    *,
    activation: str = "gelu",
    own: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Our values out of a file's; ``activation`` is what a missing one means, ``own`` what the family reads itself."""
    made = fields.read(data, where, understood=own | {"activation_function", "num_hidden_layers"})
    if data.get("num_hidden_layers", made["depth"]) != made["depth"]:  # the encoder's, said twice
        shared.refuse("num_hidden_layers", data["num_hidden_layers"], (made["depth"],), where)
    head = shared.foreign_head(data, names, next(iter(names)), where)
    labels = foreign.labels(data, where) if head == "classify" else ()
    return made | {
        "activation": foreign.activation(data.get("activation_function", activation), where),
        "head": "score" if len(labels) == 1 else head,
        "labels": labels,
    }


def written(config: Any, fields: foreign.Fields, names: Mapping[str, str], model_type: str) -> dict[str, Any]:
    """A file's settings out of ours."""
    made = fields.write(config) | {
        "model_type": model_type,
        "architectures": [shared.architecture(names, "classify" if config.head == "score" else config.head)],
        "activation_function": foreign.foreign_activation(config.activation),
        "num_hidden_layers": config.depth,
    }
    labels = config.labels or (("LABEL_0",) if config.head == "score" else ())
    return made | (foreign.with_labels(labels) if labels else {})
