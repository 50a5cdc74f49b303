"""Published encoders of waveforms, and what speaks: every tensor that the reference would store has its place, and no
other; what is outside is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

from regard import models
from regard.errors import BadFileError
from regard.weights import table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")

FOUND = json.loads((Path(__file__).parent / "published_wav2vec.json").read_text("utf-8"))
PUBLISHED = {one["name"]: one["config"] for one in FOUND if "refused" not in one}
REFUSED = {one["name"]: one for one in FOUND if "refused" in one}
NOT_OURS = ("num_batches_tracked", "pos_conv_embed", "embed_positions")  # stored, and no number depends on them


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_tensor_of_a_published_model_has_its_place(name: str) -> None:
    data = PUBLISHED[name]
    module = models.family(str(models.of_type(data["model_type"])))
    model = models.empty(module.read(data, name))
    ours = {key: tuple(tensor.shape) for key, tensor in table.write(module.TABLE, model).items()}
    architecture = getattr(transformers, data["architectures"][0])
    known = {key: value for key, value in data.items() if key != "model_type"}
    with torch.device("meta"):
        reference = architecture(architecture.config_class(**known))
    bare = architecture.__name__ in ("Wav2Vec2Model", "HubertModel", "Wav2Vec2ConformerModel")
    prefix = f"{reference.base_model_prefix}." if bare else ""
    stored = {prefix + key: tuple(tensor.shape) for key, tensor in reference.state_dict().items()}
    conformer = data["model_type"] == "wav2vec2-conformer"
    kept = NOT_OURS if conformer else NOT_OURS[:1]
    assert ours == {key: shape for key, shape in stored.items() if not any(part in key for part in kept)}
    again = module.read(module.write(model.config), name)
    assert again == model.config


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_outside_is_refused_by_name(name: str) -> None:
    data = REFUSED[name]["config"]
    module = models.family(str(models.of_type(data["model_type"])))
    with pytest.raises(BadFileError, match=REFUSED[name]["refused"]):
        module.read(data, name)
