"""config.json of decoders with sizes that cannot be, and with settings that are not known: refused before anything is
built, and by name.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from family_rows import cases
from family_rows_decoders import ROWS

from regard import models
from regard.errors import BadFileError, RegardError
from regard.limits import parse_json

DECODERS = sorted({row.model_type for row in ROWS})
LIES = [0, -1, 10**9, 10**30, 7.5, "768", True, [], {"a": 1}]
# What a size is called in one file or another; and what is called so, but is none that the model has.
SIZES = (
    "size",
    "layers",
    "heads",
    "head_dim",
    "positions",
    "position_embeddings",
    "rank",
    "experts",
    "embd",
    "ffn_dim",
)
SIZES += ("ffn_dim", "n_layer", "n_head", "rotary_dim", "n_group", "topk_group", "per_tok", "vocab")
NO_SIZES = {
    ("deepseek_v3", "num_key_value_heads"), ("deepseek_v3", "num_nextn_predict_layers"),
    ("qwen3", "max_window_layers"), ("qwen3_moe", "mlp_only_layers"), ("gpt_neo", "attention_layers"),
    ("phi3", "original_max_position_embeddings"), ("gpt_neo", "window_size"),
}  # fmt: skip


def written(model_type: str) -> dict[str, Any]:
    """The config.json of the family's own defaults."""
    name = models.of_type(model_type)
    assert name is not None
    module = models.family(name)
    changes = {"kind": model_type} if name == "llama" else {}
    if model_type == "qwen2":
        changes["attention"] = {"bias": True}
    return module.write(models.config(name, changes))


def read(data: dict[str, Any]) -> Any:
    name = models.of_type(data["model_type"])
    assert name is not None
    return models.family(name).read(parse_json(json.dumps(data).encode(), "config.json"), "config.json")


@pytest.mark.parametrize("model_type", DECODERS)
def test_sizes_that_cannot_be_are_refused_by_name(model_type: str) -> None:
    data = written(model_type)
    sizes = [key for key, value in data.items() if type(value) is int and any(part in key for part in SIZES)]
    sizes = [key for key in sizes if (model_type, key) not in NO_SIZES]
    assert len(sizes) >= 4
    for key in sizes:
        for lie in LIES:
            if lie == 0 and key in ("first_k_dense_replace",):
                continue
            with pytest.raises(RegardError, match=key):
                read(data | {key: lie})


@pytest.mark.parametrize("model_type", DECODERS)
def test_what_is_not_known_is_refused_by_name(model_type: str) -> None:
    data = written(model_type)
    assert read(data) and read(data | {"something": None})
    for key, value in {"auto_map": {"AutoModel": "modeling_x.X"}, "quantization_config": {}, "something": 0}.items():
        with pytest.raises(BadFileError, match=key):
            read(data | {key: value})


@pytest.mark.parametrize("model_type", DECODERS)
def test_a_missing_size_is_named(model_type: str) -> None:
    data = written(model_type)
    for names in (("hidden_size", "n_embd"), ("num_hidden_layers", "n_layer", "num_layers"), ("vocab_size",)):
        key = next(name for name in names if name in data)
        if (model_type, key) != ("gpt2", "vocab_size"):
            with pytest.raises(BadFileError, match=key):
                read({name: value for name, value in data.items() if name != key})


def test_every_row_is_here() -> None:
    assert sorted({case.row.model_type for case in cases("decoder")}) == DECODERS
