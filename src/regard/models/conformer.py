"""The Conformer (Gulati et al. 2020): attention and convolution between two halves of a feed-forward layer. It hears a
waveform, as wav2vec 2.0 does (wav2vec2-conformer), or a log-mel spectrogram, as in the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from regard import embed, layers
from regard.config import at_least, between
from regard.models import encoder, shared, speech
from regard.ops import rotary
from regard.weights import foreign
from regard.weights.layouts import Reshaped, paired_columns
from regard.weights.table import Drop, rows, with_endings

READS = ("audio",)


@dataclass(frozen=True, kw_only=True)
class Config(speech.Speech):
    """positions: Transformer-XL's, rotary with ``base``, or none. kernel: frames that a convolution sees. norm: that
    within the convolution; "layer" does not depend on what else is in a batch. mels: features of a spectrogram, which
    two convolutions make four times shorter; None: it hears a waveform. book: what pretraining tells frames by.
    voice: how one is made a vector."""

    activation: str = "silu"
    positions: Literal["relative", "rotary", "none"] = "relative"
    base: float = 10_000.0
    kernel: int = 31
    norm: Literal["batch", "layer"] = "batch"
    convolution_dropout: float = 0.1
    mels: int | None = None
    book: speech.Codebook = field(default_factory=speech.Codebook)
    voice: speech.Voice = field(default_factory=speech.Voice)

    def check(self) -> Any:
        yield from super().check()
        yield from between(self, 1, shared.LARGEST, "kernel", "mels")
        yield from between(self, 0.0, 0.99, "convolution_dropout")
        yield from at_least(self, 1.0, "base")
        if self.kernel % 2 == 0:
            yield "kernel", "models.odd", {}
        if self.positions == "relative" and self.dim % 2:
            yield "dim", "models.multiple", {"of": 2}
        if self.positions == "rotary" and self.dim // self.heads % 2:
            yield "heads", "models.multiple", {"of": 2}
        if self.mels is not None and self.head == "contrast":
            yield "mels", "models.only_waves", {}


def build(config: Config) -> Any:
    hears = speech.waves(config, positions=None) if config.mels is None else spectrogram(config)
    stack = speech.stack(
        config, [block(config) for _ in range(config.depth)], layers.LayerNorm(config.dim, eps=config.eps)
    )
    return speech.model(config, hears, stack)


def spectrogram(config: Config) -> Any:
    """Two convolutions, each of which leaves out every other frame (section 2.2)."""
    import torch

    assert config.mels is not None
    made = [
        embed.Convolution(channels, config.dim, 3, stride=2, padding=1, activation=config.activation)
        for channels in (config.mels, config.dim)
    ]
    return embed.Frames(made, project=torch.nn.Linear(config.dim, config.dim), dropout=config.dropout)


def block(config: Config) -> Any:
    """Section 2.4, equation 1."""
    dim, rate = config.dim, config.convolution_dropout
    norm = layers.BatchNorm(dim) if config.norm == "batch" else layers.LayerNorm(dim)
    convolution = layers.Convolved(dim, config.kernel, activation=config.activation, norm=norm, bias=False)

    def half() -> Any:
        feed_forward = layers.FeedForward(dim, config.hidden, config.activation, dropout=config.hidden_dropout)
        return layers.Residual(sublayer=feed_forward, before=layers.LayerNorm(dim), scale=0.5, dropout=config.dropout)

    def added(sublayer: Any, rate: float) -> Any:
        return layers.Residual(sublayer=sublayer, before=layers.LayerNorm(dim), dropout=rate)

    return layers.Block(
        first=half(),
        attention=added(attention(config), config.attention_dropout),
        convolution=added(convolution, rate),
        last=half(),
        norm=layers.LayerNorm(dim),
    )


def attention(config: Config) -> Any:
    head_dim, rate = config.dim // config.heads, config.attention_dropout
    if config.positions == "rotary":
        projection = layers.TurnedFirst(
            dim=config.dim, heads=config.heads, kv_heads=config.heads, head_dim=head_dim, bias=True, output_bias=True
        )  # fmt: skip
        turned = layers.Rotary(rotary.frequencies(head_dim, config.base))
        return layers.Attention(projection, position=turned, dropout=rate)
    relative = layers.TransformerXLRelative(config.dim, config.heads, head_dim)
    position = relative if config.positions == "relative" else None
    return layers.Attention(encoder.projection(config), position=position, dropout=rate)


initialise = speech.initialise

_LAYER = "wav2vec2_conformer.encoder.layers.*"
TABLE = speech.table(
    "wav2vec2_conformer.",
    *with_endings(f"""
        wav2vec2_conformer.encoder.layer_norm            stack.norm
        {_LAYER}.ffn1_layer_norm                         stack.blocks.*.first_before
        {_LAYER}.ffn1.intermediate_dense                 stack.blocks.*.first.up
        {_LAYER}.ffn1.output_dense                       stack.blocks.*.first.down
        {_LAYER}.self_attn_layer_norm                    stack.blocks.*.attention_before
        {_LAYER}.self_attn.linear_q                      stack.blocks.*.attention.q
        {_LAYER}.self_attn.linear_k                      stack.blocks.*.attention.k
        {_LAYER}.self_attn.linear_v                      stack.blocks.*.attention.v
        {_LAYER}.self_attn.linear_out                    stack.blocks.*.attention.o
        {_LAYER}.conv_module.layer_norm                  stack.blocks.*.convolution_before
        {_LAYER}.conv_module.batch_norm                  stack.blocks.*.convolution.norm
        {_LAYER}.ffn2_layer_norm                         stack.blocks.*.last_before
        {_LAYER}.ffn2.intermediate_dense                 stack.blocks.*.last.up
        {_LAYER}.ffn2.output_dense                       stack.blocks.*.last.down
        {_LAYER}.final_layer_norm                        stack.blocks.*.norm
    """, ".weight", ".bias"),
    *rows(f"""
        {_LAYER}.conv_module.batch_norm.running_mean     stack.blocks.*.convolution.norm.mean
        {_LAYER}.conv_module.batch_norm.running_var      stack.blocks.*.convolution.norm.variance
        {_LAYER}.conv_module.depthwise_conv.weight       stack.blocks.*.convolution.depthwise.weight
        {_LAYER}.self_attn.pos_bias_u                    stack.blocks.*.attention.position.u
        {_LAYER}.self_attn.pos_bias_v                    stack.blocks.*.attention.position.v
    """),
    *rows(f"{_LAYER}.conv_module.pointwise_conv1.weight  stack.blocks.*.convolution.up.weight", Reshaped((2,))),
    *rows(f"{_LAYER}.conv_module.pointwise_conv2.weight  stack.blocks.*.convolution.down.weight", Reshaped((2,))),
    *rows(f"{_LAYER}.self_attn.linear_pos.weight         stack.blocks.*.attention.position.distance.weight",
          paired_columns),
    Drop(f"{_LAYER}.conv_module.batch_norm.num_batches_tracked"),
    # Stored and never used by the reference.
    Drop("wav2vec2_conformer.encoder.pos_conv_embed."),
    Drop("wav2vec2_conformer.encoder.embed_positions."),
)  # fmt: skip

FIELDS = speech.fields(
    same={
        "rotary_embedding_base": "base", "conv_depthwise_kernel_size": "kernel",
        "conformer_conv_dropout": "convolution_dropout", **speech.BOOK, **speech.VOICE,
    },
    default={
        "rotary_embedding_base": 10_000, "conv_depthwise_kernel_size": 31, "conformer_conv_dropout": 0.1,
        **speech.USUAL_BOOK, **speech.USUAL_VOICE,
    },
)  # fmt: skip
HEADS = speech.names("Wav2Vec2Conformer", PreTraining="contrast", AudioFrameClassification="tag", XVector="speaker")
_OWN = frozenset({"position_embeddings_type", "max_source_positions", "mels", "convolution_norm"})


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs. One that reads spectrograms is called "conformer", which is no name but ours."""
    values = speech.values(data, where, FIELDS, HEADS, _OWN)
    said = data.get("position_embeddings_type", "relative")
    if said not in ("relative", "rotary", None):
        shared.refuse("position_embeddings_type", said, ("relative", "rotary", None), where)
    own = data.get("model_type") == "conformer"
    for key in ("mels", "convolution_norm"):
        if key in data and not own:
            shared.refuse(key, data[key], (None,), where)
    values |= {"positions": said or "none", "mels": data.get("mels"), "norm": data.get("convolution_norm", "batch")}
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    own = config.mels is not None or config.norm != "batch"
    made = speech.written(config, FIELDS, HEADS, "conformer" if own else "wav2vec2-conformer")
    base = config.base
    made |= {"position_embeddings_type": None if config.positions == "none" else config.positions}
    made |= {"rotary_embedding_base": int(base) if base.is_integer() else base}
    return made | ({"mels": config.mels, "convolution_norm": config.norm} if own else {})
