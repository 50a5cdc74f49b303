"""T5 (Raffel et al. 2020), T5 1.1, FLAN-T5 and mT5: an encoder and a decoder without biases, whose positions are
buckets of distances that all layers of a stack share, and whose attention is not scaled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, verify
from regard.models import shared
from regard.weights import foreign
from regard.weights.table import Drop, Row, Table, Tie, rows, together

HALF = ("encoder", "tag")  # heads on the encoder alone
WHOLE = ("classify", "score")  # heads on a text as a whole


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes default to the small model. depth is the encoder's, decoder_depth the decoder's.

    gated: the feed-forward layers have a gate. tied: the vocabulary is the embedding. scaled: what is held against it
    is divided by sqrt(dim). buckets, furthest: how distances are told apart, and from which on they are not.
    published: by which name. head: "language", "body", which is published
    without a vocabulary and here has its embedding for one, "encoder", the first half alone, or "tag" on it; "classify"
    and "score" of a whole text, read off the last token of a target that repeats its source, shifted by ``start``;
    "span", marked on such a target. head_dropout: within a head. labels: classes of a text or a token.
    """

    vocab: int = 32_128
    context: int = 512
    dim: int = 512
    depth: int = 6
    decoder_depth: int = 6
    heads: int = 8
    head_dim: int = 64
    hidden: int = 2048
    activation: str = "relu"
    gated: bool = False
    tied: bool = True
    scaled: bool = True
    buckets: int = 32
    furthest: int = 128
    eps: float = 1e-6
    dropout: float = 0.1
    start: int = 0
    pad: int = 0
    published: Literal["t5", "mt5"] = "t5"
    head: Literal["language", "body", "encoder", "classify", "score", "tag", "span"] = "language"
    head_dropout: float = 0.0
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "context", "dim", "depth", "heads", "head_dim", "hidden")
        yield from between(self, 1, shared.DEEPEST, "decoder_depth")
        yield from between(self, 4, shared.LARGEST, "buckets")
        yield from between(self, self.buckets // 2 + 1, shared.LARGEST, "furthest")
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0.0, 0.99, "dropout", "head_dropout")
        yield from between(self, 0, self.vocab - 1, "start", "pad")
        yield from shared.check_head(self)
        yield from shared.check_activation(self)


def build(config: Config) -> Any:
    from regard.models.transformer import EncoderDecoder

    source: Any = embed.Tokens(config.vocab, config.dim, dropout=config.dropout)
    encoder = _stack(config, config.depth, both_sides=True)
    if config.head in HALF:
        return shared.transformer(config, source, encoder, _head(config, source), causal=False)
    target = embed.Tokens(config.vocab, config.dim, dropout=config.dropout)
    target.tokens = source.tokens
    return EncoderDecoder(
        config,
        source_embed=source,
        encoder=encoder,
        target_embed=target,
        stack=_stack(config, config.decoder_depth, both_sides=False),
        head=_head(config, source),
    )


def _head(config: Config, source: Any) -> Any:
    if config.head == "encoder":
        return heads.Pool(config.dim, "mean")
    if config.head == "tag":
        return heads.Tag(config.dim, len(config.labels), dropout=config.head_dropout)
    if config.head == "span":
        return heads.Span(config.dim)
    if config.head in WHOLE:
        pool = heads.Pool(config.dim, "last", dense=True)
        if config.head == "score":
            return heads.Score(pool, config.dim, dropout=config.head_dropout)
        return heads.Classify(pool, config.dim, len(config.labels), dropout=config.head_dropout)
    vocabulary = source.tokens.weight if config.head == "body" else shared.vocabulary(config, source)
    return heads.Language(vocabulary, scale=config.dim**-0.5 if config.scaled else 1.0)


def _stack(config: Config, depth: int, *, both_sides: bool) -> Any:
    """An encoder, which sees both sides, or a decoder, which also attends to the memory."""
    position = layers.Buckets(
        config.heads, buckets=config.buckets, furthest=config.furthest, both_sides=both_sides
    )  # fmt: skip
    kind = layers.Gated if config.gated else layers.FeedForward

    def norm() -> Any:
        return layers.RMSNorm(config.dim, eps=config.eps)

    def added(sublayer: Any) -> Any:
        return layers.Residual(sublayer=sublayer, before=norm(), dropout=config.dropout)

    def block() -> Any:
        projection = layers.Grouped(
            dim=config.dim, heads=config.heads, kv_heads=config.heads, head_dim=config.head_dim
        )  # fmt: skip
        attention = layers.Attention(projection, position=position, scale=1.0, dropout=config.dropout)
        cross = layers.CrossAttention(projection, scale=1.0, dropout=config.dropout)
        feed_forward = kind(config.dim, config.hidden, config.activation, bias=False, dropout=config.dropout)
        return layers.Block(
            attention=added(attention),
            **({} if both_sides else {"cross_attention": added(cross)}),
            feed_forward=added(feed_forward),
        )

    return layers.Stack([block() for _ in range(depth)], norm=norm())


def initialise(model: Any, key: Any) -> Any:
    """Every matrix by what it reads; q smaller by sqrt(head_dim), since scores are not scaled (the authors' code)."""
    from regard.layers.initial import by_inputs, initialise

    return initialise(model, key, by_inputs(queries=model.config.head_dim**-0.5))


_ATTENTION = """
    {side}.layer.0.SelfAttention.q.weight             {stack}.attention.q.weight
    {side}.layer.0.SelfAttention.k.weight             {stack}.attention.k.weight
    {side}.layer.0.SelfAttention.v.weight             {stack}.attention.v.weight
    {side}.layer.0.SelfAttention.o.weight             {stack}.attention.o.weight
    {side}.layer.0.layer_norm.weight                  {stack}.attention_before.weight
"""
_CROSS = """
    {side}.layer.1.EncDecAttention.q.weight           {stack}.cross_attention.q.weight
    {side}.layer.1.EncDecAttention.k.weight           {stack}.cross_attention.k.weight
    {side}.layer.1.EncDecAttention.v.weight           {stack}.cross_attention.v.weight
    {side}.layer.1.EncDecAttention.o.weight           {stack}.cross_attention.o.weight
    {side}.layer.1.layer_norm.weight                  {stack}.cross_attention_before.weight
"""
_END = """
    {side}.layer.{last}.DenseReluDense.wo.weight      {stack}.feed_forward.down.weight
    {side}.layer.{last}.layer_norm.weight             {stack}.feed_forward_before.weight
"""
_GATED = """
    {side}.layer.{last}.DenseReluDense.wi_0.weight    {stack}.feed_forward.gate.weight
    {side}.layer.{last}.DenseReluDense.wi_1.weight    {stack}.feed_forward.up.weight
"""
_PLAIN = """
    {side}.layer.{last}.DenseReluDense.wi.weight      {stack}.feed_forward.up.weight
"""
_ENDS = """
    {side}.final_layer_norm.weight                                        {stack}.norm.weight
    {side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight   {stack}.blocks.0.attention.position.weight
"""


def _encoder(stack: str) -> Iterator[Row]:
    names = {"side": "encoder.block.*", "stack": f"{stack}.blocks.*", "last": 1}
    for text in (_ATTENTION, _END, _GATED, _PLAIN):
        yield together(text.format(**names))


def _decoder() -> Iterator[Row]:
    """A decoder's block is told from an encoder's by its cross-attention."""
    names = {"side": "decoder.block.*", "stack": "stack.blocks.*", "last": 2}
    for feed_forward in (_GATED, _PLAIN):
        yield together((_ATTENTION + _CROSS + _END + feed_forward).format(**names))


def _beneath(*made: Row) -> Iterator[Row]:
    """The rows by both their names: what classifies texts or tokens stands above a model with a name of its own."""
    for one in made:
        yield replace(one, when=lambda config: config.head not in _ABOVE)
        names = tuple(f"transformer.{name}" for name in one.theirs)
        yield replace(one, theirs=names, when=lambda config: config.head in _ABOVE)


_ABOVE = (*WHOLE, "tag")
_TIED = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# Left in the first published files by mistake: the reference never used it either.
_UNUSED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"

TABLE = Table(
    rows=(
        *_beneath(
            *rows("""
                shared.weight                         source_embed.tokens.weight
                shared.weight                         embed.tokens.weight
            """),
            *_decoder(),
            *_encoder("encoder"),
            together(_ENDS.format(side="encoder", stack="encoder") + _ENDS.format(side="decoder", stack="stack")),
            # The encoder alone.
            *_encoder("stack"),
            together(_ENDS.format(side="encoder", stack="stack")),
        ),
        *rows("""
            lm_head.weight                            head.weight
            classification_head.dense.weight          head.pool.dense.weight
            classification_head.dense.bias            head.pool.dense.bias
            classification_head.out_proj.weight       head.out.weight
            classification_head.out_proj.bias         head.out.bias
            classifier.weight                         head.tag.weight
            classifier.bias                           head.tag.bias
            qa_outputs.weight                         head.span.weight
            qa_outputs.bias                           head.span.bias
        """),
        *(Tie(name, "shared.weight") for name in (*_TIED, "lm_head.weight")),
        *(Tie(f"transformer.{name}", "transformer.shared.weight") for name in _TIED),
        Drop(_UNUSED),
        Drop(f"transformer.{_UNUSED}"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "n_positions": "context", "d_model": "dim", "num_layers": "depth",
        "num_decoder_layers": "decoder_depth", "num_heads": "heads", "d_kv": "head_dim", "d_ff": "hidden",
        "relative_attention_num_buckets": "buckets", "relative_attention_max_distance": "furthest",
        "layer_norm_epsilon": "eps", "dropout_rate": "dropout", "decoder_start_token_id": "start",
        "pad_token_id": "pad", "classifier_dropout": "head_dropout",
    },
    only={"is_encoder_decoder": (True, False)},
    harmless=frozenset({"initializer_factor", "output_past"}),
    default={
        "n_positions": 512, "num_decoder_layers": None, "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6, "dropout_rate": 0.1,
        "decoder_start_token_id": 0, "pad_token_id": 0, "classifier_dropout": 0.0,
    },
)  # fmt: skip
_CLASSES = {
    "ForConditionalGeneration": "language", "Model": "body", "EncoderModel": "encoder",
    "ForSequenceClassification": "classify", "ForTokenClassification": "tag", "ForQuestionAnswering": "span",
}  # fmt: skip
HEADS = {name: {f"{name.upper()}{end}": head for end, head in _CLASSES.items()} for name in ("t5", "mt5")}
_OWN = frozenset({
    "feed_forward_proj", "dense_act_fn", "is_gated_act", "tie_word_embeddings", "scale_decoder_outputs",
    "tokenizer_class",
})  # fmt: skip


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    published = data.get("model_type", "t5")
    values = FIELDS.read(data, where, understood=_OWN)
    head = shared.foreign_head(data, HEADS[published], next(iter(HEADS[published])), where)
    labels = foreign.labels(data, where) if head in ("classify", "tag") else ()
    tied = data.get("tie_word_embeddings", True)
    values |= _feed_forward(data, where) | {
        "decoder_depth": values["decoder_depth"] or values["depth"],
        "tied": tied,
        # A file of version 1.1 is known by its vocabulary of its own; newer files say what follows from it.
        "scaled": data.get("scale_decoder_outputs", published == "t5" and tied),
        "published": published,
        "head": "score" if head == "classify" and len(labels) == 1 else head,
        "labels": labels,
    }
    return foreign.config(Config, values, where, FIELDS)


def _feed_forward(data: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``relu``, ``gated-gelu`` …; what newer files derive from it must say the same."""
    said = data.get("feed_forward_proj", "relu" if data.get("model_type", "t5") == "t5" else "gated-gelu")
    kind, _, name = str(said).rpartition("-")
    if kind not in ("", "gated"):
        shared.refuse("feed_forward_proj", said, ("relu", "gated-gelu", "gated-silu"), where)
    name = "gelu_new" if said == "gated-gelu" else name
    for key, derived in (("dense_act_fn", name), ("is_gated_act", kind == "gated")):
        if data.get(key, derived) != derived:
            shared.refuse(key, data[key], (derived,), where)
    return {"activation": foreign.activation(name, where), "gated": kind == "gated"}


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    name = foreign.foreign_activation(config.activation)
    said = {"gelu_new": "gated-gelu"}.get(name, f"gated-{name}") if config.gated else name
    head = "classify" if config.head == "score" else config.head
    labels = config.labels or (("LABEL_0",) if config.head == "score" else ())
    return FIELDS.write(config) | (foreign.with_labels(labels) if labels else {}) | {
        "model_type": config.published,
        "architectures": [shared.architecture(HEADS[config.published], head)],
        "is_encoder_decoder": config.head not in HALF,
        "feed_forward_proj": said,
        "dense_act_fn": name,
        "is_gated_act": config.gated,
        "tie_word_embeddings": config.tied,
        "scale_decoder_outputs": config.scaled,
    }
