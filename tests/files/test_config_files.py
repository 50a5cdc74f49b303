"""config.json that lies about sizes, for every family: refused by the key's name before anything is allocated."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import trial
from safetensors.numpy import save_file

from regard import models
from regard.errors import BadFileError, ConfigError

# What each number in a config.json is replaced by. 0 may be meant (dropout, a first layer), so it may be read.
LIES: dict[str, Any] = {
    "1e9": 1_000_000_000, "1e12": 10**12, "2**31": 1 << 31, "2**63": 1 << 63, "60 digits": 10**60, "below 0": -1,
    "a half": 0.5, "true": True, "text": "8", "a list": [8], "a table": {"a": 8},
}  # fmt: skip
PLAUSIBLE = 1 << 20
# Keys that must say the same as another, which the refusal may name.
SAME = {
    "encoder_layers": ("num_hidden_layers", "decoder_layers"),
    "num_hidden_layers": ("encoder_layers", "layer_types"),
    "encoder_attention_heads": ("decoder_attention_heads",),
    "encoder_ffn_dim": ("decoder_ffn_dim",),
}
# Bounds and factors, not sizes: nothing is allocated by them, and a large one means "all".
BOUNDS = {"sliding_window", "window_size", "query_pre_attn_scalar", "first_k_dense_replace", "rotary_embedding_base"}
NO_SIZES = {"seed"}  # any whole number is one
WITHOUT_HEADS = {"hifigan", "vq"}  # convolutions alone
# Below 1 means "as the context" in their library.
BELOW_ONE = {"max_relative_positions", "position_buckets"}
# How much wider a layer is, or what counts how much in a loss: a half is one, too.
BELOW_ONE |= {"mlp_ratio", "class_cost", "bbox_cost", "giou_cost", "bbox_loss_coefficient", "giou_loss_coefficient"}
BELOW_ONE |= {"mask_loss_coefficient", "dice_loss_coefficient"}
UNREAD = {("phi3", "attention_dropout")}


def written(name: str) -> dict[str, Any]:
    """A config.json of the family, as it writes its own default."""
    module = models.family(name)
    return json.loads(json.dumps(module.write(module.Config())))


def sizes(name: str) -> list[str]:
    """The keys of a family's config.json that are whole numbers and have one meaning."""
    return [key for key, value in written(name).items() if type(value) is int and key in named(name) - NO_SIZES]


def named(name: str) -> set[str]:
    """The keys that a family understands one to one, of all the model types that it reads."""
    fields = models.family(name).FIELDS
    return {key for one in (fields.values() if isinstance(fields, dict) else [fields]) for key in one.same}


def read(name: str, data: dict[str, Any]) -> Any:
    return models.read(name, data, "config.json")


# Families whose settings stand in sections, which tests/families/test_image_text.py goes through.
SECTIONS = ("blip", "clip", "siglip", "vision_encoder_decoder")
FEW = ("segformer", "hifigan")  # most of whose sizes are lists, one for each stage
FLAT = [name for name in models.families() if name not in SECTIONS]


@pytest.mark.parametrize("name", FLAT)
def test_a_size_that_lies_is_refused_by_its_key(name):
    good = written(name)
    assert read(name, good) == models.family(name).Config()
    assert len(sizes(name)) >= (3 if name in FEW else 4)
    tried = 0
    for key in sizes(name):
        for lie, value in LIES.items():
            tried += 1
            if (lie == "1e9" and key in BOUNDS) or (lie in ("below 0", "a half") and key in BELOW_ONE):
                continue
            with pytest.raises((BadFileError, ConfigError)) as caught:
                read(name, good | {key: value})
            named_at = (key, *SAME.get(key, ()))
            assert "config.json" in str(caught.value), (key, lie, str(caught.value))
            assert any(each in str(caught.value) for each in named_at), (key, lie, str(caught.value))
        try:
            read(name, good | {key: 0})
        except (BadFileError, ConfigError) as error:
            assert "config.json" in str(error)
        tried += 1
    assert tried == len(sizes(name)) * (len(LIES) + 1)


@pytest.mark.parametrize("name", models.families())
def test_no_value_of_any_key_raises_anything_else(name):
    good = written(name)
    for key in good:
        others = [None, 0, "", [], {}, [[]], {"a": {}}, 1e300, -1e300, "x" * 10_000, ["x"] * 10_000]
        for value in [*LIES.values(), *others]:
            try:
                read(name, good | {key: value})
            except (BadFileError, ConfigError) as error:
                assert len(str(error)) < 3000, key
        with contextlib.suppress(BadFileError, ConfigError):
            read(name, {other: value for other, value in good.items() if other != key})


@pytest.mark.parametrize("name", models.families())
def test_fractions_must_be_numbers(name):
    good = written(name)
    for key, value in good.items():
        if type(value) is not float or key not in named(name) or (name, key) in UNREAD:
            continue
        for lie in (math.nan, math.inf, -math.inf, "0.1", True, [0.1]):
            with pytest.raises((BadFileError, ConfigError)) as caught:
                read(name, good | {key: lie})
            assert key in str(caught.value), (key, lie)


def test_heads_that_do_not_divide_are_refused():
    for name in FLAT:
        if name == "vq":  # which attends to nothing
            continue
        if name in WITHOUT_HEADS:
            continue
        good = written(name)
        keys = ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads", "heads")
        key = next((key for key in keys if key in good), None)
        assert key, name
        for lie in (0, -2):
            with pytest.raises((BadFileError, ConfigError)) as caught:
                read(name, good | {key: lie})
            assert any(each in str(caught.value) for each in (key, *SAME.get(key, ()))), name


@pytest.mark.parametrize("base", [0, -1, 0.5, 1.0, "10000", True, None, [1], 10**40])
@pytest.mark.parametrize("name", [name for name in models.families() if "rope_theta" in written(name)])
def test_a_rotation_needs_a_base(name, base):
    good = written(name)
    parameters = good.get("rope_parameters") or {}
    bad = good | {"rope_theta": base, "rope_parameters": parameters | {"rope_theta": base}}
    if base is None:
        bad = good | {"rope_parameters": parameters | {"factor": 0.0, "rope_type": "linear"}}
    with pytest.raises((BadFileError, ConfigError)):
        read(name, bad)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[tuple[str, Path]]:
    """Folders of each family with one size that could be but is not the weights'; each with weights of 300 tensors."""
    import numpy as np

    root, made = tmp_path_factory.mktemp("lies"), []
    tensors = {f"t{number}": np.zeros(0, np.float32) for number in range(300)}
    for name in models.families():
        good = written(name)
        for key in sizes(name):
            for value in (PLAUSIBLE, (1 << 24) - 2, 10**12):
                folder = root / f"{name}-{key}-{value}"
                folder.mkdir()
                (folder / "config.json").write_text(json.dumps(good | {key: value}))
                save_file(tensors, folder / "model.safetensors")
                made.append(("bundle", folder))
    return made


@pytest.mark.slow
def test_no_size_is_believed_before_it_is_compared(folders, capsys):
    outcomes = trial.run(folders)
    for one in outcomes:
        assert one.refused and one.grown < 50 * trial.MIB and Path(one.path).name in one.message, one
        assert one.seconds < 4.0, one  # laying a whole architecture out, without memory, takes a second
    with capsys.disabled():
        most, slowest = max(one.grown for one in outcomes), max(one.seconds for one in outcomes)
        print(f"\nsizes that lie: {len(outcomes)} folders, most memory +{most >> 20} MiB, slowest {slowest:.2f} s")
