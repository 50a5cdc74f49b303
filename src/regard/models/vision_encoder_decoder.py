"""An image's encoder and a text's decoder that look at each other: TrOCR (Li et al. 2021), a ViT that GPT-2 captions.
Both are other families' parts; the decoder's blocks attend to the encoder's tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from regard import embed, heads, layers, models
from regard.config import Problem, between, verify
from regard.errors import BadFileError
from regard.models import bart, beit, decoder, deit, gpt2, m2m_100, seq2seq, shared, vit
from regard.weights import foreign
from regard.weights.table import Drop, Fused, Past, Row, Table, Tie, rows, transpose, with_endings

READS = ("image", "text")
ENCODERS = ("vit", "deit", "beit")
DECODERS = ("trocr", "gpt2")


@dataclass(frozen=True, kw_only=True)
class Trocr:
    """The decoder of 2017, its norms behind the sublayers. learned: positions are, else sinusoids. normed: the
    embedding is. memory: features of what it looks at; None: as many as its own."""

    vocab: int = 50_265
    context: int = 512
    dim: int = 1024
    depth: int = 12
    heads: int = 16
    hidden: int = 4096
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    hidden_dropout: float = 0.0
    scaled: bool = False
    learned: bool = True
    normed: bool = True
    tied: bool = True
    memory: int | None = None
    pad: int = 1

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "context", "dim", "depth", "heads", "hidden")
        yield from between(self, 0.0, 0.99, "dropout", "attention_dropout", "hidden_dropout")
        yield from between(self, 1, shared.LARGEST, "memory")
        yield from between(self, 0, self.vocab - 1, "pad")
        yield from shared.check_heads(self)
        yield from shared.check_activation(self)
        if not self.learned and self.dim % 2:
            yield "dim", "models.even", {}

    @property
    def decoder_hidden(self) -> int:
        """How the parts of an encoder-decoder call it."""
        return self.hidden


_VIT, _TROCR = vit.Config(), Trocr()


@dataclass(frozen=True, kw_only=True)
class Config:
    """One of the encoders and one of the decoders. start: the token that every text begins with."""

    vit: vit.Config | None = _VIT
    deit: deit.Config | None = None
    beit: beit.Config | None = None
    trocr: Trocr | None = _TROCR
    gpt2: gpt2.Config | None = None
    start: int = 2

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        for names in (ENCODERS, DECODERS):
            if sum(getattr(self, name) is not None for name in names) != 1:
                yield names[0], "models.one_of", {"names": ", ".join(names)}
                return
        yield from between(self, 0, self.decoder.vocab - 1, "start")
        if self.trocr is not None and self.trocr.memory not in (None, self.encoder.dim):
            yield "trocr", "models.memory", {"dim": self.encoder.dim}

    @property
    def encoder(self) -> Any:
        """The encoder's config."""
        return next(one for name in ENCODERS if (one := getattr(self, name)) is not None)

    @property
    def decoder(self) -> Any:
        """The decoder's config."""
        return next(one for name in DECODERS if (one := getattr(self, name)) is not None)

    @property
    def depth(self) -> int:
        """Layers of both stacks."""
        return self.encoder.depth + self.decoder.depth

    @property
    def context(self) -> int:
        """The longest text in tokens."""
        return self.decoder.context

    @property
    def vocab(self) -> int:
        """Tokens there are."""
        return self.decoder.vocab

    @property
    def bridged(self) -> bool:
        """Whether the encoder's tokens are brought to the decoder's width before it looks at them."""
        memory = None if self.trocr is None else self.trocr.memory
        return memory is None and self.encoder.dim != self.decoder.dim


def build(config: Config) -> Any:
    from torch import nn

    from regard.models.transformer import EncoderDecoder

    sees = models.family(models.name_of(config.encoder)).build(config.encoder)
    tokens, stack = _gpt2(config.gpt2) if config.trocr is None else _trocr(config.trocr)
    return EncoderDecoder(
        config,
        source_embed=sees.embed,
        encoder=sees.stack,
        target_embed=tokens,
        stack=stack,
        head=heads.Language(shared.vocabulary(config.decoder, tokens)),
        bridge=nn.Linear(config.encoder.dim, config.decoder.dim) if config.bridged else None,
    )


def _trocr(config: Trocr) -> tuple[Any, Any]:
    learned = embed.Learned(config.context, config.dim, offset=bart.OFFSET) if config.learned else None
    tokens = embed.Tokens(
        config.vocab,
        config.dim,
        positions=learned or m2m_100.sinusoids(config),
        norm=layers.LayerNorm(config.dim) if config.normed else None,
        scale=config.dim**0.5 if config.scaled else 1.0,
        dropout=config.dropout,
    )
    own = decoder.every(config, bias=True, output_bias=True)
    cross = replace(own, memory_dim=config.memory)
    made = [seq2seq.decoder_block(config, own, "then", cross=cross) for _ in range(config.depth)]
    return tokens, layers.Stack(made)


def _gpt2(config: Any) -> tuple[Any, Any]:
    def norm() -> Any:
        return layers.LayerNorm(config.dim, eps=config.eps)

    def block() -> Any:
        made = decoder.every(config, bias=True, output_bias=True)
        feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
        cross = layers.CrossAttention(made, dropout=config.dropout)
        return layers.Block(
            attention=layers.Residual(
                sublayer=layers.Attention(made, dropout=config.dropout), before=norm(), dropout=config.dropout
            ),
            cross_attention=layers.Residual(sublayer=cross, before=norm(), dropout=config.dropout),
            feed_forward=layers.Residual(sublayer=feed_forward, before=norm(), dropout=config.dropout),
        )

    positions = embed.Learned(config.context, config.dim)
    tokens = embed.Tokens(config.vocab, config.dim, positions=positions, dropout=config.dropout)
    return tokens, layers.Stack([block() for _ in range(config.depth)], norm=norm())


initialise = seq2seq.initialise

_SIDES = {"embed.": "source_embed.", "stack.": "encoder."}
_TROCR_ROWS = (
    *rows("""
        model.decoder.embed_tokens.weight       target_embed.tokens.weight
        model.decoder.embed_positions.weight    target_embed.positions.weight
        output_projection.weight                head.weight
    """),
    *(row for row in seq2seq.stacks("then") if row.ours[0].startswith(("stack.", "target_embed."))),
)  # fmt: skip
_GPT2_CROSS = (
    *with_endings("transformer.h.*.ln_cross_attn          stack.blocks.*.cross_attention_before", ".weight", ".bias"),
    *rows("""
        transformer.h.*.crossattention.q_attn.weight      stack.blocks.*.cross_attention.q.weight
        transformer.h.*.crossattention.c_proj.weight      stack.blocks.*.cross_attention.o.weight
    """, transpose),
    *rows("""
        transformer.h.*.crossattention.q_attn.bias        stack.blocks.*.cross_attention.q.bias
        transformer.h.*.crossattention.c_proj.bias        stack.blocks.*.cross_attention.o.bias
    """),
    *rows("""
        transformer.h.*.crossattention.c_attn.weight      stack.blocks.*.cross_attention.{k,v}.weight
    """, Fused(transpose=True)),
    *rows("transformer.h.*.crossattention.c_attn.bias     stack.blocks.*.cross_attention.{k,v}.bias", Fused()),
    Drop("transformer.h.*.crossattention.bias"),
    Drop("transformer.h.*.crossattention.masked_bias"),
)  # fmt: skip


def _encoder_rows(name: str) -> Iterator[Row | Drop]:
    """A family's rows of embedding and stack, by the names that they have as a part of this model."""
    table = models.family(name).TABLE

    def under(theirs: str) -> str:
        return "encoder." + theirs.removeprefix(table.prefix)

    for one in table.rows:
        if isinstance(one, Drop):
            yield replace(one, theirs=under(one.theirs))
        elif isinstance(one, Row) and one.ours[0].startswith(tuple(_SIDES)):
            ours = tuple(_SIDES[part + "."] + rest for part, _, rest in (own.partition(".") for own in one.ours))
            yield replace(one, theirs=tuple(map(under, one.theirs)), ours=ours, when=_has(name))


def _decoder_rows(name: str, found: tuple[Row | Tie | Drop | Past, ...]) -> Iterator[Row | Tie | Drop]:
    for one in found:
        if isinstance(one, Row):
            ours = tuple("target_" + own if own.startswith("embed.") else own for own in one.ours)
            yield replace(one, theirs=tuple("decoder." + n for n in one.theirs), ours=ours, when=_has(name))
        elif isinstance(one, Tie):
            yield Tie("decoder." + one.theirs, "decoder." + one.first)
        elif isinstance(one, Drop):
            yield replace(one, theirs="decoder." + one.theirs)


def _has(name: str) -> Any:
    return lambda config: getattr(config, name) is not None


TABLE = Table(
    rows=(
        *(row for name in ENCODERS for row in _encoder_rows(name)),
        *_decoder_rows("trocr", _TROCR_ROWS),
        *_decoder_rows("gpt2", (*gpt2.TABLE.rows, *_GPT2_CROSS)),
        *with_endings("enc_to_dec_proj bridge", ".weight", ".bias"),
        Tie("decoder.output_projection.weight", "decoder.model.decoder.embed_tokens.weight"),
        Drop("encoder.pooler.dense.weight"),
        Drop("encoder.pooler.dense.bias"),
        Drop("decoder.model.decoder.embed_positions._float_tensor"),
        Drop("decoder.model.decoder.version"),
    ),
)

FIELDS = foreign.Fields(
    same={"decoder_start_token_id": "start"},
    only={"tie_word_embeddings": (False, True), "is_encoder_decoder": (True,)},
    harmless=frozenset({"processor_class"}),
    default={"decoder_start_token_id": None},
)
TROCR = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "d_model": "dim", "decoder_layers": "depth",
        "decoder_attention_heads": "heads", "decoder_ffn_dim": "hidden", "dropout": "dropout",
        "attention_dropout": "attention_dropout", "activation_dropout": "hidden_dropout", "scale_embedding": "scaled",
        "use_learned_position_embeddings": "learned", "layernorm_embedding": "normed", "tie_word_embeddings": "tied",
        "cross_attention_hidden_size": "memory", "pad_token_id": "pad",
    },
    only={"is_decoder": (True,), "add_cross_attention": (True, False)},
    harmless=frozenset({"decoder_layerdrop", "init_std", "classifier_dropout"}),
    default={
        "vocab_size": 50_265, "max_position_embeddings": 512, "d_model": 1024, "decoder_layers": 12,
        "decoder_attention_heads": 16, "decoder_ffn_dim": 4096, "dropout": 0.1, "attention_dropout": 0.0,
        "activation_dropout": 0.0, "scale_embedding": False, "use_learned_position_embeddings": True,
        "layernorm_embedding": True, "tie_word_embeddings": True, "cross_attention_hidden_size": None,
        "pad_token_id": 1,
    },
)  # fmt: skip
HEADS = {"VisionEncoderDecoderModel": "language"}
_ACT = "activation_function"


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    shared.foreign_head(data, HEADS, "VisionEncoderDecoderModel", where)
    values = FIELDS.read(data, where, understood=frozenset({"encoder", "decoder"}))
    seen, written = (_section(data, key, where) for key in ("encoder", "decoder"))
    name = _kind(seen, ENCODERS, "encoder", where)
    module = models.family(name)
    usual = next(theirs for theirs, ours in module.HEADS.items() if ours == "pool")
    said = {key: value for key, value in seen.items() if key != "tie_word_embeddings"}  # it has none
    sides: dict[str, Any] = {"vit": None, "trocr": None, name: module.read({**said, "architectures": [usual]}, where)}
    name = _kind(written, DECODERS, "decoder", where)
    sides[name] = _read_trocr(written, where) if name == "trocr" else _read_gpt2(written, where)
    if values["start"] is None:
        first = written.get("decoder_start_token_id")
        values["start"] = written.get("bos_token_id", 0) if first is None else first
    return foreign.config(Config, values | sides, where, FIELDS)


def _section(data: Mapping[str, Any], key: str, where: str) -> Mapping[str, Any]:
    found = data.get(key)
    if not isinstance(found, Mapping):
        raise BadFileError("weights.setting", where=where, key=key, value=found, accepted="{...}")
    return found


def _kind(section: Mapping[str, Any], known: tuple[str, ...], key: str, where: str) -> str:
    kind = section.get("model_type")
    if kind not in known:
        raise BadFileError("weights.setting", where=where, key=f"{key}.model_type", value=kind, accepted=known)
    return str(kind)


def _read_trocr(data: Mapping[str, Any], where: str) -> Trocr:
    values = TROCR.read(data, where, understood=frozenset({_ACT, "hidden_size", "num_hidden_layers"}))
    values["activation"] = foreign.activation(data.get(_ACT, "gelu"), where)
    return foreign.config(Trocr, values, where, TROCR)


def _read_gpt2(data: Mapping[str, Any], where: str) -> gpt2.Config:
    """GPT-2's own settings, but for those that make it look at something."""
    flags = ("is_decoder", "add_cross_attention", "architectures", "cross_attention_hidden_size")
    if data.get("add_cross_attention") is not True:
        shared.refuse("add_cross_attention", data.get("add_cross_attention"), (True,), where)
    for key, usual in (("scale_attn_weights", True), ("scale_attn_by_inverse_layer_idx", False)):
        if data.get(key, usual) is not usual:
            shared.refuse(f"decoder.{key}", data[key], (usual,), where)
    return gpt2.read({key: value for key, value in data.items() if key not in flags}, where)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    seen = models.family(models.name_of(config.encoder)).write(config.encoder)
    if config.trocr is not None:
        written = TROCR.write(config.trocr) | {"model_type": "trocr"}
        written |= {_ACT: foreign.foreign_activation(config.trocr.activation), "decoder_start_token_id": config.start}
    else:
        written = gpt2.write(config.decoder) | {"is_decoder": True, "add_cross_attention": True}
    named = {"model_type": "vision-encoder-decoder", "architectures": ["VisionEncoderDecoderModel"]}
    return FIELDS.write(config) | named | {"encoder": seen, "decoder": written}
