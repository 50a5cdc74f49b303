"""The families by name. Reading a config needs no torch; building a model does."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from regard.config import from_dict
from regard.errors import BadFileError, ConfigError

if TYPE_CHECKING:
    from regard.models.transformer import EncoderDecoder, Transformer
    from regard.ops.random import Key

# Their model_type -> our file.
_FAMILIES = {
    "adaptive_span": "adaptive_span",
    "albert": "albert",
    "bart": "bart",
    "bert": "bert",
    "beit": "beit",
    "big_bird": "big_bird",
    "blip": "blip",
    "bloom": "bloom",
    "clip": "clip",
    "clip_text_model": "clip",
    "clip_vision_model": "clip",
    "deit": "deit",
    "detr": "detr",
    "segformer": "segformer",
    "deberta-v2": "deberta",
    "distilbert": "distilbert",
    "dinov2": "dinov2",
    "electra": "electra",
    "deepseek_v3": "deepseek_v3",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "gpt2": "gpt2",
    "gpt_neo": "gpt_neo",
    "gpt_neox": "gpt_neox",
    "gptj": "gptj",
    "hifigan": "hifigan",
    "speecht5_hifigan": "hifigan",
    "hubert": "hubert",
    "imagegpt": "imagegpt",
    "led": "led",
    "llama": "llama",
    "longformer": "longformer",
    "m2m_100": "m2m_100",
    "marian": "vaswani",
    "mbart": "mbart",
    "mistral": "llama",
    "mixtral": "mixtral",
    "modernbert": "modernbert",
    "mpnet": "mpnet",
    "mt5": "t5",
    "nystromformer": "nystromformer",
    "pegasus": "pegasus",
    "olmo2": "olmo2",
    "openai-gpt": "openai_gpt",
    "opt": "opt",
    "phi": "phi",
    "phi3": "phi3",
    "qwen2": "llama",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3_moe",
    "performer": "performer",
    "reformer": "reformer",
    "regard_dalle": "dalle",
    "regard_vq": "vq",
    "roberta": "roberta",
    "siglip": "siglip",
    "siglip_text_model": "siglip",
    "siglip_vision_model": "siglip",
    "t5": "t5",
    "vision-encoder-decoder": "vision_encoder_decoder",
    "vit": "vit",
    "speech_to_text": "speech_to_text",
    "whisper": "whisper",
    "conformer": "conformer",
    "speecht5": "speecht5",
    "wav2vec2": "wav2vec2",
    "wav2vec2-conformer": "conformer",
    "vit_mae": "vit_mae",
    "yolos": "yolos",
    "xlm-roberta": "roberta",
}


def families() -> tuple[str, ...]:
    """The names of the families, each a file in this folder."""
    return tuple(sorted(set(_FAMILIES.values())))


def family(name: str) -> ModuleType:
    """The module of a family: its Config, build, initialise, TABLE, read and write."""
    if name not in families():
        raise ConfigError("models.unknown", name=name, known=", ".join(families()))
    return importlib.import_module(f"regard.models.{name}")


def reads(name: str, config: Any = None) -> tuple[str, ...]:
    """What a family's models are given: "text", "image", "audio", an encoder's first; its file says so (READS) unless
    it is text alone, and the ``config`` of a model that is given less."""
    usual = getattr(family(name), "READS", ("text",)) if name else ("text",)  # one in training bears no name yet
    return getattr(config, "reads", usual)


def read(name: str, data: Mapping[str, Any], where: str) -> Any:
    """A family's Config out of a foreign config.json; a BadFileError names the keys that keep it from being one."""
    module = family(name)
    try:
        return module.read(data, where)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        usual = module.write(module.Config())
        odd = [key for key, value in data.items() if key in usual and type(value) is not type(usual[key])]
        why = f"{type(error).__name__}: {error}"
        raise BadFileError("weights.kinds", where=where, keys=", ".join(odd) or "?", why=why[:200]) from error


def of_type(model_type: str) -> str | None:
    """The family that reads the foreign ``model_type``; None where there is none."""
    return _FAMILIES.get(model_type)


def model_types() -> tuple[str, ...]:
    """The foreign model types that can be read."""
    return tuple(sorted(_FAMILIES))


def name_of(config: Any) -> str:
    """The family a config belongs to."""
    return type(config).__module__.rpartition(".")[2]


def config(name: str, values: Mapping[str, Any], where: str = "config") -> Any:
    """A family's Config out of plain values; strict."""
    return from_dict(family(name).Config, values, where)


def build(config: Any, key: Key | None = None) -> Transformer | EncoderDecoder:
    """The model of a config, initialised from ``key`` (None: a fresh random one)."""
    import torch

    from regard.ops.random import Key

    module = family(name_of(config))
    key = key or Key(int(torch.randint(1 << 62, ()).item()))
    return module.initialise(module.build(config), key)


def empty(config: Any) -> Transformer | EncoderDecoder:
    """The model of a config laid out without memory, for weights to be put in."""
    import torch

    with torch.device("meta"):
        return family(name_of(config)).build(config)
