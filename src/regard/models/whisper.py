"""Whisper (Radford et al. 2022): speech in many languages to text, its translation, its language and its times.

Two convolutions over a log-mel spectrogram of 30 seconds, sinusoids, then the pre-norm Transformer of BART's kin with
keys that have no bias.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from regard import embed, layers
from regard.config import Problem
from regard.models import seq2seq, shared, speech
from regard.weights import foreign
from regard.weights.table import rows, with_endings

READS = ("audio", "text")
KERNEL, STRIDE = 3, 2


@dataclass(frozen=True, kw_only=True)
class Config(seq2seq.Seq2Seq):
    """Sizes default to those of the tiny model. mels: bands of the spectrogram. frames: the most that are left of it
    after the convolutions. suppressed: tokens that are never written when speech is transcribed (notes, brackets);
    suppressed_first: those that no text begins with. labels: classes that a head without a decoder
    reads off frames of ``width`` features; mixed: these are a learned average of all layers."""

    vocab: int = 51_865
    mels: int = 80
    frames: int = 1500
    context: int = 448
    dim: int = 384
    depth: int = 4
    decoder_depth: int = 4
    heads: int = 6
    decoder_heads: int = 6
    hidden: int = 1536
    decoder_hidden: int = 1536
    dropout: float = 0.0
    start: int = 50_258
    pad: int = 50_257
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = (220, 50_257)
    mixed: bool = False
    width: int = 256

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        yield from shared.check_sizes(self, "mels", "frames", "width")
        if self.dim % 2 or self.dim < 4:
            yield "dim", "models.even", {}
        for name in ("suppressed", "suppressed_first"):
            if not all(0 <= token < self.vocab for token in getattr(self, name)):
                yield name, "models.tokens_in_vocab", {"vocab": self.vocab}

    @property
    def reads(self) -> tuple[str, ...]:
        """One that classifies writes no text."""
        return ("audio",) if self.head == "classify" else READS


def build(config: Config) -> Any:
    if config.head == "classify":
        return _classifier(config)

    def tokens() -> Any:
        positions = embed.Learned(config.context, config.dim)
        return embed.Tokens(config.vocab, config.dim, positions=positions, dropout=config.dropout)

    return seq2seq.build(
        config, tokens, "before", bias=False, source=_frames(config), projection=_unbiased_keys
    )  # fmt: skip


def _classifier(config: Config) -> Any:
    """The encoder alone, under a head."""

    def block() -> Any:
        attention = layers.Attention(_unbiased_keys(config, config.heads), dropout=config.attention_dropout)
        return seq2seq.encoder_block(config, attention, "before")

    kind = layers.MixedNormedStack if config.mixed else layers.Stack
    stack = kind([block() for _ in range(config.depth)], norm=layers.LayerNorm(config.dim))
    return shared.transformer(config, _frames(config), stack, speech.head(config), causal=False)


def _frames(config: Config) -> Any:
    positions = embed.Learned(config.frames, config.dim)
    positions.weight.requires_grad_(False)  # sinusoids, stored as they were rounded when the model was trained
    convolutions = [
        embed.Convolution(config.mels, config.dim, KERNEL, padding=1),
        embed.Convolution(config.dim, config.dim, KERNEL, stride=STRIDE, padding=1),
    ]
    return embed.Frames(convolutions, positions=positions, dropout=config.dropout)


def _unbiased_keys(config: Config, count: int) -> Any:
    return layers.KeysUnbiased(
        dim=config.dim, heads=count, kv_heads=count, head_dim=config.dim // count, bias=True, output_bias=True
    )


def initialise(model: Any, key: Any) -> Any:
    """Normal 0.02, and the encoder's sinusoids."""
    import torch

    from regard.ops import rotary

    model = seq2seq.initialise(model, key)
    table = (model.embed if model.config.head == "classify" else model.source_embed).positions.weight
    angles = torch.arange(len(table)).unsqueeze(1) * rotary.between(table.shape[1], 10_000.0)
    with torch.no_grad():
        table.copy_(torch.cat((angles.sin(), angles.cos()), 1))
    return model


def _classifies(config: Config) -> bool:
    return config.head == "classify"


# A classifier's encoder is all there is of it: it stands where elsewhere the decoder does.
_ALONE = (
    *rows("""
        encoder.embed_positions.weight               embed.positions.weight
        layer_weights                                stack.mix
    """),
    *with_endings("""
        encoder.conv1                                embed.convolutions.0.conv
        encoder.conv2                                embed.convolutions.1.conv
        encoder.layers.*.self_attn.q_proj            stack.blocks.*.attention.q
        encoder.layers.*.self_attn.k_proj            stack.blocks.*.attention.k
        encoder.layers.*.self_attn.v_proj            stack.blocks.*.attention.v
        encoder.layers.*.self_attn.out_proj          stack.blocks.*.attention.o
        encoder.layers.*.self_attn_layer_norm        stack.blocks.*.attention_before
        encoder.layers.*.fc1                         stack.blocks.*.feed_forward.up
        encoder.layers.*.fc2                         stack.blocks.*.feed_forward.down
        encoder.layers.*.final_layer_norm            stack.blocks.*.feed_forward_before
        encoder.layer_norm                           stack.norm
        projector                                    head.pool.transform
        classifier                                   head.out
    """, ".weight", ".bias"),
)  # fmt: skip
TABLE = seq2seq.perceiving(
    "before",
    *(replace(one, when=_classifies) for one in _ALONE),
    *seq2seq.LEARNED,
    *with_endings("model.encoder.conv1  source_embed.convolutions.0.conv", ".weight", ".bias"),
    *with_endings("model.encoder.conv2  source_embed.convolutions.1.conv", ".weight", ".bias"),
    vocabulary="proj_out.weight",
)

_FIELDS = seq2seq.fields(
    only={"scale_embedding": (False,), "add_bias_logits": (False,)},
    same={
        "num_mel_bins": "mels", "max_source_positions": "frames", "max_target_positions": "context",
        "use_weighted_layer_sum": "mixed", "classifier_proj_size": "width",
    },
    default={
        "decoder_start_token_id": 50_257, "pad_token_id": 50_256, "dropout": 0.0, "use_weighted_layer_sum": False,
        "classifier_proj_size": 256,
    },
)  # fmt: skip
FIELDS = replace(
    _FIELDS,
    only={key: values for key, values in _FIELDS.only.items() if key != "add_bias_logits"},
    harmless=_FIELDS.harmless
    | {"median_filter_width", "forced_decoder_ids"}
    | {"apply_spec_augment", "mask_time_prob", "mask_time_length", "mask_time_min_masks", "mask_feature_prob"}
    | {"mask_feature_length", "mask_feature_min_masks"},
)
HEADS = {
    "WhisperForConditionalGeneration": "language",
    "WhisperModel": "body",
    "WhisperForAudioClassification": "classify",
}
_LISTS = {"suppress_tokens": "suppressed", "begin_suppress_tokens": "suppressed_first"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = seq2seq.values(data, where, FIELDS, HEADS)
    values |= {ours: tuple(data.get(theirs) or ()) for theirs, ours in _LISTS.items()}
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    lists = {theirs: list(getattr(config, ours)) or None for theirs, ours in _LISTS.items()}
    return seq2seq.written(config, FIELDS, HEADS, "whisper") | lists
