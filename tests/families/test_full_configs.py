"""config.json with every setting written out, as files of some years and the reference's own classes have it: each
model type is read under each of its architectures, and nothing that changes no number is called unknown."""

from __future__ import annotations

import json
from typing import Any

import pytest
import transformers

from regard import models
from regard.errors import BadFileError

# What every file of the years 2019 and 2020 said, besides its model's own settings.
FULL: dict[str, Any] = {
    "return_dict": True, "output_hidden_states": False, "output_attentions": False, "torchscript": False,
    "torch_dtype": "float32", "use_bfloat16": False, "tf_legacy_loss": False, "pruned_heads": {},
    "tie_word_embeddings": True, "chunk_size_feed_forward": 0, "is_decoder": False, "is_encoder_decoder": False,
    "cross_attention_hidden_size": None, "add_cross_attention": False, "tie_encoder_decoder": False, "max_length": 20,
    "min_length": 0, "do_sample": False, "early_stopping": False, "num_beams": 1, "num_beam_groups": 1,
    "diversity_penalty": 0.0, "temperature": 1.0, "top_k": 50, "top_p": 1.0, "typical_p": 1.0,
    "repetition_penalty": 1.0, "length_penalty": 1.0, "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None, "num_return_sequences": 1, "output_scores": False, "return_dict_in_generate": False,
    "forced_bos_token_id": None, "forced_eos_token_id": None, "remove_invalid_values": False,
    "exponential_decay_length_penalty": None, "suppress_tokens": None, "begin_suppress_tokens": None,
    "finetuning_task": None, "tokenizer_class": None, "prefix": None, "bos_token_id": None, "eos_token_id": None,
    "sep_token_id": None, "task_specific_params": None, "problem_type": None, "_name_or_path": "", "xla_device": None,
    "gradient_checkpointing": False, "transformers_version": "4.30.0",
}  # fmt: skip
OWN = {"adaptive_span", "conformer", "hifigan", "performer", "regard_dalle", "regard_vq"}  # that nobody else has
# What their classes say unasked and is refused on purpose, and what every published file says instead.
ASKED: dict[str, dict[str, Any]] = {
    "beit": {"out_indices": [3, 5, 7, 11]},  # a segmentation takes the maps of four layers
    "vision-encoder-decoder": {  # a pair of models, which of itself names none
        "encoder": transformers.ViTConfig().to_dict(),
        "decoder": transformers.TrOCRConfig().to_dict() | {"is_decoder": True, "add_cross_attention": True},
    },
}  # fmt: skip


def written_out(model_type: str) -> dict[str, Any]:
    made = transformers.AutoConfig.for_model(model_type, **ASKED.get(model_type, {})).to_dict()
    return FULL | json.loads(json.dumps(made))


def known(model_type: str, data: dict[str, Any]) -> list[str]:
    with pytest.raises(BadFileError, match="nobody's") as found:
        models.read(str(models.of_type(model_type)), data | {"architectures": ["nobody's"]}, "config.json")
    return str(found.value.values["known"]).split(", ")


@pytest.mark.parametrize("model_type", sorted({*models.model_types()} - OWN))
def test_what_is_written_out_in_full_is_read(model_type: str) -> None:
    data = written_out(model_type)
    for architecture in known(model_type, data):
        read = models.read(str(models.of_type(model_type)), data | {"architectures": [architecture]}, "config.json")
        assert models.name_of(read) == models.of_type(model_type)


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama", "vit", "wav2vec2", "distilbert", "openai-gpt"])
def test_an_encoder_decoder_is_not_read_as_half_of_one(model_type: str) -> None:
    with pytest.raises(BadFileError, match="is_encoder_decoder"):
        models.read(str(models.of_type(model_type)), written_out(model_type) | {"is_encoder_decoder": True}, "x")
