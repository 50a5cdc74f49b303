"""wav2vec 2.0 (Baevski et al. 2020), XLS-R and MMS: an encoder of waveforms that learns from sound alone, by telling
hidden frames from others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from regard import layers
from regard.config import between
from regard.models import encoder, shared, speech
from regard.weights import foreign
from regard.weights.table import with_endings

READS = ("audio",)


@dataclass(frozen=True, kw_only=True)
class Config(speech.Speech):
    """normed_before: the stream is normed before each sublayer, not after it. beside: width of the small layers that
    each block adds for a language (MMS, Pratap et al. 2023). book: what pretraining tells frames by. voice: how one
    is made a vector."""

    normed_before: bool = False
    beside: int | None = None
    book: speech.Codebook = field(default_factory=speech.Codebook)
    voice: speech.Voice = field(default_factory=speech.Voice)

    def check(self) -> Any:
        yield from super().check()
        yield from speech.check_positions(self)
        yield from between(self, 1, shared.LARGEST, "beside")
        if self.beside is not None and not self.normed_before:
            yield "beside", "models.beside", {}


def build(config: Config) -> Any:
    return built(config, layers.ConvolutionalPositions(
        config.dim, config.position_kernel, config.position_groups, activation=config.first.activation
    ))  # fmt: skip


def built(config: Any, positions: Any, *, normed: bool = True, beside: int | None = None) -> Any:
    """The model on these positions; ``normed``: the frames are, before they are projected."""
    before = config.normed_before
    norm = layers.LayerNorm(config.dim, eps=config.eps)
    waves = speech.waves(config, positions=positions, normed=normed, after=None if before else norm)
    blocks = [block(config) for _ in range(config.depth)]
    stack = speech.stack(config, blocks, norm if before else None)
    return speech.model(config, waves, stack)


def block(config: Any) -> Any:
    """Attention, then a feed-forward layer, normed before or after; perhaps a small one of its language's own."""

    def added(sublayer: Any) -> Any:
        norm: Any = {"before" if config.normed_before else "then": layers.LayerNorm(config.dim, eps=config.eps)}
        return layers.Residual(sublayer=sublayer, dropout=config.dropout, **norm)

    attention = layers.Attention(encoder.projection(config), dropout=config.attention_dropout)
    feed_forward = layers.FeedForward(config.dim, config.hidden, config.activation, dropout=config.hidden_dropout)
    language: dict[str, Any] = {}
    if getattr(config, "beside", None) is not None:
        small = layers.FeedForward(config.dim, config.beside, "relu")
        language = {"language": layers.Residual(sublayer=small, before=layers.LayerNorm(config.dim))}
    return layers.Block(attention=added(attention), feed_forward=added(feed_forward), **language)


initialise = speech.initialise


def stacked(prefix: str) -> Any:
    """The rows of a stack of such blocks."""
    return (
        *with_endings(f"""
            {prefix}encoder.layer_norm                                    embed.after
            {prefix}encoder.layer_norm                                    stack.norm
            {prefix}encoder.layers.*.attention.q_proj                     stack.blocks.*.attention.q
            {prefix}encoder.layers.*.attention.k_proj                     stack.blocks.*.attention.k
            {prefix}encoder.layers.*.attention.v_proj                     stack.blocks.*.attention.v
            {prefix}encoder.layers.*.attention.out_proj                   stack.blocks.*.attention.o
            {prefix}encoder.layers.*.layer_norm                           stack.blocks.*.attention_then
            {prefix}encoder.layers.*.layer_norm                           stack.blocks.*.attention_before
            {prefix}encoder.layers.*.feed_forward.intermediate_dense      stack.blocks.*.feed_forward.up
            {prefix}encoder.layers.*.feed_forward.output_dense            stack.blocks.*.feed_forward.down
            {prefix}encoder.layers.*.final_layer_norm                     stack.blocks.*.feed_forward_then
            {prefix}encoder.layers.*.final_layer_norm                     stack.blocks.*.feed_forward_before
            {prefix}encoder.layers.*.adapter_layer.norm                   stack.blocks.*.language_before
            {prefix}encoder.layers.*.adapter_layer.linear_1               stack.blocks.*.language.up
            {prefix}encoder.layers.*.adapter_layer.linear_2               stack.blocks.*.language.down
        """, ".weight", ".bias"),
    )  # fmt: skip


TABLE = speech.table("wav2vec2.", *stacked("wav2vec2."))

FIELDS = speech.fields(
    same={"do_stable_layer_norm": "normed_before", "adapter_attn_dim": "beside", **speech.BOOK, **speech.VOICE},
    default={"do_stable_layer_norm": False, "adapter_attn_dim": None, **speech.USUAL_BOOK, **speech.USUAL_VOICE},
)
HEADS = speech.names("Wav2Vec2", PreTraining="contrast", AudioFrameClassification="tag", XVector="speaker")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = speech.values(data, where, FIELDS, HEADS, frozenset())
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return speech.written(config, FIELDS, HEADS, "wav2vec2")
