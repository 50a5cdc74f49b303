"""Texts that look at images and say whether they fit (BLIP), against the reference implementation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from family_rows import Case
from family_rows_image_text import BLIP_MATCH, cases
from family_twins import Twins, read, some_tokens
from test_image_text import held, pictures
from torch import Tensor
from torch.testing import assert_close

from regard.heads.pairs import cosines
from regard.weights import folder as files
from regard.weights import table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")
over = pytest.mark.parametrize("case", cases(BLIP_MATCH), ids=lambda case: case.name)
LENGTHS = (11, 5, 2)


def texts() -> list[list[int]]:
    return [some_tokens(1, length, seed=length)[0].tolist() for length in LENGTHS]


def theirs(twins: Twins, images: Tensor, *, looking: bool, **more: bool) -> Tensor:
    """(texts, images, 2), or (texts, images) of texts that do not look."""
    found = []
    for text in texts():
        rows = torch.tensor([text]).expand(len(images), -1)
        rows = rows if looking else rows[:1]
        scores = twins.reference(input_ids=rows, pixel_values=images, use_itm_head=looking, **more).itm_score
        found.append(scores if looking else scores[:, 0])
    return torch.stack(found)


@over
@torch.no_grad()
def test_outputs(case: Case, twins: Twins) -> None:
    """Of texts of several lengths in one batch what the reference says of each alone, for images of any sides."""
    for sides in ((35, 35), (47, 35), (29, 61)):
        images, told = pictures(4, *sides), {"interpolate_pos_encoding": True}
        tokens, context = twins.model.rows(texts())
        assert_close(twins.model(tokens, images, context), theirs(twins, images, looking=True, **told))
        found = cosines(twins.model.texts(tokens, context), twins.model.images(images))
        assert_close(found, theirs(twins, images, looking=False, **told))


@over
@torch.no_grad()
def test_padding_is_not_felt(case: Case, twins: Twins) -> None:
    tokens, context = twins.model.rows(texts())
    other = torch.where(context.positions < 0, 17, tokens)
    assert torch.equal(twins.model(tokens, pictures(2), context), twins.model(other, pictures(2), context))
    assert torch.equal(twins.model.texts(tokens, context), twins.model.texts(other, context))


@over
def test_back(case: Case, twins: Twins, tmp_path: Path) -> None:
    """The reference reads what we write, bit for bit."""
    files.write(tmp_path, table.write(twins.module.TABLE, twins.model), shard=5_000)
    (tmp_path / "config.json").write_text(json.dumps(twins.module.write(twins.model.config)))
    again, info = type(twins.reference).from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    for key, tensor in twins.reference.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key
    held(twins.reference.config.to_dict(), again.config.to_dict())
    model, module = read(tmp_path)
    assert module.read(module.write(model.config), "config.json") == twins.model.config


@over
def test_every_weight_is_trained(case: Case, twins: Twins) -> None:
    model = twins.model.train()
    tokens, context = model.rows(texts())
    loss = model.head.loss(model(tokens, pictures(3), context).flatten(0, 1), torch.arange(9) % 2)
    loss = loss + cosines(model.texts(tokens, context), model.images(pictures(3))).square().sum()
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    model.eval()
    for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True):
        assert gradient is not None and gradient.ne(0).any(), name
