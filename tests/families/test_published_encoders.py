"""Published encoders and encoder-decoders: every tensor that the reference would store has its place, and no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

from regard import models
from regard.weights import table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")

FOUND = json.loads((Path(__file__).parent / "published_encoders.json").read_text("utf-8"))
PUBLISHED = {one["name"]: one["config"] for one in FOUND if "refused" not in one}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_tensor_of_a_published_model_has_its_place(name: str) -> None:
    data = PUBLISHED[name]
    module = models.family(str(models.of_type(data["model_type"])))
    model = models.empty(module.read(data, name))
    ours = {key: tuple(tensor.shape) for key, tensor in table.write(module.TABLE, model).items()}
    dropped = {row.theirs for row in module.TABLE.rows if isinstance(row, table.Drop)}
    expected = {key: shape for key, shape in shapes(data).items() if key in ours or key not in dropped}
    assert {key: ours[key] for key in expected} == expected
    # Computed positions are stored here and not there; the reference calls every vocabulary of T5 tied.
    assert all("embed_positions" in key or key == "lm_head.weight" for key in ours.keys() - expected.keys())


def shapes(data: dict) -> dict[str, tuple[int, ...]]:
    """The reference's stored tensors; of tied ones the first."""
    config = transformers.AutoConfig.for_model(**data)
    with torch.device("meta"):
        if "architectures" in data:
            reference = getattr(transformers, data["architectures"][0])(config)
        else:
            reference = transformers.AutoModel.from_config(config)
    prefix = f"{reference.base_model_prefix}." if "ForMaskedLM" not in str(type(reference)) else ""
    bare = type(reference).__name__.endswith("Model") and not type(reference).__name__.startswith("Marian")
    stored = reference.state_dict()
    tied = set(reference.all_tied_weights_keys) if config.tie_word_embeddings else set()
    fixed = {key for key in stored if "embed_positions" in key and "bart" not in data["model_type"]}
    kept = stored.keys() - tied - (fixed if data["model_type"] in ("marian", "m2m_100") else set())
    return {(prefix if bare else "") + key: tuple(stored[key].shape) for key in kept}
