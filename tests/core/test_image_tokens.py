"""Images as tokens: an autoencoder with a codebook, and a Transformer that writes its codes after a text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from regard import bundle, embed, models
from regard.bundle import Bundle
from regard.errors import BadFileError, ConfigError, RegardError
from regard.generate.pictures import Paint, codes, images
from regard.inputs.absent import NoTokenizer
from regard.layers import Context, Key
from regard.layers.places import Places
from regard.models import dalle, vq

SMALL = vq.Config(channels=3, widths=(7, 11, 13), depth=2, codes=17, dim=5, size=12)
PAINTER = dalle.Config(vocab=23, text=5, dim=21, depth=2, heads=3, hidden=19, images=SMALL, dropout=0.0)


@pytest.fixture(scope="module")
def autoencoder():
    return models.build(SMALL, Key(3)).eval()


@pytest.fixture(scope="module")
def painter():
    made = spread(models.build(PAINTER, Key(5)).eval())
    with torch.no_grad():  # what stands in a row must weigh more than the same for all
        for name, parameter in made.named_parameters():
            parameter.mul_(0.0 if parameter.dim() == 1 and name.endswith("bias") else 3.0)
    return made


def spread(model):
    """Weights so large that what is read changes what is written."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return model


def pictures(count: int, rows: int = 12, columns: int = 12, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, rows, columns, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_images_become_a_grid_of_codes_and_images_again(autoencoder):
    found = autoencoder.encode(pictures(2, 12, 20))
    assert found.shape == (2, 3, 5) and found.dtype == torch.int64 and found.min() >= 0 and found.max() < 17
    assert autoencoder.decode(found).shape == (2, 3, 12, 20)
    assert torch.equal(autoencoder(pictures(2)), autoencoder.decode(autoencoder.encode(pictures(2))))


@pytest.mark.parametrize("shape", [(1, 3, 12, 14), (1, 4, 12, 12), (3, 12, 12), (1, 3, 0, 12)])
def test_images_that_cannot_be_halved_are_refused(autoencoder, shape):
    with pytest.raises(RegardError, match="multiple of 4"):
        autoencoder.encode(torch.zeros(shape))


def test_an_image_gets_beside_others_the_codes_it_gets_alone(autoencoder):
    several = pictures(5)
    alone = torch.cat([autoencoder.encode(one[None]) for one in several])
    assert torch.equal(autoencoder.encode(several), alone)


def test_the_nearest_code_is_that_of_the_paper():
    """Against a loop over van den Oord et al. 2017, eq. 1."""
    book = embed.Codebook(17, 5)
    with torch.no_grad():
        book.weight.normal_(generator=torch.Generator().manual_seed(2))
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(3))
    expected = [int(torch.stack([(v - e).square().sum() for e in book.weight]).argmin()) for v in x.reshape(-1, 5)]
    assert book.nearest(x).flatten().tolist() == expected


def test_the_gradient_goes_straight_through_the_codes():
    book = embed.Codebook(17, 5)
    with torch.no_grad():
        book.weight.normal_(generator=torch.Generator().manual_seed(2))
    x = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(3), requires_grad=True)
    codes = book.nearest(x)
    out, slope = book.straight(x, codes), torch.randn(2, 3, 5)
    assert_close(out, book.vectors(codes))
    (found,) = torch.autograd.grad((out * slope).sum(), x)
    assert torch.equal(found, slope)


def test_codes_are_drawn_to_the_vectors_and_vectors_less_to_the_codes():
    book = embed.Codebook(17, 5, commitment=0.25)
    with torch.no_grad():
        book.weight.normal_(generator=torch.Generator().manual_seed(2))
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(3), requires_grad=True)
    codes = book.nearest(x)
    loss = book.loss(x, codes)
    apart = book.weight[codes] - x
    assert_close(loss, 1.25 * apart.square().sum())
    to_x, to_book = torch.autograd.grad(loss, (x, book.weight))
    assert_close(to_x, -0.25 * 2 * apart)
    assert_close(to_book, torch.zeros(17, 5).index_add(0, codes, 2 * apart.detach()))


def test_codes_that_nothing_uses_are_put_where_vectors_are():
    book = embed.Codebook(17, 5)
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(3))
    unused = torch.arange(17) >= 11
    before = book.weight.clone()
    assert book.restart(unused, x, torch.Generator().manual_seed(1)) == 6
    assert torch.equal(book.weight[:11], before[:11])
    moved = book.weight[11:]
    assert all((x.reshape(-1, 5) == one).all(1).any() for one in moved) and len(moved.unique(dim=0)) == 6
    assert book.restart(torch.ones(17, dtype=torch.bool), x, torch.Generator().manual_seed(1)) == 12


def test_every_weight_of_an_autoencoder_learns_and_the_loss_falls():
    model: Any = models.build(SMALL, Key(3))
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    several, losses = pictures(8), []
    for _ in range(60):
        found = model.restored(several)
        loss = found.pixels + found.codebook
        optimiser.zero_grad()
        loss.backward()
        if not losses:
            assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
        optimiser.step()
        losses.append(float(found.pixels.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert_close(model(several), model.restored(several).images)


def test_places_of_a_text_and_of_the_image_behind_it():
    positions: Any = spread(embed.TextThenGrid(5, (3, 4), 7))
    found = positions(Places.count(0, 17))[0]
    for place in range(17):
        row, column = divmod(place - 5, 4)
        expected = positions.text[place] if place < 5 else positions.rows[row] + positions.columns[column]
        assert torch.equal(found[place], expected), place
    assert torch.equal(positions(Places.count(9, 3))[0], found[9:12])
    with pytest.raises(RegardError, match="18"):
        positions(Places.count(0, 18))


def test_a_text_is_filled_up_and_a_long_one_cut(painter):
    assert painter.prompt([7, 3]) == [7, 3, 24, 24, 24, 23]
    assert painter.prompt([7, 3, 1, 2, 5, 9]) == [7, 3, 1, 2, 5, 23]
    with pytest.raises(RegardError, match="below 23"):
        painter.prompt([23])


def test_losses_are_those_of_each_next_token(painter):
    """Against one token at a time."""
    texts, grid = [[7, 3, 1], [5]], torch.randint(17, (2, 3, 3), generator=torch.Generator().manual_seed(4))
    words, pixels = painter.losses(texts, grid)
    expected_words = expected_pixels = torch.zeros(())
    for text, image in zip(texts, grid.flatten(1), strict=True):
        row = painter.prompt(text)
        for n in range(1, len(text)):
            state = painter.hidden(torch.tensor([row[:n]]))[0, -1]
            expected_words = expected_words - painter.text_head(state).log_softmax(-1)[text[n]]
        for code in image.tolist():
            logits = painter(torch.tensor([row]))[0, -1]
            expected_pixels = expected_pixels - logits.log_softmax(-1)[code]
            row.append(code + painter.first)
    assert_close(words, expected_words)
    assert_close(pixels, expected_pixels)


def test_no_code_depends_on_a_later_one(painter):
    row = torch.tensor([painter.prompt([7, 3]) + [2 + painter.first] * 8])
    before = painter.hidden(row)
    for t in range(row.shape[1]):
        changed = row.clone()
        changed[0, t] = 5 + painter.first
        after = painter.hidden(changed)
        assert torch.equal(after[:, :t], before[:, :t]) and not torch.equal(after[:, t], before[:, t])


@torch.no_grad()
def test_the_most_probable_codes_are_those_of_the_whole_row_read_again(painter):
    texts = [[7, 3, 1], [], [5, 9]]
    found = codes(painter, texts, Paint(temperature=0))
    assert found.shape == (3, 3, 3)
    for text, image in zip(texts, found.flatten(1), strict=True):
        row = painter.prompt(text)
        for code in image.tolist():
            assert int(painter(torch.tensor([row]))[0, -1].argmax()) == code
            row.append(code + painter.first)
    assert len({tuple(image.flatten().tolist()) for image in found}) > 1
    assert torch.equal(images(painter, texts, Paint(temperature=0)), painter.images.decode(found).clamp(-1, 1))


@torch.no_grad()
def test_guidance_goes_on_from_no_text_through_the_text(painter):
    text = [7, 3, 1]
    found = codes(painter, [text], Paint(temperature=0, guidance=2.5))[0].flatten().tolist()
    told, untold = painter.prompt(text), painter.prompt([])
    for code in found:
        a, b = (painter(torch.tensor([row]))[0, -1] for row in (told, untold))
        assert int((b + 2.5 * (a - b)).argmax()) == code
        told.append(code + painter.first)
        untold.append(code + painter.first)
    plain = codes(painter, [text], Paint(temperature=0))
    assert found != plain[0].flatten().tolist()


def test_what_is_drawn_depends_on_the_seed_and_not_on_the_others(painter):
    texts = [[7, 3, 1], [5, 9]]
    both = codes(painter, texts, Paint(seed=3, top_k=9))
    assert torch.equal(both[:1], codes(painter, texts[:1], Paint(seed=3, top_k=9)))
    assert torch.equal(both, codes(painter, texts, Paint(seed=3, top_k=9)))
    assert not torch.equal(both, codes(painter, texts, Paint(seed=4, top_k=9)))
    assert torch.equal(codes(painter, texts, Paint(top_k=1)), codes(painter, texts, Paint(temperature=0)))


@pytest.mark.parametrize("bad", [{"temperature": -1.0}, {"top_k": 0}, {"guidance": float("nan")}, {"seed": -1}])
def test_ways_to_paint_that_cannot_be_are_refused(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Paint(**bad)


@pytest.mark.parametrize("config", [SMALL, PAINTER], ids=["vq", "dalle"])
def test_a_folder_holds_every_bit(config, tmp_path):
    model = spread(models.build(config, Key(1)).eval())
    name = models.name_of(config)
    bundle.save(tmp_path, Bundle(model, NoTokenizer(name), name, bundle._usual(model)))  # type: ignore[arg-type]
    again = bundle.load(tmp_path) if name == "vq" else None
    if again is None:  # which needs a tokenizer
        return
    assert again.model.config == config and again.task == "image-tokens"
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, again.model.get_parameter(key)), key


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"widths": [7, 0]}, "widths"),
        ({"widths": [7] * 13}, "widths"),
        ({"size": 13}, "size"),
        ({"codes": -1}, "codes"),
        ({"depth": 1 << 30}, "depth"),
        ({"commitment": "no"}, "commitment"),
        ({"colour": 3}, "colour"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(changes, named):
    with pytest.raises((BadFileError, ConfigError), match=named):
        models.read("vq", vq.write(SMALL) | changes, "config.json")


def test_a_context_that_is_given_reaches_the_stack(painter):
    texts, grid = [[7, 3, 1]], torch.zeros(1, 3, 3, dtype=torch.int64)
    dropping: Any = models.build(dalle.Config(**{**vars(PAINTER), "dropout": 0.5}), Key(1))
    one, other = (dropping.losses(texts, grid, Context(key=Key(n)))[1] for n in (1, 2))
    assert one != other
