"""Images as tokens: squares cut by hand, positions stretched, what stands for hidden patches."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch.testing import assert_close
from transformers.models.vit.modeling_vit import ViTEmbeddings

from regard.embed import GridPositions, Patches
from regard.errors import RegardError
from regard.layers import Context, Key

CHANNELS, DIM, PATCH, GRID = 3, 7, 5, (3, 2)


def patches(**parts):
    made = Patches(CHANNELS, DIM, PATCH, **parts)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made


def images(height=17, width=11, count=2):
    return torch.randn(count, CHANNELS, height, width)


def embedded(made, x, **context):
    return made(x, Context(**context).open((len(x), 1), x.device))


def test_tokens_are_squares_row_by_row_between_learned_ones():
    made, x = patches(first=2, last=1), images()
    found = embedded(made, x)
    assert found.shape == (2, 2 + 6 + 1, DIM)
    for row in range(3):
        for column in range(2):
            square = x[1, :, row * 5 : row * 5 + 5, column * 5 : column * 5 + 5]
            expected = made.patch.weight.flatten(1) @ square.flatten() + made.patch.bias
            assert_close(found[1, 2 + row * 2 + column], expected, atol=1e-4, rtol=1e-4)
    assert_close(found[:, :2], made.first.expand(2, -1, -1))
    assert_close(found[:, 8:], made.last.expand(2, -1, -1))
    places = made.places(x, Context())
    assert places.grid == GRID and places.length == 9


def test_positions_of_another_grid_are_stretched_as_in_the_reference():
    config = transformers.ViTConfig(hidden_size=DIM, image_size=20, patch_size=5, num_attention_heads=1)
    reference = ViTEmbeddings(config).eval()
    made = patches(positions=GridPositions((4, 4), DIM))
    with torch.no_grad():
        reference.position_embeddings.normal_()
        made.positions.weight.copy_(reference.position_embeddings[0])
        made.first.copy_(reference.cls_token[0])
        made.patch.load_state_dict(reference.patch_embeddings.projection.state_dict())
        for height, width in ((20, 20), (23, 11), (10, 40), (35, 35)):
            x = images(height, width)
            assert_close(embedded(made, x), reference(x, interpolate_pos_encoding=True))


def test_masked_patches_are_the_masks_vector_and_no_pixel_of_theirs():
    made, x = patches(mask=True, positions=GridPositions(GRID, DIM)), images()
    masked = torch.rand(2, 6) < 0.5
    found = embedded(made, x, masked=masked)
    plain = embedded(made, x)
    assert torch.equal(found[:, 1:][~masked], plain[:, 1:][~masked]) and torch.equal(found[:, 0], plain[:, 0])
    assert_close(found[:, 1:][masked], (made.mask + made.positions.weight[1:].expand(2, -1, -1))[masked])
    with pytest.raises(RegardError, match="masked"):
        embedded(patches(), x, masked=masked)
    with pytest.raises(RegardError, match=r"\(2, 5\)"):
        embedded(made, x, masked=masked[:, :5])


def test_images_of_other_channels_or_smaller_than_a_patch_are_refused():
    for wrong in (torch.zeros(1, 1, 17, 11), torch.zeros(1, 3, 17, 4), torch.zeros(3, 17, 11)):
        with pytest.raises(RegardError, match="3 channels"):
            patches().places(wrong, Context())


def test_a_norm_comes_after_positions_and_dropout_goes_by_the_key():
    made, x = patches(positions=GridPositions(GRID, DIM), norm=torch.nn.LayerNorm(DIM)), images()
    normed = embedded(made, x)
    norm, made.norm = made.norm, None
    assert_close(norm(embedded(made, x)), normed)
    made.dropout = 0.5
    first, again, other = (embedded(made, x, key=Key(seed)) for seed in (3, 3, 5))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert 0.3 < first.eq(0).float().mean() < 0.7
