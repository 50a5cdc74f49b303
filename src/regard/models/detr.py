"""DETR (Carion et al. 2020): a convolutional network's map through an encoder, and learned queries that ask what is in
it, all at once. Places are added to q and k in every layer, and to nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from regard import embed, heads, layers
from regard.config import Problem, between, verify
from regard.errors import BadFileError, ConfigError
from regard.heads.weights import Weights
from regard.models import shared, vision
from regard.weights import foreign
from regard.weights.table import Drop, Table, rows, with_endings

READS = vision.READS


@dataclass(frozen=True, kw_only=True)
class Network:
    """Of the residual network: stem and widths are channels, depths how many blocks each width has; the rest as
    ``embed.ResidualNet`` says. Defaults to ResNet-50."""

    stem: int = 64
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)
    bottleneck: bool = True
    halved_first: bool = False
    narrow_halves: bool = False
    dilated: bool = False

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "stem")
        if not all(4 <= width <= shared.LARGEST for width in self.widths):
            yield "widths", "config.between", {"least": 4, "most": shared.LARGEST}
        if len(self.depths) != len(self.widths) or not all(1 <= one <= shared.DEEPEST for one in self.depths):
            yield "depths", "config.between", {"least": 1, "most": shared.DEEPEST}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes default to the published model. depth, heads and hidden are the encoder's; queries: how many objects can be
    found; weights: of the loss's parts. auxiliary: every layer of the decoder answers to the loss, and the norm at its
    end then stands after each of them, as their library has it."""

    channels: int = 3
    network: Network = field(default_factory=Network)
    dim: int = 256
    depth: int = 6
    heads: int = 8
    hidden: int = 2048
    decoder_depth: int = 6
    decoder_heads: int = 8
    decoder_hidden: int = 2048
    queries: int = 100
    activation: str = "relu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    inner_dropout: float = 0.0
    weights: Weights = field(default_factory=Weights)
    auxiliary: bool = False
    head: str = "detect"
    labels: tuple[str, ...] = ("0", "1")

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "channels", "dim", "depth", "heads", "hidden", "queries", "decoder_hidden")
        yield from between(self, 1, shared.DEEPEST, "decoder_depth")
        yield from between(self, 1, shared.MOST_HEADS, "decoder_heads")
        yield from between(self, 0.0, 0.99, "dropout", "attention_dropout", "inner_dropout")
        for name in ("heads", "decoder_heads"):
            if getattr(self, name) > 0 and self.dim % getattr(self, name):
                yield name, "models.heads", {"dim": self.dim}
        if self.dim % 4:
            yield "dim", "models.even", {}
        yield from shared.check_activation(self)
        if len(self.labels) < 1:
            yield "labels", "models.labels", {}
        if self.head == "segment":
            yield from self._outlined()

    def _outlined(self) -> Iterator[Problem]:
        """Outlines go by four maps, and by groups of channels that are halved four times."""
        if len(self.network.widths) != 4:
            yield "network", "models.four_maps", {}
        if self.dim % 128 and self.dim not in (16, 32, 64):
            yield "dim", "models.multiple", {"of": 128}
        if self.heads % 8:
            yield "heads", "models.multiple", {"of": 8}


def build(config: Config) -> Any:
    import torch

    from regard.models.transformer import Outlined, Queried

    dim = config.dim

    def added(sublayer: Any) -> Any:
        return layers.Residual(sublayer=sublayer, then=layers.LayerNorm(dim), dropout=config.dropout)

    def attention(kind: Any, count: int) -> Any:
        projection = layers.Grouped(
            dim=dim, heads=count, kv_heads=count, head_dim=dim // count, bias=True, output_bias=True
        )
        return added(kind(projection, dropout=config.attention_dropout))

    def feed_forward(hidden: int) -> Any:
        return added(layers.FeedForward(dim, hidden, config.activation, dropout=config.inner_dropout))

    encoder = [
        layers.Block(attention=attention(layers.AddedAttention, config.heads), feed_forward=feed_forward(config.hidden))
        for _ in range(config.depth)
    ]
    decoder = [
        layers.Block(
            attention=attention(layers.AddedAttention, config.decoder_heads),
            cross=attention(layers.AddedCrossAttention, config.decoder_heads),
            feed_forward=feed_forward(config.decoder_hidden),
        )
        for _ in range(config.decoder_depth)
    ]
    count, kind = len(config.labels), layers.NormedStack if config.auxiliary else layers.Stack
    head = heads.Detect(dim, count, config.queries, torch.nn.Linear(dim, count + 1), config.weights)
    if config.head == "segment":
        head = heads.Outline(head, dim, config.heads, config.network.widths[-2::-1], config.activation)
    return (Outlined if config.head == "segment" else Queried)(
        config,
        embed=embed.FeatureMap(_network(config), config.network.widths[-1], dim, dropout=config.dropout),
        encoder=layers.Stack(encoder),
        queries=torch.nn.Parameter(torch.zeros(config.queries, dim)),
        stack=kind(decoder, norm=layers.LayerNorm(dim)),
        head=head,
    )


def _network(config: Config) -> Any:
    own = config.network
    kinds = {"bottleneck": own.bottleneck, "halved_first": own.halved_first, "narrow_halves": own.narrow_halves}
    kinds["dilated"] = own.dilated
    return embed.ResidualNet(config.channels, own.stem, own.widths, own.depths, **kinds)


def initialise(model: Any, key: Any) -> Any:
    """Uniform after Glorot and Bengio, queries normal (Carion et al. 2020, appendix A.4); convolutions by their inputs
    (He et al. 2015): the published models begin with a trained network."""
    from regard.layers.initial import by_inputs, initialise, xavier

    matrices, convolutions = xavier(1.0), by_inputs()

    def rule(name: str, parameter: Any, generator: Any) -> Any:
        if parameter.dim() == 4:
            values = convolutions("", parameter.flatten(1), generator)
            return None if values is None else values.view(parameter.shape)
        return matrices("embed" if name == "queries" else name.removeprefix("embed."), parameter, generator)

    return initialise(model, key, rule)


_NET = "model.backbone.conv_encoder.model."
_NORM = {"weight": "weight", "bias": "bias", "running_mean": "mean", "running_var": "variance"}


def _normed(theirs: str, ours: str) -> tuple[Any, ...]:
    """A convolution and its norm."""
    pairs = "\n".join(f"{theirs}.normalization.{one} {ours}.norm.{own}" for one, own in _NORM.items())
    made = rows(f"{theirs}.convolution.weight {ours}.convolution.weight\n{pairs}")
    return (*made, Drop(f"{theirs}.normalization.num_batches_tracked"))


def _stage(number: int) -> tuple[Any, ...]:
    theirs, ours = f"{_NET}encoder.stages.{number}.layers.*.", f"embed.network.stages.{number}.*."
    made = [_normed(f"{theirs}layer.{layer}", f"{ours}layers.{layer}") for layer in range(3)]
    return tuple(one for some in (*made, _normed(f"{theirs}shortcut", f"{ours}short")) for one in some)


# The same network as another library (timm) names it, which is how the first published files have it.
_STEM = f"{_NET}embedder.embedder"
_TIMM = {f"{_NET}conv1.": f"{_STEM}.convolution.", f"{_NET}bn1.": f"{_STEM}.normalization."}
for _number in range(4):
    for _block in range(36):
        _old, _new = f"{_NET}layer{_number + 1}.{_block}.", f"{_NET}encoder.stages.{_number}.layers.{_block}."
        for _layer in range(3):
            _TIMM[f"{_old}conv{_layer + 1}."] = f"{_new}layer.{_layer}.convolution."
            _TIMM[f"{_old}bn{_layer + 1}."] = f"{_new}layer.{_layer}.normalization."
        _TIMM[f"{_old}downsample.0."] = f"{_new}shortcut.convolution."
        _TIMM[f"{_old}downsample.1."] = f"{_new}shortcut.normalization."

_ROWS = (
        *_normed(_STEM, "embed.network.stem"),
        *(one for number in range(4) for one in _stage(number)),
        *rows("model.query_position_embeddings.weight              queries"),
        *with_endings("""
            model.input_projection                              embed.project
            model.encoder.layers.*.self_attn.q_proj             encoder.blocks.*.attention.q
            model.encoder.layers.*.self_attn.k_proj             encoder.blocks.*.attention.k
            model.encoder.layers.*.self_attn.v_proj             encoder.blocks.*.attention.v
            model.encoder.layers.*.self_attn.out_proj           encoder.blocks.*.attention.o
            model.encoder.layers.*.self_attn_layer_norm         encoder.blocks.*.attention_then
            model.encoder.layers.*.fc1                          encoder.blocks.*.feed_forward.up
            model.encoder.layers.*.fc2                          encoder.blocks.*.feed_forward.down
            model.encoder.layers.*.final_layer_norm             encoder.blocks.*.feed_forward_then
            model.decoder.layers.*.self_attn.q_proj             stack.blocks.*.attention.q
            model.decoder.layers.*.self_attn.k_proj             stack.blocks.*.attention.k
            model.decoder.layers.*.self_attn.v_proj             stack.blocks.*.attention.v
            model.decoder.layers.*.self_attn.out_proj           stack.blocks.*.attention.o
            model.decoder.layers.*.self_attn_layer_norm         stack.blocks.*.attention_then
            model.decoder.layers.*.encoder_attn.q_proj          stack.blocks.*.cross.q
            model.decoder.layers.*.encoder_attn.k_proj          stack.blocks.*.cross.k
            model.decoder.layers.*.encoder_attn.v_proj          stack.blocks.*.cross.v
            model.decoder.layers.*.encoder_attn.out_proj        stack.blocks.*.cross.o
            model.decoder.layers.*.encoder_attn_layer_norm      stack.blocks.*.cross_then
            model.decoder.layers.*.fc1                          stack.blocks.*.feed_forward.up
            model.decoder.layers.*.fc2                          stack.blocks.*.feed_forward.down
            model.decoder.layers.*.final_layer_norm             stack.blocks.*.feed_forward_then
            model.decoder.layernorm                             stack.norm
            class_labels_classifier                             head.of_class
            bbox_predictor.layers.*                             head.box.layers.*
        """, ".weight", ".bias"),
)  # fmt: skip


def _outlines(config: Any) -> bool:
    return config.head == "segment"


def _detects(config: Any) -> bool:
    return config.head == "detect"


def _inside() -> Iterator[Any]:
    """The rows of a detection as a part of the model that outlines."""
    for one in _ROWS:
        if isinstance(one, Drop):
            yield replace(one, theirs=f"detr.{one.theirs}")
            continue
        ours = tuple(
            f"head.detect.{name.removeprefix('head.')}" if name.startswith("head.") else name for name in one.ours
        )
        yield replace(one, theirs=tuple(f"detr.{name}" for name in one.theirs), ours=ours, when=_outlines)


TABLE = Table(
    rows=(
        *(one if isinstance(one, Drop) else replace(one, when=_detects) for one in _ROWS),
        *_inside(),
        *with_endings("""
            bbox_attention.q_linear     head.q
            bbox_attention.k_linear     head.k
            mask_head.lay1              head.layers.0.convolution
            mask_head.lay2              head.layers.1.convolution
            mask_head.lay3              head.layers.2.convolution
            mask_head.lay4              head.layers.3.convolution
            mask_head.lay5              head.layers.4.convolution
            mask_head.gn1               head.layers.0.norm
            mask_head.gn2               head.layers.1.norm
            mask_head.gn3               head.layers.2.norm
            mask_head.gn4               head.layers.3.norm
            mask_head.gn5               head.layers.4.norm
            mask_head.adapter1          head.across.0
            mask_head.adapter2          head.across.1
            mask_head.adapter3          head.across.2
            mask_head.out_lay           head.out
        """, ".weight", ".bias"),
    ),
    begin={**_TIMM, **{f"detr.{old}": f"detr.{new}" for old, new in _TIMM.items()}},
    begins_so=lambda config: config.network.dilated,
)  # fmt: skip

_WEIGHTS = {**vision.WEIGHTS, "mask_loss_coefficient": "weights.mask", "dice_loss_coefficient": "weights.dice"}
FIELDS = foreign.Fields(
    same={
        "num_channels": "channels", "d_model": "dim", "encoder_layers": "depth", "encoder_attention_heads": "heads",
        "encoder_ffn_dim": "hidden", "decoder_layers": "decoder_depth", "decoder_attention_heads": "decoder_heads",
        "decoder_ffn_dim": "decoder_hidden", "num_queries": "queries", "dropout": "dropout",
        "attention_dropout": "attention_dropout", "activation_dropout": "inner_dropout",
        "auxiliary_loss": "auxiliary", **_WEIGHTS,
    },
    only={
        "position_embedding_type": ("sine",), "encoder_layerdrop": (0.0,),
        "decoder_layerdrop": (0.0,), "is_encoder_decoder": (True, False),
    },
    harmless=frozenset({
        "tie_word_embeddings", "init_std", "init_xavier_std", "use_pretrained_backbone", "num_hidden_layers",
        "max_position_embeddings", "scale_embedding", "classifier_dropout", "backbone_kwargs",
    }),
    default={
        "num_channels": 3, "d_model": 256, "encoder_layers": 6, "encoder_attention_heads": 8, "encoder_ffn_dim": 2048,
        "decoder_layers": 6, "decoder_attention_heads": 8, "decoder_ffn_dim": 2048, "num_queries": 100, "dropout": 0.1,
        "attention_dropout": 0.0, "activation_dropout": 0.0, "auxiliary_loss": False, **vision.USUAL_WEIGHTS,
        "mask_loss_coefficient": 1, "dice_loss_coefficient": 1,
    },
)  # fmt: skip
HEADS = {"DetrForObjectDetection": "detect", "DetrForSegmentation": "segment"}
_NETWORK = foreign.Fields(
    same={
        "embedding_size": "stem", "hidden_sizes": "widths", "depths": "depths",
        "downsample_in_first_stage": "halved_first", "downsample_in_bottleneck": "narrow_halves",
    },
    only={"hidden_act": ("relu",), "model_type": ("resnet",)},
    harmless=frozenset({
        "layer_type", "num_channels", "out_features", "out_indices", "stage_names", "tie_word_embeddings",
        "cross_attention_hidden_size", "sep_token_id",
    }),
    default={
        "embedding_size": 64, "hidden_sizes": (256, 512, 1024, 2048), "depths": (3, 4, 6, 3),
        "downsample_in_first_stage": False, "downsample_in_bottleneck": False,
    },
)  # fmt: skip
_KNOWN = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    own = frozenset({"activation_function", "backbone_config", "backbone", "use_timm_backbone", "dilation"})
    values = FIELDS.read(data, where, understood=own)
    values["activation"] = foreign.activation(data.get("activation_function", "relu"), where)
    values["head"] = shared.foreign_head(data, HEADS, "DetrForObjectDetection", where)
    values["labels"] = foreign.labels(data, where)
    values["network"] = _read_network(data, values["head"], where)
    return foreign.config(Config, values, where, FIELDS)


def _shown(head: str, count: int) -> list[str]:
    """The stages whose maps are looked at, by their library's names."""
    return [f"stage{number + 1}" for number in range(0 if head == "segment" else count - 1, count)]


def _read_network(data: Mapping[str, Any], head: str, where: str) -> Network:
    """The network of a file that describes it, or that names one of another library's, which alone can be dilated."""
    inner, dilated = data.get("backbone_config"), data.get("dilation", False)
    named = inner if isinstance(inner, Mapping) else data
    if inner is None or (isinstance(inner, Mapping) and inner.get("model_type") == "timm_backbone"):
        name = named.get("backbone") or "resnet50"
        if not isinstance(name, str) or name not in _KNOWN:
            shared.refuse("backbone", name, tuple(_KNOWN), where)
        if type(dilated) is not bool:
            shared.refuse("dilation", dilated, (True, False), where)
        return Network(depths=_KNOWN[name], dilated=dilated)
    if dilated is not False:
        shared.refuse("dilation", dilated, (False,), where)
    if not isinstance(inner, Mapping):
        shared.refuse("backbone_config", inner, ('{"model_type": "resnet", ...}',), where)
    where = f"{where} (backbone_config)"
    values = _NETWORK.read(inner, where)
    kind, shown = inner.get("layer_type", "bottleneck"), _shown(head, len(values["depths"]))
    if kind not in ("basic", "bottleneck"):
        shared.refuse("layer_type", kind, ("basic", "bottleneck"), where)
    if inner.get("out_features") not in ((shown,) if head == "segment" else (None, shown)):
        raise BadFileError(
            "weights.setting", where=where, key="out_features", value=inner.get("out_features"), accepted=shown
        )
    return foreign.config(Network, {**values, "bottleneck": kind == "bottleneck"}, where, _NETWORK)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    return (
        vision.whole(FIELDS.write(config))
        | foreign.with_labels(config.labels)
        | {
            "model_type": "detr",
            "architectures": [shared.architecture(HEADS, config.head)],
            "activation_function": foreign.foreign_activation(config.activation),
            "use_pretrained_backbone": False,
            **(_named(config.network) if config.network.dilated else _described(config)),
        }
    )


def _described(config: Config) -> dict[str, Any]:
    inner = _NETWORK.write(config.network) | {
        "num_channels": config.channels,
        "layer_type": "bottleneck" if config.network.bottleneck else "basic",
        "out_features": _shown(config.head, len(config.network.depths)),
    }
    told = {key: list(one) if isinstance(one, tuple) else one for key, one in inner.items()}
    return {"use_timm_backbone": False, "backbone_config": told}


def _named(network: Network) -> dict[str, Any]:
    """Of a dilated network, which files can say of those that have a name."""
    name = next((name for name, depths in _KNOWN.items() if network == Network(depths=depths, dilated=True)), None)
    if name is None:
        raise ConfigError("models.dilated", known=", ".join(_KNOWN))
    return {"use_timm_backbone": True, "backbone": name, "dilation": True}
