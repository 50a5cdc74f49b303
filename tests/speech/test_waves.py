"""What hears a waveform: what is hidden in training, what is refused, and convolutions among documents."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from regard import embed, layers
from regard.errors import RegardError
from regard.layers import Context, Key
from regard.ops.spans import negatives, spans


def waves(**more: object) -> embed.Waves:
    torch.manual_seed(3)
    made = [embed.Convolution(1, 5, 4, stride=3, norm=layers.TimeNorm(5)), embed.Convolution(5, 7, 3, stride=2)]
    return embed.Waves(made, project=torch.nn.Linear(7, 11), **more)  # type: ignore[arg-type]


def test_spans_are_a_function_of_the_key_alone() -> None:
    told = ([31, 17], 31, 0.4, 3, 2)
    assert torch.equal(spans(Key(7), *told), spans(Key(7), *told))
    assert not torch.equal(spans(Key(7), *told), spans(Key(8), *told))


def test_spans_stay_inside_each_row_and_hide_what_is_asked() -> None:
    lengths, span = [53, 29, 3, 2], 3
    counts = torch.zeros(4)
    for seed in range(200):
        hidden = spans(Key(seed), lengths, 53, 0.3, span, 1)
        for row, length in enumerate(lengths):
            assert not hidden[row, length:].any()
        counts += hidden.sum(-1)
        assert hidden[2].sum() == 3 and hidden[3].sum() == 0  # one fits, none fits
        edges = torch.nn.functional.pad(hidden[0].int(), (1, 1)).diff()
        runs = (edges == -1).nonzero() - (edges == 1).nonzero()
        assert (runs >= span).all()
    shares = counts / 200 / torch.tensor(lengths)
    assert 0.2 < shares[0] < 0.3 and 0.2 < shares[1] < 0.3  # spans overlap, so less than asked


def test_others_are_hidden_frames_of_the_same_row_and_never_the_frame_itself() -> None:
    masked = torch.rand(3, 23, generator=torch.Generator().manual_seed(1)) < 0.4
    found = negatives(Key(5), masked, 50)
    rows = masked.nonzero()[:, 0]
    assert found.shape == (int(masked.sum()), 50)
    assert (found != torch.arange(len(found)).unsqueeze(1)).all()
    assert (rows[found] == rows.unsqueeze(1)).all()
    for row in range(3):  # every other is drawn some time
        places = (rows == row).nonzero()[:, 0].tolist()
        assert set(found[places].flatten().tolist()) == set(places)


def test_training_hides_frames_by_the_learned_vector_and_evaluation_none() -> None:
    made = waves(mask=11, time=embed.Spans(share=0.5, length=2, least=1))
    made.mask.data.fill_(9.0)  # type: ignore[union-attr]
    x = torch.randn(2, 101)
    hidden = (made(x, Context(key=Key(1))) == 9.0).all(-1)
    assert hidden.any(-1).all() and not hidden.all()
    assert torch.equal(hidden, (made(x, Context(key=Key(1))) == 9.0).all(-1))
    assert not (made(x, Context()) == 9.0).any()


def test_training_hides_features_in_all_frames() -> None:
    made = waves(mask=11, features=embed.Spans(share=0.4, length=2, least=1))
    x = made(torch.randn(2, 101), Context(key=Key(4)))
    zero = (x == 0).all(1)
    assert zero.any(-1).all() and not zero.all()


@pytest.mark.parametrize("samples", [0, 1, 9])
def test_a_sound_too_short_for_a_frame_is_refused_by_its_size(samples: int) -> None:
    made = waves()
    assert made.shortest == 10
    with pytest.raises(RegardError, match=f"{samples} samples.*10"):
        made.size(torch.zeros(1, samples))
    with pytest.raises(RegardError, match=f"{samples} samples"):
        made.context([31, samples])
    assert made(torch.randn(1, 10), Context()).shape == (1, 1, 11)


def test_half_a_minute_is_heard_as_one() -> None:
    x = torch.randn(1, 16_000 * 30)
    assert waves()(x, Context()).shape == (1, waves().count(480_000), 11)


def test_documents_of_a_row_are_convolved_apart() -> None:
    torch.manual_seed(5)
    positions = layers.ConvolutionalPositions(6, 4, 3)
    convolved = layers.Convolved(6, 5, norm=layers.LayerNorm(6))
    lengths, x = (3, 7, 1), torch.randn(1, 11, 6)
    context = Context.packed(lengths)
    for module in (positions, convolved):
        apart = torch.cat([module(row, Context()) for row in x.split(lengths, 1)], 1)
        assert_close(module(x, context), apart)


def test_batch_norm_is_torchs_and_leaves_padding_out() -> None:
    torch.manual_seed(2)
    ours, theirs = layers.BatchNorm(5), torch.nn.BatchNorm1d(5)
    x, real = torch.randn(3, 7, 5), torch.arange(7) < torch.tensor([7, 4, 1]).unsqueeze(1)
    for _ in range(3):
        assert_close(ours(x, real)[real], theirs(x[real]))
    ours.eval(), theirs.eval()
    assert_close(ours.variance, theirs.running_var)
    assert_close(ours(x), theirs(x.transpose(1, 2)).transpose(1, 2))
