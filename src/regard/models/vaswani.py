"""The Transformer of "Attention Is All You Need" (Vaswani et al. 2017): encoder and decoder, post-norm, sinusoids,
one matrix for both embeddings and the vocabulary. Reads and writes as Marian, the form in which such models are shared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, between, verify
from regard.models import seq2seq, shared
from regard.weights import foreign


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes default to the base model of the paper's table 3; ``BIG`` has those of the big one.

    decoder_*: the decoder's sizes, None where they are the encoder's, as in the paper. scaled: token vectors are
    multiplied by sqrt(dim), as in the paper. head: "language", or "body", which is published without the vocabulary's
    bias.
    """

    vocab: int = 37_000
    context: int = 1024
    dim: int = 512
    depth: int = 6
    heads: int = 8
    hidden: int = 2048
    decoder_depth: int | None = None
    decoder_heads: int | None = None
    decoder_hidden: int | None = None
    scaled: bool = True
    activation: str = "relu"
    dropout: float = 0.1
    smoothing: float = 0.1
    start: int = 0
    pad: int = 0
    head: Literal["language", "body"] = "language"

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "context", "dim", "depth", "heads", "hidden")
        yield from between(self, 1, shared.DEEPEST, "decoder_depth")
        yield from between(self, 1, shared.MOST_HEADS, "decoder_heads")
        yield from between(self, 1, shared.LARGEST, "decoder_hidden")
        yield from between(self, 0, self.vocab - 1, "start", "pad")
        yield from between(self, 0.0, 0.99, "dropout", "smoothing")
        yield from shared.check_heads(self)
        if self.decoder_heads and self.dim % self.decoder_heads:
            yield "decoder_heads", "models.heads", {"dim": self.dim}
        yield from shared.check_activation(self)
        if self.dim % 2:
            yield "dim", "models.even", {}


BASE = Config()
BIG = Config(dim=1024, heads=16, hidden=4096, dropout=0.3)


def build(config: Config) -> Any:
    from regard.models.transformer import EncoderDecoder

    rate, scale = config.dropout, config.dim**0.5 if config.scaled else 1.0

    def projection(heads: int) -> Any:
        head_dim = config.dim // heads
        return layers.Grouped(
            dim=config.dim, heads=heads, kv_heads=heads, head_dim=head_dim, bias=True, output_bias=True
        )  # fmt: skip

    def after(sublayer: Any) -> Any:
        return layers.Residual(sublayer=sublayer, then=layers.LayerNorm(config.dim), dropout=rate)

    def feed_forward(hidden: int) -> Any:
        return after(layers.FeedForward(config.dim, hidden, config.activation))

    def encoder_block() -> Any:
        attention = layers.Attention(projection(config.heads))
        return layers.Block(attention=after(attention), feed_forward=feed_forward(config.hidden))

    def decoder_block() -> Any:
        own = projection(config.decoder_heads or config.heads)
        return layers.Block(
            attention=after(layers.Attention(own)),
            cross_attention=after(layers.CrossAttention(own)),
            feed_forward=feed_forward(config.decoder_hidden or config.hidden),
        )

    def tokens() -> Any:
        positions = embed.Sinusoidal(config.dim)
        return embed.Tokens(config.vocab, config.dim, positions=positions, scale=scale, dropout=rate)

    source, target = tokens(), tokens()
    target.tokens = source.tokens  # one matrix for both, and for the vocabulary (section 3.4)
    head = heads.Language(source.tokens.weight, bias=config.head == "language", smoothing=config.smoothing)
    return EncoderDecoder(
        config,
        source_embed=source,
        encoder=layers.Stack([encoder_block() for _ in range(config.depth)]),
        target_embed=target,
        stack=layers.Stack([decoder_block() for _ in range(config.decoder_depth or config.depth)]),
        head=head,
    )


def initialise(model: Any, key: Any) -> Any:
    """Glorot for matrices; embeddings of deviation 1/sqrt(D), which the scale turns into 1, as in the authors' code."""
    from regard.layers.initial import initialise, xavier

    return initialise(model, key, xavier(model.config.dim**-0.5))


def warmup_rate(step: int, dim: int, warmup: int) -> float:
    """The learning rate of section 5.3 at ``step`` counted from 1."""
    return dim**-0.5 * min(step**-0.5, step * warmup**-1.5)


TABLE = seq2seq.table("then", *seq2seq.COMPUTED)

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "d_model": "dim", "encoder_layers": "depth",
        "encoder_attention_heads": "heads", "encoder_ffn_dim": "hidden", "decoder_layers": "decoder_depth",
        "decoder_attention_heads": "decoder_heads", "decoder_ffn_dim": "decoder_hidden", "dropout": "dropout",
        "scale_embedding": "scaled", "decoder_start_token_id": "start", "pad_token_id": "pad",
    },
    only={
        "share_encoder_decoder_embeddings": (True,), "tie_word_embeddings": (True,),
        "normalize_before": (False,), "normalize_embedding": (False,), "static_position_embeddings": (True,),
        "add_final_layer_norm": (False,), "add_bias_logits": (False,), "is_encoder_decoder": (True,),
        "extra_pos_embeddings": (0,),
    },
    harmless=frozenset({
        "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop", "classif_dropout",
        "classifier_dropout", "init_std", "force_bos_token_to_be_generated",
    }),
    default={"scale_embedding": False},
)  # fmt: skip
HEADS = {"MarianMTModel": "language", "MarianModel": "body"}
_TWICE = ("depth", "heads", "hidden")  # sizes that the paper has once and a file for each side
_OWN = frozenset({"activation_function", "num_hidden_layers", "label_smoothing", "decoder_vocab_size"})


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of Marian's."""
    values = FIELDS.read(data, where, understood=_OWN)
    values["head"] = shared.foreign_head(data, HEADS, "MarianMTModel", where)
    for size in _TWICE:
        if values[f"decoder_{size}"] == values[size]:
            values[f"decoder_{size}"] = None
    for theirs, ours in {"decoder_vocab_size": "vocab", "num_hidden_layers": "depth"}.items():
        if data.get(theirs, values[ours]) not in (None, values[ours]):
            shared.refuse(theirs, data[theirs], (values[ours],), where)
    values["activation"] = foreign.activation(data.get("activation_function", "gelu"), where)
    values["smoothing"] = data.get("label_smoothing", 0.1)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Marian's out of ours."""
    made = FIELDS.write(config)
    names = {theirs: ours for theirs, ours in FIELDS.same.items() if made[theirs] is None}
    return made | {
        **{theirs: getattr(config, ours.removeprefix("decoder_")) for theirs, ours in names.items()},
        "model_type": "marian",
        "architectures": [shared.architecture(HEADS, config.head)],
        "activation_function": foreign.foreign_activation(config.activation),
        "decoder_vocab_size": config.vocab,
        "num_hidden_layers": config.depth,
        "label_smoothing": config.smoothing,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
    }
