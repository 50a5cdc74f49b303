"""Settings: strict in, whole out, every refusal naming key, value and what would do."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.config import Problem, at_least, between, from_dict, load, override, to_dict, to_toml, verify
from regard.errors import ConfigError, RegardError
from regard.words import speaking


@dataclass(frozen=True, kw_only=True)
class Attention:
    dim: int = 35
    heads: int = 5
    window: int | None = 11
    dropout: float = 0.0

    def __post_init__(self) -> None:
        verify(self)

    def check(self) -> Iterator[Problem]:
        yield from at_least(self, 1, "dim", "heads", "window")
        yield from between(self, 0.0, 0.9, "dropout")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    about: str
    attention: Attention = Attention()
    lora: Attention | None = None
    schedule: Literal["constant", "cosine"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.95)
    files: tuple[str, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)
    extra: dict[str, object] = field(default_factory=dict)
    fused: bool = True


def refused(call, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    assert caught.value.exit_code == 2
    with speaking("zh"):
        assert str(caught.value)
    with speaking("en"):
        return str(caught.value)


def test_nested_data_becomes_nested_classes():
    data = {
        "about": "x",
        "attention": {"dim": 7, "window": None},
        "betas": [1, 0.5],
        "files": ["a"],
        "labels": {"n": 1},
    }
    assert from_dict(Recipe, data) == Recipe(
        about="x", attention=Attention(dim=7, window=None), betas=(1.0, 0.5), files=("a",), labels={"n": 1}
    )


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ({"abuot": "x"}, ["r.toml", "abuot", "Did you mean about?", "attention, lora"]),
        ({"about": "x", "attention": {"haeds": 3}}, ["attention.haeds", "attention.heads"]),
        ({"about": "x", "zzzzzzzz": 1}, ["zzzzzzzz", "Known here"]),
        ({}, ["about is missing", "text"]),
        ({"about": 3}, ["about is 3", "text"]),
        ({"about": "x", "attention": {"dim": 3.0}}, ["attention.dim is 3.0", "whole number"]),
        ({"about": "x", "attention": {"dim": True}}, ["attention.dim is True", "whole number"]),
        ({"about": "x", "attention": {"dropout": float("nan")}}, ["attention.dropout is nan", "finite number"]),
        ({"about": "x", "attention": {"dropout": "0.1"}}, ["attention.dropout is '0.1'", "finite number"]),
        ({"about": "x", "attention": {"dim": 0}}, ["r.toml: attention.dim is 0", "at least 1"]),
        ({"about": "x", "attention": {"dropout": 1.0}}, ["attention.dropout is 1.0", "from 0.0 to 0.9"]),
        ({"about": "x", "attention": [1]}, ["attention is [1]", "dim, heads"]),
        ({"about": "x", "schedule": "cosin"}, ["schedule is 'cosin'", "constant, cosine", "Did you mean cosine?"]),
        ({"about": "x", "betas": [0.1]}, ["betas is [0.1]", "2 items"]),
        ({"about": "x", "files": "a"}, ["files is 'a'", "a list"]),
        ({"about": "x", "files": ["a", 2]}, ["files[1] is 2", "text"]),
        ({"about": "x", "labels": {"a": "b"}}, ["labels.a is 'b'", "whole number"]),
        ({"about": "x", "fused": 1}, ["fused is 1", "true or false"]),
        ({"about": None}, ["about is None", "text"]),
    ],
)
def test_a_refusal_names_key_value_and_what_would_do(data, parts):
    message = refused(from_dict, Recipe, data, "r.toml")
    assert all(part in message for part in parts), message


def test_a_config_that_exists_holds_however_it_was_made():
    assert "heads is 0" in refused(lambda: Attention(heads=0))
    with pytest.raises(FrozenInstanceError):
        Attention().dim = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_overrides_are_read_by_type_and_checked_together():
    recipe = Recipe(about="x", extra={"kept": "1e3"})
    changed = override(
        recipe,
        {
            "about": "12",
            "attention.dim": "1_024",
            "attention.window": "none",
            "attention.dropout": "1e-1",
            "lora.heads": "7",
            "schedule": "Constant",
            "betas": "0.5, 1",
            "files": "[a, b]",
            "labels.new": "4",
            "extra.any": "[1, 'b']",
            "extra.word": "plain text",
            "fused": "False",
        },
    )
    assert changed == Recipe(
        about="12",
        attention=Attention(dim=1024, window=None, dropout=0.1),
        lora=Attention(heads=7),
        schedule="constant",
        betas=(0.5, 1.0),
        files=("a", "b"),
        labels={"new": 4},
        extra={"kept": "1e3", "any": (1, "b"), "word": "plain text"},
        fused=False,
    )
    assert recipe.attention == Attention()
    deeper = override(
        Recipe(about="x", extra={"part": {"heads": 3, "dim": 5}}), {"extra.part.heads": "1", "extra.a.b": "x"}
    )
    assert deeper.extra == {"part": {"heads": 1, "dim": 5}, "a": {"b": "x"}}
    with pytest.raises(ConfigError, match=r"extra\.kept is one value"):
        override(recipe, {"extra.kept.more": "1"})
    assert override(changed, {"lora": "none"}).lora is None


@pytest.mark.parametrize(
    ("key", "text", "parts"),
    [
        ("attention.dmi", "1", ["--set", "attention.dmi", "attention.dim"]),
        ("atention.dim", "1", ["atention", "Did you mean attention?"]),
        ("attention", "1", ["attention is a section", "dim, heads"]),
        ("about.x", "1", ["about is one value"]),
        ("attention.dim", "many", ["attention.dim is 'many'", "whole number"]),
        ("attention.dim", "1.5", ["attention.dim", "whole number"]),
        ("attention.dim", "٣", ["attention.dim", "whole number"]),
        ("attention.dropout", "inf", ["attention.dropout", "finite"]),
        ("attention.heads", "0", ["attention.heads is 0", "at least 1"]),
        ("fused", "yes", ["fused", "true or false"]),
        ("attention.dim", "9" * 5000, ["attention.dim", "whole number"]),
    ],
)
def test_a_bad_override_is_refused(key, text, parts):
    message = refused(override, Recipe(about="x"), {key: text})
    assert all(part in message for part in parts), message


def test_toml_and_back(tmp_path):
    recipe = Recipe(
        about='明 "quoted"\n',
        attention=Attention(window=None),
        lora=Attention(dim=3),
        extra={"a": (1, None, {"b": True})},
    )
    path = tmp_path / "recipe.toml"
    path.write_text(to_toml(recipe), encoding="utf-8")
    assert load(Recipe, path) == recipe
    assert from_dict(Recipe, to_dict(recipe)) == recipe
    path.write_text("about = 3", encoding="utf-8")
    assert refused(load, Recipe, path).startswith(str(path))


KEYS = ["about", "attention", "lora", "schedule", "betas", "files", "labels", "extra", "fused", "dim", "window"]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=4))
def test_any_data_is_read_or_refused(data):
    try:
        recipe = from_dict(Recipe, {"about": "x", **data})
    except RegardError as error:
        assert str(error)
    else:
        assert from_dict(Recipe, to_dict(recipe)) == recipe
        assert from_dict(Recipe, tomllib.loads(to_toml(recipe))) == recipe


PATHS = ["about", "attention.dim", "lora", "betas", "files", "labels.a", "extra.b", "fused", "x.y", "..", ""]


@given(st.sampled_from(PATHS), st.text())
def test_any_override_is_read_or_refused(key, text):
    try:
        override(Recipe(about="x"), {key: text})
    except RegardError as error:
        assert str(error)
