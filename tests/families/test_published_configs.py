"""The config.json of models that were really published: each is read, laid out without memory, and counted.

``parameters`` is the count that the model is known by; ``refused`` names the setting that is not silently passed over.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from regard import models
from regard.errors import BadFileError

HERE = Path(__file__).parent
FOUND = [one for path in sorted(HERE.glob("published_*.json")) for one in json.loads(path.read_text("utf-8"))]
PUBLISHED = [one for one in FOUND if "parameters" in one or "refused" in one]  # of others every tensor is compared


def named(found: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("one", found, ids=[one["name"] for one in found])


@named([one for one in PUBLISHED if "refused" not in one])
def test_published_models_are_laid_out_as_they_are(one: dict[str, Any]) -> None:
    module = family(one)
    config = module.read(one["config"], "config.json")
    model = models.empty(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == one["parameters"]
    assert module.read(json.loads(json.dumps(module.write(config))), "config.json") == config


@named([one for one in PUBLISHED if "refused" in one])
def test_what_is_not_built_is_refused_by_name(one: dict[str, Any]) -> None:
    with pytest.raises(BadFileError, match=one["refused"]):
        family(one).read(one["config"], "config.json")


def family(one: dict[str, Any]) -> Any:
    name = models.of_type(one["config"]["model_type"])
    assert name is not None
    return models.family(name)


def test_every_decoder_has_a_published_config() -> None:
    from family_rows_decoders import ROWS

    assert {row.model_type for row in ROWS} == {one["config"]["model_type"] for one in PUBLISHED} & {
        row.model_type for row in ROWS
    }
