"""What BERT and its kin share: a post-norm stack seen from both sides, its heads, and how their files name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, verify
from regard.errors import BadFileError
from regard.models import shared
from regard.weights import foreign
from regard.weights.table import Drop, Row, Table, Tie, rows, with_endings

Head = Literal["language", "classify", "score", "tag", "span", "choice", "pool", "follows"]


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Sizes default to the base model. attention_dropout: that of the attention weights, None where it is as the rest.
    labels: the classes of a sequence or, with head "tag", of a token. follows: whether the second of two texts does, or
    was drawn from elsewhere (Devlin et al. 2018, section 3.1): two classes."""

    vocab: int = 30_522
    context: int = 512
    dim: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    activation: str = "gelu"
    eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float | None = None
    head: Head = "language"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "context", "dim", "depth", "heads", "hidden")
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0.0, 0.99, "dropout", "attention_dropout")
        yield from shared.check_heads(self)
        yield from shared.check_head(self)
        yield from shared.check_activation(self)


def tokens(config: Any, *, width: int | None = None, types: int = 0, offset: int = 0) -> Any:
    """Token, position and type embeddings, normed; projected where they are narrower than the stack."""
    import torch

    dim = width or config.dim
    project = None if dim == config.dim else torch.nn.Linear(dim, config.dim)
    return embed.Tokens(
        config.vocab,
        dim,
        positions=embed.Learned(config.context, dim, offset=offset),
        types=types,
        norm=layers.LayerNorm(dim, eps=config.eps),
        project=project,
        dropout=config.dropout,
    )


def attention(config: Any, **parts: Any) -> Any:
    """Multi-head attention with biases; ``parts`` are an Attention's (position, mask, core)."""
    return layers.Attention(projection(config), dropout=attention_rate(config), **parts)


def projection(config: Any, *, bias: bool = True) -> Any:
    """As many keys and values as queries; ``bias`` is that of all three."""
    return layers.Grouped(
        dim=config.dim,
        heads=config.heads,
        kv_heads=config.heads,
        head_dim=config.dim // config.heads,
        bias=bias,
        output_bias=True,
    )


def attention_rate(config: Any) -> float:
    """The dropout of the attention weights."""
    return config.dropout if config.attention_dropout is None else config.attention_dropout


def block(config: Any, attention: Any | None) -> Any:
    """A block of these sublayers."""
    return layers.Block(**sublayers(config, attention))


def sublayers(config: Any, attention: Any | None) -> dict[str, Any]:
    """Attention (None: without), then a feed-forward layer; each added to the stream, which is then normed."""

    def added(sublayer: Any) -> Any:
        norm = layers.LayerNorm(config.dim, eps=config.eps)
        return layers.Residual(sublayer=sublayer, then=norm, dropout=config.dropout)

    feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation)
    seen = {} if attention is None else {"attention": added(attention)}
    return {**seen, "feed_forward": added(feed_forward)}


def head(config: Any, tokens: Any, *, transform: str, pooler: str, pooled: str | None) -> Any:
    """The head that the config names.

    transform, pooler and pooled are activations: of the layer before the vocabulary, of the one before a decision on
    the whole sequence, and of the one that gives a sequence's vector (None: there is no such layer).
    """
    dim, count, rate = config.dim, len(config.labels), config.dropout

    def decides() -> Any:
        return heads.Pool(dim, "first", dense=True, activation=pooler)

    def language() -> Any:
        width = tokens.tokens.weight.shape[1]
        made = heads.Transform(dim, transform, layers.LayerNorm(width, eps=config.eps), width=width)
        return heads.Language(tokens.tokens.weight, bias=True, transform=made)

    return {
        "language": language,
        "classify": lambda: heads.Classify(decides(), dim, count, dropout=rate),
        "follows": lambda: heads.Classify(decides(), dim, count),
        "score": lambda: heads.Score(decides(), dim, dropout=rate),
        "tag": lambda: heads.Tag(dim, count, dropout=rate),
        "span": lambda: heads.Span(dim),
        "choice": lambda: heads.Choice(decides(), dim, dropout=rate),
        "pool": lambda: heads.Pool(dim, "first", dense=pooled is not None, activation=pooled or "tanh"),
    }[config.head]()


def initialise(model: Any, key: Any) -> Any:
    """Normal 0.02 throughout (Devlin et al. 2018, appendix A.2)."""
    from regard.layers.initial import initialise, normal

    return initialise(model, key, normal(0.02))


# What the first of these libraries wrote, when it named the parts of a norm as TensorFlow does.
OLD = {".gamma": ".weight", ".beta": ".bias"}


def body(prefix: str) -> tuple[Row | Drop, ...]:
    """The rows of embeddings and stack where they bear BERT's names."""
    return (
        *rows(f"""
            {prefix}embeddings.word_embeddings.weight            embed.tokens.weight
            {prefix}embeddings.position_embeddings.weight        embed.positions.weight
            {prefix}embeddings.token_type_embeddings.weight      embed.types.weight
        """),
        *with_endings(f"""
            {prefix}embeddings.LayerNorm                         embed.norm
            {prefix}encoder.layer.*.attention.self.query         stack.blocks.*.attention.q
            {prefix}encoder.layer.*.attention.self.key           stack.blocks.*.attention.k
            {prefix}encoder.layer.*.attention.self.value         stack.blocks.*.attention.v
            {prefix}encoder.layer.*.attention.output.dense       stack.blocks.*.attention.o
            {prefix}encoder.layer.*.attention.output.LayerNorm   stack.blocks.*.attention_then
            {prefix}encoder.layer.*.intermediate.dense           stack.blocks.*.feed_forward.up
            {prefix}encoder.layer.*.output.dense                 stack.blocks.*.feed_forward.down
            {prefix}encoder.layer.*.output.LayerNorm             stack.blocks.*.feed_forward_then
        """, ".weight", ".bias"),
        Drop(f"{prefix}embeddings.position_ids"),
    )  # fmt: skip


def ends(text: str) -> tuple[Row, ...]:
    """Rows of linear layers and norms, each with its weight and its bias."""
    return with_endings(text, ".weight", ".bias")


def unused(*names: str) -> tuple[Drop, ...]:
    """Linear layers that some files hold and that no head here reads."""
    return tuple(Drop(name + end) for name in names for end in (".weight", ".bias"))


def tied(prefix: str, weight: str, bias: str | None = None, first: str = "") -> tuple[Tie, ...]:
    """The vocabulary's second names."""
    made = (Tie(weight, f"{prefix}embeddings.word_embeddings.weight"),)
    return made if bias is None else (*made, Tie(bias, first))


def table(prefix: str, *parts: Row | Tie | Drop) -> Table:
    return Table(prefix=prefix, rows=parts, old=OLD)


FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "hidden_size": "dim", "num_hidden_layers": "depth",
        "num_attention_heads": "heads", "intermediate_size": "hidden", "layer_norm_eps": "eps",
        "hidden_dropout_prob": "dropout", "attention_probs_dropout_prob": "attention_dropout",
    },
    only={"position_embedding_type": ("absolute",), "tie_word_embeddings": (True,)},
    harmless=frozenset({"classifier_dropout"}),
    default={
        "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
    },
)  # fmt: skip


def fields(
    same: Mapping[str, str] | None = None,
    only: Mapping[str, tuple[Any, ...]] | None = None,
    harmless: frozenset[str] = frozenset(),
    default: Mapping[str, Any] | None = None,
    stated: frozenset[str] = frozenset(),
) -> foreign.Fields:
    """BERT's settings and a family's own."""
    return replace(
        FIELDS,
        same={**FIELDS.same, **(same or {})},
        only={**FIELDS.only, **(only or {})},
        stated=stated,
        harmless=FIELDS.harmless | harmless,
        default={**FIELDS.default, **(default or {})},
    )


def names(family: str, **others: str) -> dict[str, str]:
    """Foreign class -> head. ``others``: heads under other classes than usual."""
    usual = {
        "MaskedLM": "language",
        "SequenceClassification": "classify",
        "TokenClassification": "tag",
        "QuestionAnswering": "span",
        "MultipleChoice": "choice",
    }
    return {f"{family}For{what}": head for what, head in usual.items()} | {f"{family}Model": "pool"} | others


def values(
    data: Mapping[str, Any],
    where: str,
    fields: foreign.Fields,
    names: Mapping[str, str],
    *,
    activation: str = "gelu",
    act: str = "hidden_act",
    own: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Our values out of a file's. ``act`` is its key of the activation, ``activation`` what a missing one means;
    ``own`` are keys that the family reads by itself."""
    made = fields.read(data, where, understood=own | {act})
    usual = next(name for name, head in names.items() if head == "pool")
    head = shared.foreign_head(data, names, usual, where)
    labels = foreign.labels(data, where) if head in ("classify", "tag", "follows") else ()
    if head == "classify" and len(labels) == 1:
        head = "score"
    if made.get("attention_dropout") == made["dropout"]:
        made["attention_dropout"] = None
    return made | {
        "activation": foreign.activation(data.get(act, activation), where),
        "head": head,
        "labels": labels,
    }


def counted(values: Mapping[str, Any], pad: Any, where: str) -> dict[str, Any]:
    """The context of a table of positions whose count begins after the id ``pad``."""
    rows = values["context"]
    if type(pad) is not int or type(rows) is not int or not 0 <= pad < rows - 1:
        key, value = "max_position_embeddings", rows
        raise BadFileError("weights.setting", where=where, key=key, value=value, accepted=f"> pad_token_id + 1 ({pad})")
    return {"context": rows - pad - 1}


def written(
    config: Any, fields: foreign.Fields, names: Mapping[str, str], model_type: str, *, act: str = "hidden_act"
) -> dict[str, Any]:
    """A file's settings out of ours."""
    made = fields.write(config) | {
        "model_type": model_type,
        "architectures": [shared.architecture(names, "classify" if config.head == "score" else config.head)],
        act: foreign.foreign_activation(config.activation),
    }
    made |= {
        key: config.dropout for key, ours in fields.same.items() if ours == "attention_dropout" and made[key] is None
    }
    labels = config.labels or (("LABEL_0",) if config.head == "score" else ())
    return made | (foreign.with_labels(labels) if labels else {})
