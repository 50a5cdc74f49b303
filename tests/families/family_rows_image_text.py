"""Models of images and texts of the family table."""

from __future__ import annotations

from family_rows import DEPTH, VOCAB, Case, Row

_SIZES = {"num_hidden_layers": DEPTH, "num_attention_heads": 3, "intermediate_size": 17}
_WIDTH = {"projection_dim": 13}
_TEXT = {**_SIZES, "vocab_size": VOCAB, "hidden_size": 21, "max_position_embeddings": 19}
_IMAGE = {**_SIZES, "hidden_size": 33, "num_hidden_layers": 3, "image_size": 35, "patch_size": 7}
CLASSES = 7
END = VOCAB - 1  # the token that ends a text: the largest, as the oldest files have it

CLIP = Row(
    model_type="clip",
    architecture="CLIPModel",
    config={
        "text_config": {**_TEXT, **_WIDTH, "eos_token_id": END},
        "vision_config": {**_IMAGE, **_WIDTH},
        "projection_dim": 13,
    },
    variants={
        "old": {
            "text_config": {**_TEXT, **_WIDTH, "eos_token_id": 2, "hidden_act": "gelu"},
            "vision_config": {**_IMAGE, **_WIDTH, "hidden_act": "gelu", "patch_size": 5},
        },
        "classify": {
            "architecture": "CLIPForImageClassification",
            "num_labels": CLASSES,
            "unused": ("vision_model.post_layernorm",),
        },
    },
)
CLIP_TEXT = Row(
    model_type="clip_text_model",
    architecture="CLIPTextModelWithProjection",
    config={**_TEXT, **_WIDTH, "eos_token_id": END},
    variants={"pool": {"architecture": "CLIPTextModel"}},
)
CLIP_VISION = Row(
    model_type="clip_vision_model",
    architecture="CLIPVisionModelWithProjection",
    config={**_IMAGE, **_WIDTH},
    variants={"pool": {"architecture": "CLIPVisionModel"}},
)
SIGLIP = Row(
    model_type="siglip",
    architecture="SiglipModel",
    config={
        "text_config": {**_TEXT, "hidden_size": 33},
        "vision_config": _IMAGE,
    },
    variants={
        "narrow": {"text_config": {**_TEXT, "projection_size": 33, "hidden_act": "gelu"}, "vision_config": _IMAGE},
        "classify": {
            "architecture": "SiglipForImageClassification",
            "num_labels": CLASSES,
            "unused": ("vision_model.head", "vision_use_head"),
        },
        "bare": {
            "architecture": "SiglipForImageClassification",
            "vision_config": {**_IMAGE, "vision_use_head": False},
        },
    },
)
SIGLIP_TEXT = Row(
    model_type="siglip_text_model",
    architecture="SiglipTextModel",
    config={**_TEXT, "projection_size": 13, "pad_token_id": 1},
)
SIGLIP_VISION = Row(model_type="siglip_vision_model", architecture="SiglipVisionModel", config=_IMAGE)
_BERT = {**_SIZES, "vocab_size": VOCAB, "hidden_size": 21, "max_position_embeddings": 29}
_BERT |= {"bos_token_id": 2, "sep_token_id": 9, "eos_token_id": 9, "pad_token_id": 0}
BLIP = Row(
    model_type="blip",
    architecture="BlipForConditionalGeneration",
    kind="seq2seq",
    config={"text_config": _BERT, "vision_config": {**_IMAGE, "num_attention_heads": 11}},
    variants={
        "answer": {"architecture": "BlipForQuestionAnswering", "text_config": {**_BERT, "hidden_size": 33}},
        "relu": {
            "text_config": {**_BERT, "hidden_act": "relu", "attention_probs_dropout_prob": 0.1},
            "vision_config": {**_IMAGE, "hidden_act": "gelu_new", "patch_size": 5},
        },
    },
)
BLIP_MATCH = Row(
    model_type="blip",
    architecture="BlipForImageTextRetrieval",
    config={**BLIP.config, "image_text_hidden_size": 13},
    variants={"relu": {"text_config": {**_BERT, "hidden_act": "relu"}, "image_text_hidden_size": 5}},
)
_VIT = {"model_type": "vit", **_IMAGE}
_TROCR = {"model_type": "trocr", "vocab_size": VOCAB, "d_model": 22, "decoder_layers": DEPTH, "decoder_ffn_dim": 17}
_TROCR |= {"decoder_attention_heads": 11, "max_position_embeddings": 29, "pad_token_id": 0, "is_decoder": True}
_TROCR |= {"cross_attention_hidden_size": 33, "add_cross_attention": True}
_GPT2 = {"model_type": "gpt2", "vocab_size": VOCAB, "n_embd": 21, "n_layer": DEPTH, "n_head": 3, "n_positions": 29}
_GPT2 |= {"add_cross_attention": True, "is_decoder": True, "n_inner": 17, "bos_token_id": None, "eos_token_id": None}
_START = {"decoder_start_token_id": 2, "pad_token_id": 0, "eos_token_id": 9}
VISION_ENCODER_DECODER = Row(
    model_type="vision-encoder-decoder",
    architecture="VisionEncoderDecoderModel",
    kind="seq2seq",
    config={"encoder": _VIT, "decoder": _TROCR, **_START},
    variants={
        "deit": {
            "encoder": {**_VIT, "model_type": "deit", "qkv_bias": False},
            "decoder": {
                **_TROCR,
                "cross_attention_hidden_size": None,
                "use_learned_position_embeddings": False,
                "layernorm_embedding": False,
                "scale_embedding": True,
                "tie_word_embeddings": False,
                "activation_function": "relu",
            },
        },
        "beit": {
            "encoder": {**_VIT, "model_type": "beit", "num_hidden_layers": DEPTH, "use_relative_position_bias": True}
        },
        "gpt2": {"decoder": _GPT2},
        "gpt2-wide": {"decoder": {**_GPT2, "n_embd": 33}},
    },
    unused=("pooler",),
)
CAPTIONS = (BLIP, VISION_ENCODER_DECODER)
PAIRS = (CLIP, CLIP_TEXT, CLIP_VISION, SIGLIP, SIGLIP_TEXT, SIGLIP_VISION)


def cases(*rows: Row) -> list[Case]:
    """Each row and its variants; a case is one object, whichever test asks for it."""
    found = []
    for row in rows:
        if row not in _CASES:
            _CASES[row] = [Case(row), *(Case(row, variant) for variant in row.variants)]
        found += _CASES[row]
    return found


_CASES: dict[Row, list[Case]] = {}
