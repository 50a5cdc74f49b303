"""What GPT, Llama and their kin share: sizes, heads, how a block adds up, and how their files name it all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from regard import heads, layers
from regard.config import Problem, at_least, between, verify
from regard.errors import BadFileError
from regard.models import rope, shared
from regard.weights import foreign
from regard.weights.layouts import stacked
from regard.weights.table import rows, with_endings

MOST_EXPERTS = 1 << 14
_ROPE = rope.Rope()


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """labels: the classes of a sequence or, with head "tag", of a token. score: one number for a sequence, as of a
    reward. pool: the newest token's vector."""

    vocab: int = 50_257
    context: int = 2048
    dim: int = 768
    depth: int = 12
    hidden: int = 3072
    activation: str = "gelu_tanh"
    eps: float = 1e-5
    dropout: float = 0.0
    tied: bool = False
    head: Literal["language", "classify", "score", "tag", "span", "pool"] = "language"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "context", "dim", "depth", "hidden")
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0.0, 0.99, "dropout")
        yield from shared.check_head(self)
        yield from shared.check_activation(self)


@dataclass(frozen=True, kw_only=True)
class Gpt(Decoder):
    """Heads that divide the width among them."""

    heads: int = 12

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from shared.check_sizes(self, "heads")
        yield from shared.check_heads(self)


@dataclass(frozen=True, kw_only=True)
class Attend:
    """heads share kv_heads; layers named in ``local`` see only the last ``window`` tokens."""

    heads: int = 32
    kv_heads: int = 32
    head_dim: int = 128
    window: int | None = None
    local: tuple[int, ...] = ()
    rope: rope.Rope = _ROPE

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 1, shared.MOST_HEADS, "heads", "kv_heads", "head_dim")
        if self.heads % self.kv_heads:
            yield "kv_heads", "models.kv_heads", {"heads": self.heads}
        yield from rope.check(self.rope, self.head_dim, "head_dim")
        if self.local and (self.window is None or self.window < 1):
            yield "window", "models.window", {}


@dataclass(frozen=True, kw_only=True)
class Llama(Decoder):
    """Grouped heads of a width of their own, rotary positions, layers that may have a window."""

    attention: Attend = Attend()
    activation: str = "silu"
    eps: float = 1e-6

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        if any(not 0 <= layer < self.depth for layer in self.attention.local):
            yield "attention", "models.local", {"last": self.depth - 1}


def fixed(config: Any, **only: Any) -> Iterator[Problem]:
    """The problem of each named field that files of the model type cannot say otherwise."""
    for name, value in only.items():
        if getattr(config, name) != value:
            yield name, "models.fixed", {"value": value}


def positive(config: Any, *names: str) -> Iterator[Problem]:
    """The problem of each named field that is neither None nor above 0."""
    for name in names:
        if getattr(config, name) is not None and not getattr(config, name) > 0:
            yield name, "models.positive", {}


def check_experts(config: Any) -> Iterator[Problem]:
    """No more experts can be chosen than there are."""
    yield from between(config, 1, MOST_EXPERTS, "experts")
    yield from between(config, 1, config.experts, "top")


def every(config: Any, *, bias: bool = False, output_bias: bool = False) -> Any:
    """The projection of heads that divide the width, each with keys of its own."""
    head_dim = config.dim // config.heads
    return layers.Grouped(
        dim=config.dim, heads=config.heads, kv_heads=config.heads, head_dim=head_dim, bias=bias, output_bias=output_bias
    )


def grouped(config: Llama, **parts: Any) -> Any:
    """The projection of heads that share keys; ``parts`` are Grouped's."""
    wants = config.attention
    return layers.Grouped(
        dim=config.dim, heads=wants.heads, kv_heads=wants.kv_heads, head_dim=wants.head_dim, **parts
    )  # fmt: skip


def pre_norm(config: Any, norm: Callable[[], Any], attention: Any, feed_forward: Any, kind: Any = None) -> Any:
    """A block in which each sublayer reads the stream through what ``norm`` gives; kind: how the block adds up."""
    return (kind or layers.Block)(
        attention=layers.Residual(sublayer=attention, before=norm(), dropout=config.dropout),
        feed_forward=layers.Residual(sublayer=feed_forward, before=norm(), dropout=config.dropout),
    )


def model(
    config: Any, tokens: Any, blocks: Sequence[Any], norm: Any, *, vocabulary: Callable[[Any], Any] | None = None
) -> Any:
    """The decoder of these parts; ``vocabulary`` makes the language head out of its matrix."""
    stack = layers.Stack(blocks, norm=norm)
    head = (_no_vocabulary if config.head != "language" else _language)(config, tokens, vocabulary)
    return shared.transformer(config, tokens, stack, head, causal=True)


def _no_vocabulary(config: Any, *_: Any) -> Any:
    dim, count = config.dim, len(config.labels)
    return {
        "classify": lambda: heads.Classify(heads.Pool(dim, "last"), dim, count, bias=False),
        "score": lambda: heads.Score(heads.Pool(dim, "last"), dim, bias=False),
        "tag": lambda: heads.Tag(dim, count, dropout=config.dropout),
        "span": lambda: heads.Span(dim),
        "pool": lambda: heads.Pool(dim, "last"),
    }[config.head]()


def _language(config: Any, tokens: Any, vocabulary: Callable[[Any], Any] | None) -> Any:
    weight = tokens.tokens.weight if config.tied else _like(tokens.tokens.weight)
    return (vocabulary or heads.Language)(weight)


def initialise(model: Any, key: Any) -> Any:
    """Normal 0.02; what writes to the residual stream is scaled down by its 2 L writes (Radford et al. 2019, 2.3)."""
    from regard.layers.initial import initialise, normal

    return initialise(model, key, normal(0.02, outputs=0.02 / (2 * model.config.depth) ** 0.5))


# Llama's names, which most decoders after it took over in parts. What their norms are called is theirs to say.
LLAMA_ENDS = (
    *rows("""
        model.embed_tokens.weight         embed.tokens.weight
        model.norm.weight                 stack.norm.weight
        lm_head.weight                    head.weight
        score.weight                      head.out.weight
    """),
    *with_endings("""
        score                             head.tag
        qa_outputs                        head.span
    """, ".weight", ".bias"),
)  # fmt: skip
LLAMA_ATTENTION = with_endings("""
    model.layers.*.self_attn.q_proj       stack.blocks.*.attention.q
    model.layers.*.self_attn.k_proj       stack.blocks.*.attention.k
    model.layers.*.self_attn.v_proj       stack.blocks.*.attention.v
    model.layers.*.self_attn.o_proj       stack.blocks.*.attention.o
""", ".weight", ".bias")  # fmt: skip
LLAMA_FEED_FORWARD = with_endings("""
    model.layers.*.mlp.gate_proj          stack.blocks.*.feed_forward.gate
    model.layers.*.mlp.up_proj            stack.blocks.*.feed_forward.up
    model.layers.*.mlp.down_proj          stack.blocks.*.feed_forward.down
""", ".weight", ".bias")  # fmt: skip
LLAMA_NORMS = rows("""
    model.layers.*.input_layernorm.weight            stack.blocks.*.attention_before.weight
    model.layers.*.post_attention_layernorm.weight   stack.blocks.*.feed_forward_before.weight
""")
EXPERTS = rows("""
    model.layers.*.mlp.experts.#.gate_proj.weight    stack.blocks.*.feed_forward.experts.gate.weight
    model.layers.*.mlp.experts.#.up_proj.weight      stack.blocks.*.feed_forward.experts.up.weight
    model.layers.*.mlp.experts.#.down_proj.weight    stack.blocks.*.feed_forward.experts.down.weight
""", stacked)  # fmt: skip

LLAMA_FIELDS = {
    "vocab_size": "vocab", "max_position_embeddings": "context", "hidden_size": "dim", "num_hidden_layers": "depth",
    "intermediate_size": "hidden", "rms_norm_eps": "eps", "attention_dropout": "dropout",
    "tie_word_embeddings": "tied", "num_attention_heads": "attention.heads",
    "num_key_value_heads": "attention.kv_heads",
}  # fmt: skip
LLAMA_DEFAULTS = {
    "attention_dropout": 0.0, "tie_word_embeddings": False, "rms_norm_eps": 1e-6, "num_key_value_heads": None,
}  # fmt: skip


_ON_TOKENS = {"tag": "ForTokenClassification", "span": "ForQuestionAnswering"}


def names(prefix: str, *on_tokens: str, language: str = "ForCausalLM", body: str = "Model") -> dict[str, str]:
    """The architectures of a model type and the heads they have, the usual one first; ``on_tokens``: "tag", "span"."""
    usual = {language: "language", "ForSequenceClassification": "classify", body: "pool"}
    usual |= {_ON_TOKENS[head]: head for head in on_tokens}
    return {f"{prefix}{name}": head for name, head in usual.items()}


def alone(config: Any) -> str | None:
    """What a file writes in the place of its table's prefix: a body alone has nothing around it."""
    return "" if config.head == "pool" else None


def answering(config: Any) -> str | None:
    """The same of Llama and Qwen, whose body bears GPT's name where answers are read off it."""
    return "transformer." if config.head == "span" else alone(config)


def values(
    data: Mapping[str, Any], where: str, fields: foreign.Fields, known: Mapping[str, str], activation: tuple[str, str],
    *understood: str,
) -> dict[str, Any]:  # fmt: skip
    """What a config.json says of any decoder. activation: its key, and what a missing one means; ``understood``: keys
    that the family reads by itself."""
    key, usual = activation
    found = fields.read(data, where, understood=frozenset({key, *understood}))
    head = shared.foreign_head(data, known, next(iter(known)), where)
    found |= {"activation": foreign.activation(data.get(key, usual), where)}
    named = foreign.labels(data, where) if head in ("classify", "tag") else ()
    return found | {"labels": named, "head": "score" if head == "classify" and len(named) == 1 else head}


def written(
    config: Any, fields: foreign.Fields, known: Mapping[str, str], activation: tuple[str, str]
) -> dict[str, Any]:
    """The same, written."""
    key, usual = activation
    unusual = foreign.ACTIVATIONS[usual] != config.activation
    made = fields.write(config) | {
        "architectures": [shared.architecture(known, "classify" if config.head == "score" else config.head)],
        key: foreign.foreign_activation(config.activation) if unusual else usual,
    }
    labels = config.labels or (("LABEL_0",) if config.head == "score" else ())
    return made | (foreign.with_labels(labels) if labels else {})


def fill_heads(found: dict[str, Any]) -> None:
    """What a file may leave out: as many key-value heads as heads, and heads that divide the width.

    Of a width that cannot be nothing is derived: it is to be named itself.
    """
    dim, count = found["dim"], found["attention.heads"]
    if found.get("attention.kv_heads") is None:
        found["attention.kv_heads"] = count
    if found.get("attention.head_dim") is None:
        found.pop("attention.head_dim", None)
        if type(dim) is int and type(count) is int and 0 < count <= dim <= shared.LARGEST:
            found["attention.head_dim"] = dim // count


def fill_hidden(found: dict[str, Any]) -> None:
    """What a file may leave out: a feed-forward layer four times as wide as the stream."""
    if found["hidden"] is None:
        found.pop("hidden", None)
        if type(found["dim"]) is int and 0 < found["dim"] <= shared.LARGEST // 4:
            found["hidden"] = 4 * found["dim"]


_KINDS = ("full_attention", "sliding_attention")


def local_layers(data: Mapping[str, Any], depth: int, where: str) -> tuple[int, ...] | None:
    """The layers with a window, as ``layer_types`` lists them; None where it is not there."""
    kinds = data.get("layer_types")
    if kinds is None:
        return None
    if not isinstance(kinds, list) or len(kinds) != depth or any(kind not in _KINDS for kind in kinds):
        raise BadFileError("weights.setting", where=where, key="layer_types", value=kinds, accepted=(depth, *_KINDS))
    return tuple(n for n, kind in enumerate(kinds) if kind == _KINDS[1])


def layer_types(config: Llama) -> list[str]:
    """``layer_types`` of a config."""
    return [_KINDS[number in config.attention.local] for number in range(config.depth)]


def _like(weight: Any) -> Any:
    import torch

    return torch.nn.Parameter(torch.zeros(weight.shape))
