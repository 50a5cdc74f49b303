"""Nyströmformer (Xiong et al. 2021): BERT with attention through landmarks, and a convolution over the values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from regard import layers
from regard.config import between
from regard.models import encoder, shared
from regard.weights import foreign
from regard.weights.table import rows


@dataclass(frozen=True, kw_only=True)
class Config(encoder.Encoder):
    """types: kinds of token. landmarks: means that stand for all tokens; where there are as many as ``segmented``, the
    length that the files name for it, attention is exact. kernel: tokens of the convolution.

    The weights of attention are not dropped, whatever ``attention_dropout`` says: nor are they in the reference.
    """

    vocab: int = 30_000
    context: int = 510
    activation: str = "gelu_tanh"
    eps: float = 1e-5
    types: int = 2
    landmarks: int = 64
    segmented: int = 64
    kernel: int = 65

    def check(self) -> Any:
        yield from super().check()
        yield from shared.check_sizes(self, "types", "landmarks", "segmented")
        yield from between(self, 1, shared.LARGEST, "kernel")
        if self.kernel % 2 == 0:
            yield "kernel", "models.odd", {}
        if self.segmented % self.landmarks:
            yield "segmented", "models.multiple", {"of": self.landmarks}


def build(config: Config) -> Any:
    marks = None if config.landmarks == config.segmented else config.landmarks

    def attention() -> Any:
        return layers.LandmarkAttention(encoder.projection(config), landmarks=marks, kernel=config.kernel)

    tokens = encoder.tokens(config, types=config.types, offset=2)
    stack = layers.Stack([encoder.block(config, attention()) for _ in range(config.depth)])
    # A choice is made through a layer of its own, a class through the activation of the stack.
    pooler = "relu" if config.head == "choice" else config.activation
    head = encoder.head(config, tokens, transform=config.activation, pooler=pooler, pooled=None)
    return shared.transformer(config, tokens, stack, head, causal=False)


initialise = encoder.initialise

TABLE = encoder.table(
    "nystromformer.",
    *encoder.body("nystromformer."),
    *rows("nystromformer.encoder.layer.*.attention.self.conv.weight   stack.blocks.*.attention.conv.weight"),
    *encoder.ends("""
        cls.predictions.transform.dense          head.transform.linear
        cls.predictions.transform.LayerNorm      head.transform.norm
        pre_classifier                           head.pooler.dense
        classifier.dense                         head.pool.dense
        classifier.out_proj                      head.out
        classifier                               head.tag
        classifier                               head.choice
        qa_outputs                               head.span
    """),
    *rows("cls.predictions.bias                  head.bias"),
    *encoder.tied("nystromformer.", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias",
                  "cls.predictions.bias"),
)  # fmt: skip

FIELDS = encoder.fields(
    same={
        "type_vocab_size": "types", "num_landmarks": "landmarks", "segment_means_seq_len": "segmented",
        "conv_kernel_size": "kernel",
    },
    only={"inv_coeff_init_option": (False,)},
    default={
        "type_vocab_size": 2, "num_landmarks": 64, "segment_means_seq_len": 64, "conv_kernel_size": 65,
        "layer_norm_eps": 1e-5, "max_position_embeddings": 510,
    },
)  # fmt: skip
HEADS = encoder.names("Nystromformer")


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    return foreign.config(
        Config, encoder.values(data, where, FIELDS, HEADS, activation="gelu_new"), where, FIELDS
    )  # fmt: skip


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return encoder.written(config, FIELDS, HEADS, "nystromformer")
