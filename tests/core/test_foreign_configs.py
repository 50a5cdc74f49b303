"""config.json as strangers write it: what it means is read, what it lies about is refused before anything is built."""

from __future__ import annotations

import json
import time

import pytest
import torch
import transformers
from core_parts import FAMILIES

from regard import models
from regard.errors import BadFileError, ConfigError
from regard.limits import parse_json
from regard.models import qwen3

NAMES = ["bert", "gpt2", "qwen3", "vaswani"]
REFUSED = (BadFileError, ConfigError)


def written(name: str) -> dict:
    family, values = FAMILIES[name]
    return models.family(family).write(models.config(family, values))


def read(name: str, data):
    return models.family(FAMILIES[name][0]).read(parse_json(json.dumps(data).encode(), "config.json"), "config.json")


SIZES = {
    "bert": ["vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers", "num_attention_heads"]
    + ["intermediate_size", "type_vocab_size"],
    "gpt2": ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner"],
    "qwen3": ["vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers", "intermediate_size"]
    + ["num_attention_heads", "num_key_value_heads", "head_dim"],
    "vaswani": ["vocab_size", "max_position_embeddings", "d_model", "encoder_layers", "encoder_attention_heads"]
    + ["encoder_ffn_dim"],
}
LIES = [0, -1, 10**9, 10**12, 10**30, 7.0, 2.5, "768", "", True, [], [768], {}, {"a": 1}]


@pytest.mark.parametrize("lie", LIES, ids=repr)
@pytest.mark.parametrize(("name", "key"), [(name, key) for name in NAMES for key in SIZES[name]])
def test_sizes_that_cannot_be_are_refused_by_name(name, key, lie):
    data = written(name)
    twins = ("decoder_vocab_size", "num_hidden_layers") if name == "vaswani" else ()
    for twin in twins:
        if data.get(twin) == data[key]:
            data[twin] = lie
    with pytest.raises(REFUSED, match=key):
        read(name, data | {key: lie})


OTHERS = {
    "bert": ["layer_norm_eps", "hidden_dropout_prob", "hidden_act", "architectures", "position_embedding_type"],
    "gpt2": ["layer_norm_epsilon", "resid_pdrop", "activation_function", "architectures", "tie_word_embeddings"],
    "qwen3": ["rms_norm_eps", "hidden_act", "attention_bias", "rope_parameters", "rope_theta", "tie_word_embeddings"],
    "vaswani": ["dropout", "activation_function", "label_smoothing", "decoder_start_token_id", "scale_embedding"],
}


@pytest.mark.parametrize("lie", [-3, "gelu_10", ["x"], [["x"]], {"x": [1]}, 10**30], ids=repr)
@pytest.mark.parametrize(("name", "key"), [(name, key) for name in NAMES for key in OTHERS[name]])
def test_settings_that_cannot_be_are_refused(name, key, lie):
    data = written(name)
    data.pop("rope_parameters" if key == "rope_theta" else "", None)
    with pytest.raises(REFUSED):
        read(name, data | {key: lie})


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_that_is_not_known_is_refused_and_null_is_not_one(name):
    assert read(name, written(name) | {"auto_map_of_nothing": None})
    for key, value in {"auto_map": {"AutoModel": "modeling_x.Model"}, "quantization_config": {}, "swa": 0}.items():
        with pytest.raises(BadFileError, match=key):
            read(name, written(name) | {key: value})


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_setting_is_named(name):
    for key in (SIZES[name][2], SIZES[name][3]):
        data = written(name)
        del data[key]
        with pytest.raises(BadFileError, match=key):
            read(name, data)


@pytest.mark.parametrize("name", NAMES)
def test_everything_written_is_read_back(name):
    family, values = FAMILIES[name]
    config = models.config(family, values)
    assert read(name, written(name)) == config


def test_a_marian_that_does_not_say_that_it_scales_does_not():
    data = written("vaswani")
    assert read("vaswani", data).scaled
    del data["scale_embedding"]
    assert not read("vaswani", data).scaled  # as in their library
    for key, value in {"decoder_vocab_size": 3, "num_hidden_layers": 3}.items():
        with pytest.raises(BadFileError, match=key):
            read("vaswani", written("vaswani") | {key: value})
    del data["decoder_layers"]
    with pytest.raises(BadFileError, match="decoder_layers"):
        read("vaswani", data)


@pytest.mark.parametrize(
    "labels",
    [{"id2label": {"a": "x", "b": "y"}}, {"id2label": {"0": "x", "2": "y"}}, {"id2label": ["x", "y"]}]
    + [{"id2label": {"0": [], "1": "y"}}, {"id2label": {}}, {"num_labels": 10**12}, {"num_labels": -2}]
    + [{"num_labels": "3"}, {"num_labels": True}, {"problem_type": "multi_label_classification"}],
    ids=repr,
)
def test_labels_that_cannot_be_are_refused(labels):
    data = written("bert classify")
    del data["id2label"], data["label2id"]
    with pytest.raises(REFUSED):
        read("bert classify", data | labels)


def test_labels_are_read_in_the_order_of_their_numbers():
    data = written("bert classify") | {"id2label": {str(i): f"l{i}" for i in (10, *range(10))}}
    assert read("bert classify", data).labels == tuple(f"l{i}" for i in range(11))
    del data["id2label"]
    assert read("bert classify", data | {"num_labels": 3}).labels == ("LABEL_0", "LABEL_1", "LABEL_2")


@pytest.mark.parametrize(
    "rope",
    [{"rope_parameters": "yarn"}, {"rope_parameters": [1]}, {"rope_scaling": 3}, {"rope_theta": "x"}]
    + [{"rope_parameters": {"rope_type": kind}} for kind in (["x"], "dynamic", "longrope", 3, "linear", "llama3")]
    + [{"rope_parameters": {"rope_type": "linear", "factor": factor}} for factor in (0, -1, "3", 0.5, [2])]
    + [{"rope_parameters": {"rope_type": "yarn", "factor": 2.0, key: 0}} for key in ("beta_slow", "beta_fast")]
    + [{"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "attention_factor": -1}}]
    + [{"rope_parameters": {"rope_theta": base}} for base in (0, 1, -5, "10000", None, True)]
    + [{"rope_parameters": {"rope_type": "default", "mscale": 2}}],
    ids=repr,
)
def test_rotary_settings_that_cannot_be_are_refused(rope):
    data = written("qwen3")
    for key in ("rope_theta", "rope_scaling", "rope_parameters"):
        del data[key]
    with pytest.raises(REFUSED):
        read("qwen3", data | rope)


@pytest.mark.parametrize(
    "local",
    [{"layer_types": 3}, {"layer_types": ["sliding_attention"]}, {"layer_types": [["x"]] * 3}]
    + [{"layer_types": ["chunked_attention"] * 3}, {"sliding_window": 0}, {"sliding_window": None}]
    + [{"sliding_window": "5"}, {"layer_types": None, "max_window_layers": "1"}]
    + [{"layer_types": None, "max_window_layers": -1}],
    ids=repr,
)
def test_windows_that_cannot_be_are_refused(local):
    with pytest.raises(REFUSED):
        read("qwen3 windowed", written("qwen3 windowed") | local)


def test_older_files_name_the_first_layer_with_a_window():
    data = written("qwen3 windowed")
    del data["layer_types"]
    assert read("qwen3 windowed", data | {"max_window_layers": 1}).attention.local == (1, 2)


@pytest.mark.parametrize("scaling", [None, {"rope_type": "linear", "factor": 3.0}, {"type": "yarn", "factor": 4.0}])
def test_old_and_new_rotary_settings_mean_the_same(scaling):
    old = written("qwen3")
    del old["rope_parameters"]
    old |= {"rope_theta": 12_345.0, "rope_scaling": scaling}
    config = read("qwen3", old)
    new = qwen3.write(config)
    assert new["rope_theta"] == 12_345.0 == new["rope_parameters"]["rope_theta"]
    for keys in (("rope_theta", "rope_scaling"), ("rope_parameters",)):
        left = {k: v for k, v in new.items() if not k.startswith("rope_") or k in keys}
        assert read("qwen3", left) == config
        theirs = transformers.Qwen3Config(**json.loads(json.dumps(left)))
        expected = {"rope_theta": 12_345.0, "rope_type": "default"} | (scaling or {})
        expected["rope_type"] = expected.pop("type", expected["rope_type"])
        assert expected.items() <= theirs.rope_parameters.items()


def test_files_of_the_hub_with_all_their_habits_are_read():
    """The keys of config.json files as the years left them behind; none of these changes a number."""
    data = written("bert") | {"num_labels": 2, "output_past": True, "pruned_heads": {}, "torchscript": False}
    data |= {"max_length": 20, "do_sample": False, "top_p": 1.0, "bad_words_ids": None, "_num_labels": 2}
    data |= {"gradient_checkpointing": False, "pooler_type": "first_token_transform", "directionality": "bidi"}
    assert read("bert", data) == read("bert", written("bert"))
    with pytest.raises(BadFileError, match="pruned_heads"):
        read("bert", data | {"pruned_heads": {"1": [0, 2]}})
    with pytest.raises(BadFileError, match="is_decoder"):
        read("bert", data | {"is_decoder": True})


def test_key_values_fall_back_on_heads_only_where_nothing_is_said():
    assert read("qwen3", written("qwen3") | {"num_key_value_heads": None}).attention.kv_heads == 6


@pytest.mark.parametrize("name", NAMES)
def test_the_largest_that_is_believed_is_laid_out_without_memory(name):
    family, values = FAMILIES[name]
    large = {"vocab": 1 << 24, "dim": 1 << 23, "hidden": 1 << 24, "depth": 2}
    attention = {"heads": 1 << 12, "kv_heads": 1, "head_dim": 1 << 12}
    large |= {"attention": attention} if family == "qwen3" else {"heads": 1 << 12}
    started = time.perf_counter()
    model = models.empty(models.config(family, values | large))
    assert all(p.is_meta for p in model.parameters())
    assert sum(p.numel() for p in model.parameters()) > 10**13
    assert time.perf_counter() - started < 10


def test_a_recipe_cannot_name_layers_that_are_not_there():
    with pytest.raises(ConfigError, match="attention"):
        models.config("qwen3", {"depth": 3, "attention": {"window": 5, "local": [3]}})
    assert torch.get_default_dtype() == torch.float32
