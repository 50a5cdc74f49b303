"""SpeechT5 (Ao et al. 2021), text to speech: a Transformer whose target is a spectrogram, told who speaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, verify
from regard.models import shared
from regard.weights import foreign
from regard.weights.layouts import flipped
from regard.weights.table import Drop, Table, rows, with_endings

READS = ("text", "spectrogram")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes default to the published model. depth, heads and hidden are the encoder's, decoder_* the decoder's.

    context: characters of a text; frames: of a spectrogram of ``mels`` features. together: frames said at once.
    furthest: distance from which on characters are not told apart. speaker: numbers that make a voice. first_*: the
    layers that frames pass before the decoder, and last_* the convolutions behind it. position_dropout: that of what
    the decoder reads.
    """

    vocab: int = 81
    context: int = 450
    frames: int = 4000
    dim: int = 768
    depth: int = 12
    decoder_depth: int = 6
    heads: int = 12
    decoder_heads: int = 12
    hidden: int = 3072
    decoder_hidden: int = 3072
    activation: str = "gelu"
    eps: float = 1e-5
    dropout: float = 0.1
    position_dropout: float = 0.1
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    furthest: int = 160
    mels: int = 80
    together: int = 2
    speaker: int = 512
    first_depth: int = 2
    first_width: int = 256
    first_dropout: float = 0.5
    last_depth: int = 5
    last_width: int = 256
    last_kernel: int = 5
    last_dropout: float = 0.5
    start: int = 2
    pad: int = 1
    head: Literal["spectrum"] = "spectrum"

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(
            self, "vocab", "context", "frames", "dim", "depth", "heads", "hidden", "decoder_hidden", "furthest",
            "mels", "together", "speaker", "first_width", "last_width", "last_kernel",
        )  # fmt: skip
        yield from between(self, 1, shared.DEEPEST, "decoder_depth")
        yield from between(self, 0, shared.DEEPEST, "first_depth", "last_depth")
        yield from between(self, 1, shared.MOST_HEADS, "decoder_heads")
        yield from between(self, 0, self.vocab - 1, "start", "pad")
        rates = ("dropout", "position_dropout", "hidden_dropout", "attention_dropout", "first_dropout", "last_dropout")
        yield from between(self, 0.0, 0.99, *rates)
        yield from at_least(self, 0.0, "eps")
        yield from shared.check_heads(self)
        if self.decoder_heads > 0 and self.dim % self.decoder_heads:
            yield "decoder_heads", "models.heads", {"dim": self.dim}
        if self.dim % 2:
            yield "dim", "models.even", {}
        if self.last_kernel % 2 == 0:
            yield "last_kernel", "models.odd", {}
        yield from shared.check_activation(self)


def build(config: Config) -> Any:
    from regard.models.transformer import EncoderDecoder

    dim = config.dim
    source = embed.Tokens(
        config.vocab,
        dim,
        positions=embed.ScaledSinusoidal(dim),
        norm=layers.LayerNorm(dim, eps=config.eps),
        dropout=config.dropout,
    )
    target = embed.Spectra(
        config.mels,
        config.first_width,
        config.first_depth,
        dim,
        speaker=config.speaker,
        inside=config.first_dropout,
        dropout=config.position_dropout,
    )
    # Told apart are ``furthest`` distances on one side, one less on the other, and none.
    position = layers.ShawRelative(dim // config.heads, furthest=config.furthest, behind=config.furthest - 1)
    head = heads.Spectrum(
        dim,
        config.mels,
        config.together,
        depth=config.last_depth,
        width=config.last_width,
        kernel=config.last_kernel,
        dropout=config.last_dropout,
    )
    return EncoderDecoder(
        config,
        source_embed=source,
        encoder=layers.Stack([_encoder_block(config, position) for _ in range(config.depth)]),
        target_embed=target,
        stack=layers.Stack([_decoder_block(config) for _ in range(config.decoder_depth)]),
        head=head,
    )


def _encoder_block(config: Config, position: Any) -> Any:
    attention = layers.Attention(
        _projection(config, config.heads), position=position, dropout=config.attention_dropout
    )  # fmt: skip
    return layers.Block(
        attention=_added(config, attention), feed_forward=_added(config, _feed_forward(config, config.hidden))
    )  # fmt: skip


def _decoder_block(config: Config) -> Any:
    made, rate = _projection(config, config.decoder_heads), config.attention_dropout
    return layers.Block(
        attention=_added(config, layers.Attention(made, dropout=rate)),
        cross_attention=_added(config, layers.CrossAttention(made, dropout=rate)),
        feed_forward=_added(config, _feed_forward(config, config.decoder_hidden)),
    )


def _projection(config: Config, count: int) -> Any:
    return layers.Grouped(
        dim=config.dim, heads=count, kv_heads=count, head_dim=config.dim // count, bias=True, output_bias=True
    )  # fmt: skip


def _feed_forward(config: Config, hidden: int) -> Any:
    return layers.FeedForward(config.dim, hidden, config.activation, dropout=config.hidden_dropout)


def _added(config: Config, sublayer: Any) -> Any:
    return layers.Residual(
        sublayer=sublayer, then=layers.LayerNorm(config.dim, eps=config.eps), dropout=config.dropout
    )  # fmt: skip


def initialise(model: Any, key: Any) -> Any:
    """Normal 0.02 throughout (the authors' code)."""
    from regard.layers.initial import initialise, normal

    return initialise(model, key, normal(0.02))


_ENCODER, _DECODER = "speecht5.encoder.wrapped_encoder", "speecht5.decoder.wrapped_decoder"
TABLE = Table(
    rows=(
        *rows("""
            speecht5.encoder.prenet.embed_tokens.weight           source_embed.tokens.weight
            speecht5.encoder.prenet.encode_positions.alpha        source_embed.positions.scale
            speecht5.decoder.prenet.encode_positions.alpha        target_embed.positions.scale
            speech_decoder_postnet.layers.*.conv.weight           head.convolutions.*.weight
            speech_decoder_postnet.layers.*.batch_norm.running_mean   head.norms.*.mean
            speech_decoder_postnet.layers.*.batch_norm.running_var    head.norms.*.variance
        """),
        *rows(f"{_ENCODER}.embed_positions.pe_k.weight  encoder.blocks.0.attention.position.keys", flipped),
        *with_endings(f"""
            {_ENCODER}.layer_norm                                 source_embed.norm
            {_ENCODER}.layers.*.attention.q_proj                  encoder.blocks.*.attention.q
            {_ENCODER}.layers.*.attention.k_proj                  encoder.blocks.*.attention.k
            {_ENCODER}.layers.*.attention.v_proj                  encoder.blocks.*.attention.v
            {_ENCODER}.layers.*.attention.out_proj                encoder.blocks.*.attention.o
            {_ENCODER}.layers.*.layer_norm                        encoder.blocks.*.attention_then
            {_ENCODER}.layers.*.feed_forward.intermediate_dense   encoder.blocks.*.feed_forward.up
            {_ENCODER}.layers.*.feed_forward.output_dense         encoder.blocks.*.feed_forward.down
            {_ENCODER}.layers.*.final_layer_norm                  encoder.blocks.*.feed_forward_then
            speecht5.decoder.prenet.layers.*                      target_embed.layers.*
            speecht5.decoder.prenet.final_layer                   target_embed.final
            speecht5.decoder.prenet.speaker_embeds_layer          target_embed.speaker
            {_DECODER}.layers.*.self_attn.q_proj                  stack.blocks.*.attention.q
            {_DECODER}.layers.*.self_attn.k_proj                  stack.blocks.*.attention.k
            {_DECODER}.layers.*.self_attn.v_proj                  stack.blocks.*.attention.v
            {_DECODER}.layers.*.self_attn.out_proj                stack.blocks.*.attention.o
            {_DECODER}.layers.*.self_attn_layer_norm              stack.blocks.*.attention_then
            {_DECODER}.layers.*.encoder_attn.q_proj               stack.blocks.*.cross_attention.q
            {_DECODER}.layers.*.encoder_attn.k_proj               stack.blocks.*.cross_attention.k
            {_DECODER}.layers.*.encoder_attn.v_proj               stack.blocks.*.cross_attention.v
            {_DECODER}.layers.*.encoder_attn.out_proj             stack.blocks.*.cross_attention.o
            {_DECODER}.layers.*.encoder_attn_layer_norm           stack.blocks.*.cross_attention_then
            {_DECODER}.layers.*.feed_forward.intermediate_dense   stack.blocks.*.feed_forward.up
            {_DECODER}.layers.*.feed_forward.output_dense         stack.blocks.*.feed_forward.down
            {_DECODER}.layers.*.final_layer_norm                  stack.blocks.*.feed_forward_then
            speech_decoder_postnet.feat_out                       head.frames
            speech_decoder_postnet.prob_out                       head.stops
            speech_decoder_postnet.layers.*.batch_norm            head.norms.*
        """, ".weight", ".bias"),
        # Computed positions, which older files hold, and how many batches a norm has seen.
        Drop("speecht5.encoder.prenet.encode_positions.pe"),
        Drop("speecht5.decoder.prenet.encode_positions.pe"),
        Drop("speech_decoder_postnet.layers.*.batch_norm.num_batches_tracked"),
    ),
)  # fmt: skip

FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_text_positions": "context", "max_speech_positions": "frames",
        "hidden_size": "dim", "encoder_layers": "depth", "decoder_layers": "decoder_depth",
        "encoder_attention_heads": "heads", "decoder_attention_heads": "decoder_heads", "encoder_ffn_dim": "hidden",
        "decoder_ffn_dim": "decoder_hidden", "layer_norm_eps": "eps", "hidden_dropout": "dropout",
        "positional_dropout": "position_dropout", "activation_dropout": "hidden_dropout",
        "attention_dropout": "attention_dropout", "encoder_max_relative_position": "furthest", "num_mel_bins": "mels",
        "reduction_factor": "together", "speaker_embedding_dim": "speaker",
        "speech_decoder_prenet_layers": "first_depth", "speech_decoder_prenet_units": "first_width",
        "speech_decoder_prenet_dropout": "first_dropout", "speech_decoder_postnet_layers": "last_depth",
        "speech_decoder_postnet_units": "last_width", "speech_decoder_postnet_kernel": "last_kernel",
        "speech_decoder_postnet_dropout": "last_dropout", "decoder_start_token_id": "start", "pad_token_id": "pad",
    },
    only={"is_encoder_decoder": (True, False)},
    # Those of what hears speech, which one that speaks does not have, and of its training.
    harmless=frozenset({
        "conv_dim", "conv_kernel", "conv_stride", "conv_bias", "feat_extract_norm", "feat_extract_activation",
        "feat_proj_dropout", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups", "num_feat_extract_layers",
        "apply_spec_augment", "mask_time_prob", "mask_time_length", "mask_time_min_masks", "mask_feature_prob",
        "mask_feature_length", "mask_feature_min_masks", "scale_embedding", "encoder_layerdrop", "decoder_layerdrop",
        "use_guided_attention_loss", "guided_attention_loss_num_heads", "guided_attention_loss_sigma",
        "guided_attention_loss_scale", "tie_word_embeddings", "max_length",
    }),
    default={
        "vocab_size": 81, "max_text_positions": 450, "max_speech_positions": 4000, "hidden_size": 768,
        "encoder_layers": 12, "decoder_layers": 6, "encoder_attention_heads": 12, "decoder_attention_heads": 12,
        "encoder_ffn_dim": 3072, "decoder_ffn_dim": 3072, "layer_norm_eps": 1e-5, "hidden_dropout": 0.1,
        "positional_dropout": 0.1, "activation_dropout": 0.1, "attention_dropout": 0.1,
        "encoder_max_relative_position": 160, "num_mel_bins": 80, "reduction_factor": 2, "speaker_embedding_dim": 512,
        "speech_decoder_prenet_layers": 2, "speech_decoder_prenet_units": 256, "speech_decoder_prenet_dropout": 0.5,
        "speech_decoder_postnet_layers": 5, "speech_decoder_postnet_units": 256, "speech_decoder_postnet_kernel": 5,
        "speech_decoder_postnet_dropout": 0.5, "decoder_start_token_id": 2, "pad_token_id": 1,
    },
)  # fmt: skip
HEADS = {"SpeechT5ForTextToSpeech": "spectrum"}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs. Speech to text and speech to speech are refused by name."""
    shared.foreign_head(data, HEADS, "SpeechT5Model", where)
    values = FIELDS.read(data, where, understood=frozenset({"hidden_act"}))
    values["activation"] = foreign.activation(data.get("hidden_act", "gelu"), where)
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return FIELDS.write(config) | {
        "model_type": "speecht5",
        "architectures": ["SpeechT5ForTextToSpeech"],
        "hidden_act": foreign.foreign_activation(config.activation),
    }
