"""What wav2vec 2.0 and its kin share: what hears the waveform, the heads, and how their files name both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, verify
from regard.models import shared
from regard.weights import foreign
from regard.weights.layouts import unfolded
from regard.weights.table import Drop, Row, Table, WeightNorm, row, rows, with_endings

Head = Literal["encoder", "ctc", "classify", "tag", "contrast", "speaker"]
LABELLED = ("classify", "tag", "speaker")
SHORTENED = ("encoder", "ctc")  # heads that an adapter may stand before
LONGEST = 1 << 24  # samples: what is heard at a time has no positions that could run out
MOST_CONVOLUTIONS = 64
ADAPTED = 3  # frames that a convolution after the stack sees: of fewer than that there is always one


@dataclass(frozen=True, kw_only=True)
class Convolutions:
    """What hears the waveform, from the first to the last. norm: "group", of the first one's channels over time;
    "layer", of every frame of each."""

    channels: tuple[int, ...] = (512,) * 7
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    bias: bool = False
    norm: Literal["group", "layer"] = "group"
    activation: str = "gelu"

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from check_convolutions(self, "channels", "kernels", "strides")
        yield from shared.check_activation(self)


@dataclass(frozen=True, kw_only=True)
class Masking:
    """What training hides: shares of the frames and of the features, in spans, and how many at least. on: whether it
    does."""

    on: bool = True
    time: float = 0.05
    time_length: int = 10
    time_least: int = 2
    features: float = 0.0
    feature_length: int = 10
    feature_least: int = 0

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 0.0, 1.0, "time", "features")
        yield from between(self, 1, shared.LARGEST, "time_length", "feature_length")
        yield from between(self, 0, shared.LARGEST, "time_least", "feature_least")


@dataclass(frozen=True, kw_only=True)
class Codebook:
    """What pretraining tells hidden frames by: books of codewords, the width in which they are compared, how many
    others there are to choose from, what divides the cosines, and the weight of unused codewords."""

    groups: int = 2
    entries: int = 320
    dim: int = 256
    width: int = 256
    others: int = 100
    temperature: float = 0.1
    diversity: float = 0.1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "groups", "entries", "dim", "width", "others")
        yield from between(self, 0.0, 0.99, "dropout")
        if self.groups > 0 and self.dim % self.groups:
            yield "dim", "models.multiple", {"of": self.groups}
        if self.temperature <= 0:
            yield "temperature", "config.at_least", {"least": 0}


@dataclass(frozen=True, kw_only=True)
class Voice:
    """How a voice is made a vector of ``width`` numbers: convolutions over frames, unpadded."""

    channels: tuple[int, ...] = (512, 512, 512, 512, 1500)
    kernels: tuple[int, ...] = (5, 3, 3, 1, 1)
    dilations: tuple[int, ...] = (1, 2, 3, 1, 1)
    width: int = 512

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from check_convolutions(self, "channels", "kernels", "dilations")
        yield from shared.check_sizes(self, "width")


def check_convolutions(config: Any, *names: str) -> Iterator[Problem]:
    """As many of each as of the first, and sizes that can be."""
    count = len(getattr(config, names[0]))
    for name in names:
        sizes = getattr(config, name)
        if not 0 < len(sizes) <= MOST_CONVOLUTIONS or len(sizes) != count:
            yield name, "models.convolutions", {"count": count, "most": MOST_CONVOLUTIONS}
        elif not all(1 <= size <= shared.LARGEST for size in sizes):
            yield name, "config.between", {"least": 1, "most": shared.LARGEST}


@dataclass(frozen=True, kw_only=True)
class Speech:
    """Sizes default to the base model. first: what hears the waveform; position_kernel, position_groups: the
    convolution that stands for positions. dropout is that of every addition, hidden_dropout that within the
    feed-forward layers, first_dropout that of the projected frames, head_dropout that before the letters. blank: the
    letter that is none. shorter: how many convolutions, each of ``shorter_stride``, stand after the stack (the
    reference's adapter), of ``shorter_width`` features, None for as many as the stack has. mixed: a head that
    classifies reads a learned average of all layers. width: of the frames that are averaged.
    """

    vocab: int = 32
    dim: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    activation: str = "gelu"
    eps: float = 1e-5
    dropout: float = 0.1
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    first_dropout: float = 0.0
    head_dropout: float = 0.1
    first: Convolutions = field(default_factory=Convolutions)
    position_kernel: int = 128
    position_groups: int = 16
    masking: Masking = field(default_factory=Masking)
    blank: int = 0
    shorter: int = 0
    shorter_stride: int = 2
    shorter_width: int | None = None
    mixed: bool = False
    width: int = 256
    head: Head = "encoder"
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        verify(self)

    @property
    def context(self) -> int:
        """Samples that can be heard at a time."""
        return LONGEST

    def check(self) -> Iterator[Problem]:
        sizes = ("vocab", "dim", "depth", "heads", "hidden", "position_kernel", "position_groups", "width")
        yield from shared.check_sizes(self, *sizes)
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0, MOST_CONVOLUTIONS, "shorter")
        yield from between(self, 1, shared.LARGEST, "shorter_stride", "shorter_width")
        if self.shorter and self.head not in SHORTENED:
            yield "shorter", "models.shorter", {}
        yield from between(self, 0, self.vocab - 1, "blank")
        rates = ("dropout", "hidden_dropout", "attention_dropout", "first_dropout", "head_dropout")
        yield from between(self, 0.0, 0.99, *rates)
        yield from shared.check_heads(self)
        yield from shared.check_head(self)
        yield from shared.check_activation(self)


def check_positions(config: Any) -> Iterator[Problem]:
    """The convolution that stands for positions goes by groups of features."""
    if config.position_groups > 0 and config.dim % config.position_groups:
        yield "position_groups", "models.divides", {"of": config.dim}


def waves(config: Any, *, positions: Any, normed: bool = True, after: Any = None, rate: float | None = None) -> Any:
    """What hears the waveform. normed: the frames are, before they are projected. after: a norm of frames and
    positions; rate: dropout of the result."""
    import torch

    given = zip(config.first.channels, config.first.kernels, config.first.strides, strict=True)
    made, channels = [], 1
    for number, (out, kernel, stride) in enumerate(given):
        norm = None
        if config.first.norm == "layer":
            norm = layers.ChannelNorm(out)
        elif number == 0:
            norm = layers.TimeNorm(out)
        bias, activation = config.first.bias, config.first.activation
        made.append(
            embed.Convolution(channels, out, kernel, stride=stride, bias=bias, activation=activation, norm=norm)
        )
        channels = out
    hides = config.masking
    learned = hides.time > 0 or hides.features > 0
    return embed.Waves(
        made,
        norm=layers.LayerNorm(channels, eps=config.eps) if normed else None,
        project=torch.nn.Linear(channels, config.dim),
        positions=positions,
        mask=config.dim if learned else None,
        time=_spans(hides.on, hides.time, hides.time_length, hides.time_least),
        features=_spans(hides.on, hides.features, hides.feature_length, hides.feature_least),
        after=after,
        inside=config.first_dropout,
        dropout=config.dropout if rate is None else rate,
    )


def _spans(on: bool, share: float, length: int, least: int) -> Any:
    return embed.Spans(share=share, length=length, least=least) if on and share > 0 else None


def stack(config: Any, blocks: Any, norm: Any) -> Any:
    """The layers, or, for a head that reads all of them, their average."""
    if config.mixed and config.head in LABELLED:
        return layers.MixedStack(blocks, norm=norm)
    return layers.Stack(blocks, norm=norm)


def model(config: Any, waves: Any, stack: Any) -> Any:
    """The model of these, with what makes the stack's output shorter."""
    import torch

    if not config.shorter:
        return shared.transformer(config, waves, stack, head(config), causal=False)
    from regard.models.transformer import Shortened

    width, narrow = config.shorter_width or config.dim, None
    if width != config.dim:
        narrow = torch.nn.Sequential(torch.nn.Linear(config.dim, width), layers.LayerNorm(width))
    made = [
        embed.Convolution(width, 2 * width, ADAPTED, stride=config.shorter_stride, padding=1, activation="glu")
        for _ in range(config.shorter)
    ]
    return Shortened(
        config, embed=waves, stack=stack, head=head(config, width), shorter=embed.Frames(made), narrow=narrow
    )  # fmt: skip


def head(config: Any, width: int | None = None) -> Any:
    """The head that the config names, on what is ``width`` wide; None: the model's width."""
    import torch

    dim, count = width or config.dim, len(config.labels)

    def classify() -> Any:
        pool = heads.Pool(dim, "mean", transform=torch.nn.Linear(dim, config.width))
        return heads.Classify(pool, config.width, count)

    return {
        "encoder": lambda: heads.Pool(dim, "mean"),
        "ctc": lambda: heads.CTC(dim, config.vocab, blank=config.blank, dropout=config.head_dropout),
        "classify": classify,
        "tag": lambda: heads.Tag(dim, count),
        "contrast": lambda: contrast(config),
        "speaker": lambda: _speaker(config),
    }[config.head]()


def _speaker(config: Any) -> Any:
    own = config.voice
    sizes = {"width": own.width, "speakers": len(config.labels)}
    return heads.Speaker(config.dim, own.channels, own.kernels, own.dilations, **sizes)


def contrast(config: Any) -> Any:
    from regard.heads.contrast import Quantizer

    book = config.book
    quantizer = Quantizer(config.first.channels[-1], book.groups, book.entries, book.dim)
    return heads.Contrast(
        config.dim,
        quantizer,
        book.dim,
        book.width,
        temperature=book.temperature,
        diversity=book.diversity,
        dropout=book.dropout,
    )


def initialise(model: Any, key: Any) -> Any:
    """Normal 0.02 for matrices, by its inputs for convolutions (He et al. 2015); codewords and the vector of hidden
    frames uniform (the authors' code)."""
    import torch

    from regard.layers.initial import initialise, normal

    usual = normal(0.02)

    def rule(name: str, parameter: Any, generator: Any) -> Any:
        if name.endswith("quantizer.words"):
            return torch.empty_like(parameter).uniform_(generator=generator)
        if name.endswith("quantizer.choose.weight"):
            return torch.empty_like(parameter).normal_(generator=generator)
        if parameter.dim() == 3:
            inputs = parameter.shape[1] * parameter.shape[2]
            gain = 4.0 if ".positions." in name else 2.0
            return torch.empty_like(parameter).normal_(0.0, (gain / inputs) ** 0.5, generator=generator)
        return usual(name, parameter, generator)

    initialise(model, key, rule)
    if getattr(model.embed, "mask", None) is not None:
        with torch.no_grad():
            model.embed.mask.uniform_(generator=key.at(1).generator(model.embed.mask.device))
    return model


NORMED = {".weight_g": ".parametrizations.weight.original0", ".weight_v": ".parametrizations.weight.original1"}


def table(prefix: str, *others: Row | Drop) -> Table:
    """The rows of what hears the waveform and of the heads; ``others`` are those of the stack."""
    positions = f"{prefix}encoder.pos_conv_embed.conv"
    return Table(
        prefix=prefix,
        old=NORMED,
        rows=(
            *others,
            *with_endings(f"""
                {prefix}feature_extractor.conv_layers.*.conv         embed.convolutions.*.conv
                {prefix}feature_extractor.conv_layers.*.layer_norm   embed.convolutions.*.norm
                {prefix}feature_projection.layer_norm                embed.norm
                {prefix}feature_projection.projection                embed.project
                {prefix}adapter.proj                                 narrow.0
                {prefix}adapter.proj_layer_norm                      narrow.1
                {prefix}adapter.layers.*.conv                        shorter.convolutions.*.conv
                lm_head                                              head.letters
                projector                                            head.pool.transform
                projector                                            head.project
                feature_extractor                                    head.vector
                classifier                                           head.out
                classifier                                           head.tag
                quantizer.weight_proj                                head.quantizer.choose
                project_hid                                          head.guess
                project_q                                            head.code
            """, ".weight", ".bias"),
            *rows(f"""
                {prefix}masked_spec_embed                            embed.mask
                {positions}.bias                                     embed.positions.conv.bias
                layer_weights                                        stack.mix
            """),
            *rows("objective.weight                                  head.speakers"),
            *rows("tdnn.*.kernel.weight                              head.convolutions.*.weight", unfolded),
            *rows("tdnn.*.kernel.bias                                head.convolutions.*.bias"),
            *rows("quantizer.codevectors                             head.quantizer.words", row),
            *rows(f"{positions}.parametrizations.weight.{{original0,original1}}   embed.positions.conv.weight",
                  WeightNorm(2)),
            # Files keep the vector of hidden frames where their settings hide none.
            Drop(f"{prefix}masked_spec_embed"),
        ),
    )  # fmt: skip


FIELDS = foreign.Fields(
    same={
        "vocab_size": "vocab", "hidden_size": "dim", "num_hidden_layers": "depth", "num_attention_heads": "heads",
        "intermediate_size": "hidden", "layer_norm_eps": "eps", "hidden_dropout": "dropout",
        "activation_dropout": "hidden_dropout", "attention_dropout": "attention_dropout",
        "feat_proj_dropout": "first_dropout", "final_dropout": "head_dropout", "conv_dim": "first.channels",
        "conv_kernel": "first.kernels", "conv_stride": "first.strides", "conv_bias": "first.bias",
        "feat_extract_norm": "first.norm", "num_conv_pos_embeddings": "position_kernel",
        "num_conv_pos_embedding_groups": "position_groups", "apply_spec_augment": "masking.on",
        "mask_time_prob": "masking.time", "mask_time_length": "masking.time_length",
        "mask_time_min_masks": "masking.time_least", "mask_feature_prob": "masking.features",
        "mask_feature_length": "masking.feature_length", "mask_feature_min_masks": "masking.feature_least",
        "use_weighted_layer_sum": "mixed", "classifier_proj_size": "width", "pad_token_id": "blank",
    },
    # What follows changes how it is trained, or heads that are not read here, and no number of a forward pass.
    harmless=frozenset({
        "layerdrop", "ctc_loss_reduction", "ctc_zero_infinity", "feat_extract_dropout", "feature_grad_mult",
        "num_feat_extract_layers", "mask_channel_length", "mask_channel_min_space", "mask_channel_other",
        "mask_channel_prob", "mask_channel_selection", "mask_time_min_space", "mask_time_other",
        "mask_time_selection", "no_mask_channel_overlap", "no_mask_time_overlap", "tdnn_dim", "tdnn_kernel",
        "tdnn_dilation", "xvector_output_dim", "num_ctc_classes", "processor_class", "gradient_checkpointing",
        "freeze_feat_extract_train", "replace_prob", "hidden_dropout_prob", "target_glu", "untie_final_proj",
        "tie_word_embeddings",
    }),
    default={
        "vocab_size": 32, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 3072, "layer_norm_eps": 1e-5, "hidden_dropout": 0.1, "activation_dropout": 0.1,
        "attention_dropout": 0.1, "feat_proj_dropout": 0.0, "final_dropout": 0.1, "conv_dim": (512,) * 7,
        "conv_kernel": (10, 3, 3, 3, 3, 2, 2), "conv_stride": (5, 2, 2, 2, 2, 2, 2), "conv_bias": False,
        "feat_extract_norm": "group", "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16,
        "apply_spec_augment": True, "mask_time_prob": 0.05, "mask_time_length": 10, "mask_time_min_masks": 2,
        "mask_feature_prob": 0.0, "mask_feature_length": 10, "mask_feature_min_masks": 0,
        "use_weighted_layer_sum": False, "classifier_proj_size": 256, "pad_token_id": 0,
    },
)  # fmt: skip
BOOK = {
    "num_codevector_groups": "book.groups", "num_codevectors_per_group": "book.entries", "codevector_dim": "book.dim",
    "proj_codevector_dim": "book.width", "num_negatives": "book.others",
    "contrastive_logits_temperature": "book.temperature", "diversity_loss_weight": "book.diversity",
    "feat_quantizer_dropout": "book.dropout",
}  # fmt: skip
_BOOK = (2, 320, 256, 256, 100, 0.1, 0.1, 0.0)
USUAL_BOOK = dict(zip(BOOK, _BOOK, strict=True))
VOICE = {
    "tdnn_dim": "voice.channels", "tdnn_kernel": "voice.kernels", "tdnn_dilation": "voice.dilations",
    "xvector_output_dim": "voice.width",
}  # fmt: skip
USUAL_VOICE = dict(zip(VOICE, ((512, 512, 512, 512, 1500), (5, 3, 3, 1, 1), (1, 2, 3, 1, 1), 512), strict=True))
_ADAPTER = frozenset({"add_adapter", "adapter_kernel_size", "adapter_stride", "num_adapter_layers"})
_OWN = frozenset({"hidden_act", "feat_extract_activation", "output_hidden_size"}) | _ADAPTER


def fields(
    same: Mapping[str, str] | None = None,
    only: Mapping[str, tuple[Any, ...]] | None = None,
    default: Mapping[str, Any] | None = None,
) -> foreign.Fields:
    """The settings of all and a family's own."""
    return replace(
        FIELDS,
        same={**FIELDS.same, **(same or {})},
        only={**FIELDS.only, **(only or {})},
        default={**FIELDS.default, **(default or {})},
    )


def names(family: str, **others: str) -> dict[str, str]:
    """Foreign class -> head."""
    return {
        f"{family}Model": "encoder",
        f"{family}ForCTC": "ctc",
        f"{family}ForSequenceClassification": "classify",
    } | {f"{family}For{what}": head for what, head in others.items()}


def values(
    data: Mapping[str, Any],
    where: str,
    fields: foreign.Fields,
    names: Mapping[str, str],
    own: frozenset[str],
    *,
    adapted: bool = True,
) -> dict[str, Any]:
    """Our values out of a file's; ``own`` are keys that the family reads by itself. ``adapted``: whether it has models
    with an adapter."""
    made = fields.read(data, where, understood=own | _OWN)
    head = shared.foreign_head(data, names, next(iter(names)), where)
    made |= _shorter(data, where, made["dim"], head if adapted else None)
    if made["vocab"] is None:  # a model without letters
        made["vocab"] = 32
    return made | {
        "activation": foreign.activation(data.get("hidden_act", "gelu"), where),
        "first.activation": foreign.activation(data.get("feat_extract_activation", "gelu"), where),
        "head": head,
        "labels": foreign.labels(data, where) if head in LABELLED else (),
    }


def _shorter(data: Mapping[str, Any], where: str, dim: int, head: str | None) -> dict[str, Any]:
    """The adapter after the stack, which the reference has for some ``head`` alone."""
    if data.get("add_adapter") not in (None, False, True) or (data.get("add_adapter") and head not in SHORTENED):
        shared.refuse("add_adapter", data["add_adapter"], (False,), where)
    width = data.get("output_hidden_size")
    if not data.get("add_adapter"):
        if width not in (None, dim):
            shared.refuse("output_hidden_size", width, (dim,), where)
        return {}
    if data.get("adapter_kernel_size", ADAPTED) != ADAPTED:
        shared.refuse("adapter_kernel_size", data["adapter_kernel_size"], (ADAPTED,), where)
    count = data.get("num_adapter_layers", 3)
    if not count:
        shared.refuse("num_adapter_layers", count, ("> 0",), where)
    stride = data.get("adapter_stride", 2)
    return {"shorter": count, "shorter_stride": stride, "shorter_width": None if width == dim else width}


def written(config: Any, fields: foreign.Fields, names: Mapping[str, str], model_type: str) -> dict[str, Any]:
    """A file's settings out of ours."""
    made = fields.write(config) | {
        "model_type": model_type,
        "architectures": [shared.architecture(names, config.head)],
        "hidden_act": foreign.foreign_activation(config.activation),
        "feat_extract_activation": foreign.foreign_activation(config.first.activation),
    }
    if config.shorter:
        made |= {
            "add_adapter": True,
            "num_adapter_layers": config.shorter,
            "adapter_stride": config.shorter_stride,
            "adapter_kernel_size": ADAPTED,
            "output_hidden_size": config.shorter_width or config.dim,
        }
    made = {key: list(value) if isinstance(value, tuple) else value for key, value in made.items()}
    return made | (foreign.with_labels(config.labels) if config.labels else {})
