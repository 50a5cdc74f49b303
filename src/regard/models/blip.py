"""BLIP (Li et al. 2022): a ViT whose tokens a BERT attends to while it writes a caption, while it reads a question that
a second one answers, or while it reads a text that may fit the image or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from regard import embed, heads, layers
from regard.config import Problem, at_least, between, verify
from regard.models import encoder, pairs, shared, vision
from regard.weights import foreign
from regard.weights.layouts import Under
from regard.weights.table import Drop, Fused, Row, Table, Tie, rows, with_endings

READS = ("image", "text")


@dataclass(frozen=True, kw_only=True)
class Text:
    """The stacks that read and write text. smoothing: label smoothing of the training loss."""

    vocab: int = 30_524
    context: int = 512
    dim: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    activation: str = "gelu"
    eps: float = 1e-12
    dropout: float = 0.0
    attention_dropout: float | None = None
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from shared.check_sizes(self, "vocab", "context", "dim", "depth", "heads", "hidden")
        yield from at_least(self, 0.0, "eps")
        yield from between(self, 0.0, 0.99, "dropout", "attention_dropout", "smoothing")
        yield from shared.check_heads(self)
        yield from shared.check_activation(self)


@dataclass(frozen=True, kw_only=True)
class Image(pairs.Image):
    """The stack that sees."""

    image: tuple[int, int] = (384, 384)

    def check(self) -> Iterator[Problem]:
        yield from super().check()
        if self.channels != 3:
            yield "channels", "models.fixed", {"value": 3}


_TEXT, _IMAGE = Text(), Image()


@dataclass(frozen=True, kw_only=True)
class Config:
    """head: "caption", "answer", or "match" for texts and images that may belong together. start: the token that every
    text begins with; end: the one it ends with. width: features of the space that texts and images share."""

    text: Text = _TEXT
    image: Image = _IMAGE
    head: Literal["caption", "answer", "match"] = "caption"
    start: int = 30_522
    end: int = 102
    width: int = 256

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from between(self, 0, self.text.vocab - 1, "start", "end")
        yield from shared.check_sizes(self, "width")
        if self.head == "answer" and self.text.dim != self.image.dim:
            yield "text", "models.one_space", {"text": self.text.dim, "image": self.image.dim}

    @property
    def depth(self) -> int:
        """Layers of all stacks."""
        return self.image.depth + self.text.depth * (2 if self.head == "answer" else 1)

    @property
    def context(self) -> int:
        """The longest text in tokens."""
        return self.text.context

    @property
    def vocab(self) -> int:
        """Tokens there are."""
        return self.text.vocab


def build(config: Config) -> Any:
    from regard.models.questions import Questioned
    from regard.models.transformer import EncoderDecoder

    text, image = config.text, config.image
    positions = embed.GridPositions(image.grid, image.dim)
    patches = embed.Patches(image.channels, image.dim, image.patch, positions=positions)
    sees = layers.Stack([vision.block(image) for _ in range(image.depth)], norm=vision.norm(image))
    if config.head == "match":
        return _matched(config, patches, sees)
    target = _tokens(text)
    transform = heads.Transform(text.dim, text.activation, vision.norm(text))
    head = heads.Language(target.tokens.weight, bias=True, transform=transform, smoothing=text.smoothing)
    if config.head == "caption":
        parts = {"target_embed": target, "stack": _stack(text, image.dim), "head": head}
        return EncoderDecoder(config, source_embed=patches, encoder=sees, **parts)
    parts = {"target_embed": target, "stack": _stack(text, text.dim), "head": head}
    asked = {"question_embed": _tokens(text), "question": _stack(text, image.dim)}
    return Questioned(config, source_embed=patches, encoder=sees, **asked, **parts)


def _matched(config: Config, patches: Any, sees: Any) -> Any:
    from regard.models.towers import Matched

    def vector(dim: int) -> Any:
        return pairs.vector(heads.Pool(dim, "first"), project=(dim, config.width), bias=True)

    text, image = config.text, config.image
    reads = _stack(text, image.dim, layers.Viewing)
    return Matched(
        config,
        text=shared.transformer(text, _tokens(text), reads, vector(text.dim), causal=False),
        image=shared.transformer(image, patches, sees, vector(image.dim), causal=False),
        head=heads.Classify(heads.Pool(text.dim, "first"), text.dim, 2),
        fill=None,
    )


def _tokens(config: Text) -> Any:
    positions = embed.Learned(config.context, config.dim)
    return embed.Tokens(
        config.vocab, config.dim, positions=positions, norm=vision.norm(config), dropout=config.dropout
    )  # fmt: skip


def _stack(config: Text, memory: int, kind: Any = layers.Block) -> Any:
    return layers.Stack([_block(config, memory, kind) for _ in range(config.depth)])


def _block(config: Text, memory: int, kind: Any) -> Any:
    """BERT's, with attention to ``memory`` features between its two sublayers."""

    def added(sublayer: Any) -> Any:
        return layers.Residual(sublayer=sublayer, then=vision.norm(config), dropout=config.dropout)

    projection = replace(encoder.projection(config), memory_dim=memory)
    return kind(
        attention=added(encoder.attention(config)),
        cross_attention=added(layers.CrossAttention(projection, dropout=encoder.attention_rate(config))),
        feed_forward=added(layers.FeedForward(config.dim, config.hidden, config.activation)),
    )


initialise = vision.initialise

_BERT = """
    {theirs}embeddings.LayerNorm                                {embed}.norm
    {theirs}encoder.layer.*.attention.self.query                {stack}.blocks.*.attention.q
    {theirs}encoder.layer.*.attention.self.key                  {stack}.blocks.*.attention.k
    {theirs}encoder.layer.*.attention.self.value                {stack}.blocks.*.attention.v
    {theirs}encoder.layer.*.attention.output.dense              {stack}.blocks.*.attention.o
    {theirs}encoder.layer.*.attention.output.LayerNorm          {stack}.blocks.*.attention_then
    {theirs}encoder.layer.*.crossattention.self.query           {stack}.blocks.*.cross_attention.q
    {theirs}encoder.layer.*.crossattention.self.key             {stack}.blocks.*.cross_attention.k
    {theirs}encoder.layer.*.crossattention.self.value           {stack}.blocks.*.cross_attention.v
    {theirs}encoder.layer.*.crossattention.output.dense         {stack}.blocks.*.cross_attention.o
    {theirs}encoder.layer.*.crossattention.output.LayerNorm     {stack}.blocks.*.cross_attention_then
    {theirs}encoder.layer.*.intermediate.dense                  {stack}.blocks.*.feed_forward.up
    {theirs}encoder.layer.*.output.dense                        {stack}.blocks.*.feed_forward.down
    {theirs}encoder.layer.*.output.LayerNorm                    {stack}.blocks.*.feed_forward_then
"""
_WORDS = """
    {theirs}embeddings.word_embeddings.weight                   {embed}.tokens.weight
    {theirs}embeddings.position_embeddings.weight               {embed}.positions.weight
"""
_WRITES = {"theirs": "text_decoder.bert.", "embed": "target_embed", "stack": "stack"}
_ASKS = {"theirs": "text_encoder.", "embed": "question_embed", "stack": "question"}
_READS = {"theirs": "text_encoder.", "embed": "text.embed", "stack": "text.stack"}
_SEES = {"embed": "source_embed", "stack": "encoder"}
_BESIDE = {"embed": "image.embed", "stack": "image.stack"}


def _sight(names: Mapping[str, str]) -> tuple[Row, ...]:
    """The rows of what sees."""
    fused = "vision_model.encoder.layers.*.self_attn.qkv         {stack}.blocks.*.attention.{{q,k,v}}"
    return (
        *rows("""
            vision_model.embeddings.class_embedding             {embed}.first
            vision_model.embeddings.position_embedding          {embed}.positions.weight
        """.format(**names), Under(1)),
        *with_endings(fused.format(**names), ".weight", ".bias", op=Fused()),
        *with_endings("""
            vision_model.embeddings.patch_embedding             {embed}.patch
            vision_model.encoder.layers.*.self_attn.projection  {stack}.blocks.*.attention.o
            vision_model.encoder.layers.*.layer_norm1           {stack}.blocks.*.attention_before
            vision_model.encoder.layers.*.layer_norm2           {stack}.blocks.*.feed_forward_before
            vision_model.encoder.layers.*.mlp.fc1               {stack}.blocks.*.feed_forward.up
            vision_model.encoder.layers.*.mlp.fc2               {stack}.blocks.*.feed_forward.down
            vision_model.post_layernorm                         {stack}.norm
        """.format(**names), ".weight", ".bias"),
    )  # fmt: skip


def _words(names: Mapping[str, str]) -> tuple[Row, ...]:
    """The rows of what reads or writes."""
    return (*rows(_WORDS.format(**names)), *with_endings(_BERT.format(**names), ".weight", ".bias"))


def _matches(config: Any) -> bool:
    return config.head == "match"


def _tells(config: Any) -> bool:
    return config.head != "match"


TABLE = Table(
    rows=(
        *(replace(one, when=_tells) for one in (*_words(_WRITES), *_words(_ASKS), *_sight(_SEES))),
        *(replace(one, when=_matches) for one in (*_words(_READS), *_sight(_BESIDE))),
        *with_endings("""
            vision_proj                                         image.head.project
            text_proj                                           text.head.project
            itm_head                                            head.out
            text_decoder.cls.predictions.transform.dense        head.transform.linear
            text_decoder.cls.predictions.transform.LayerNorm    head.transform.norm
        """, ".weight", ".bias"),
        *rows("text_decoder.cls.predictions.bias                head.bias"),
        Tie("text_decoder.cls.predictions.decoder.weight", "text_decoder.bert.embeddings.word_embeddings.weight"),
        Tie("text_decoder.cls.predictions.decoder.bias", "text_decoder.cls.predictions.bias"),
        Drop("text_decoder.bert.embeddings.position_ids"),
        Drop("text_encoder.embeddings.position_ids"),
    ),
)  # fmt: skip

TEXT = foreign.Fields(
    same={
        "vocab_size": "vocab", "max_position_embeddings": "context", "hidden_size": "dim", "num_hidden_layers": "depth",
        "num_attention_heads": "heads", "intermediate_size": "hidden", "layer_norm_eps": "eps",
        "hidden_dropout_prob": "dropout", "attention_probs_dropout_prob": "attention_dropout",
        "label_smoothing": "smoothing",
    },
    only={"is_decoder": (True,), "tie_word_embeddings": (True,), "add_cross_attention": (False, True)},
    harmless=pairs.UNUSED | {"encoder_hidden_size", "projection_dim", "text_projection_dim", "add_type_embeddings"},
    default={
        "vocab_size": 30_524, "max_position_embeddings": 512, "hidden_size": 768, "num_hidden_layers": 12,
        "num_attention_heads": 8, "intermediate_size": 3072, "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0, "label_smoothing": 0.0,
    },
)  # fmt: skip
IMAGE = pairs.image_fields(
    patch_size=16, hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
    layer_norm_eps=1e-5,
)  # fmt: skip
FIELDS = foreign.Fields(
    same={"image_text_hidden_size": "width"},
    only={"tie_word_embeddings": (True,)},
    harmless=(pairs.UNUSED - {"tie_word_embeddings"})
    | {"projection_dim", "logit_scale_init_value", "label_smoothing"},
    default={"image_text_hidden_size": 256},
)
HEADS = {
    "BlipForConditionalGeneration": "caption", "BlipForQuestionAnswering": "answer",
    "BlipForImageTextRetrieval": "match",
}  # fmt: skip
_SECTIONS = frozenset({"text_config", "text_config_dict", "vision_config", "vision_config_dict"})
_ACT = "gelu"


def read(data: Mapping[str, Any], where: str) -> Config:
    """Our config out of theirs."""
    values = FIELDS.read(data, where, understood=_SECTIONS)
    values["head"] = shared.foreign_head(data, HEADS, "BlipForConditionalGeneration", where)
    text, image = (pairs.section(data, key, where) for key in ("text_config", "vision_config"))
    found = pairs.text_values(text, where, TEXT, _ACT)
    if found["attention_dropout"] == found["dropout"]:
        found["attention_dropout"] = None
    values["text"] = foreign.config(Text, found, where, TEXT)
    found = pairs.image_values({"image_size": 384, **image}, where, IMAGE, _ACT, "projection_dim")
    values["image"] = foreign.config(Image, found, where, IMAGE)
    values |= {"start": text.get("bos_token_id", 30_522), "end": text.get("sep_token_id", 102)}
    return foreign.config(Config, values, where, FIELDS)


def write(config: Config) -> dict[str, Any]:
    """Theirs out of ours."""
    text, rate = TEXT.write(config.text), encoder.attention_rate(config.text)
    text |= {"model_type": "blip_text_model", "hidden_act": foreign.foreign_activation(config.text.activation)}
    text |= {"attention_probs_dropout_prob": rate, "encoder_hidden_size": config.image.dim}
    text |= {"bos_token_id": config.start, "sep_token_id": config.end}
    image = pairs.written(config.image, IMAGE, "blip_vision_model", _ACT)
    named = {"model_type": "blip", "architectures": [shared.architecture(HEADS, config.head)]}
    return FIELDS.write(config) | named | {"text_config": text, "vision_config": image}
