"""Encoder-decoders of sound against the reference implementation, as test_every_family.py does it for text.

A row of sound gets here what it gets alone; Speech2Text's own batches let the padding's biases into the last frames of
shorter rows, so the reference is asked row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import test_every_family as every
import torch
from family_rows import VOCAB, Case
from family_rows_speech import CASES, FRAMES, MELS
from family_twins import Twins, some_tokens
from test_every_family import END, MOST, listening, over
from torch import Tensor
from torch.testing import assert_close
from transformers import GenerationMixin

from regard.generate import beam
from regard.generate.choose import Chooser
from regard.generate.rows import CachedReader, Rows, encode
from regard.generate.settings import Settings
from regard.layers import Context

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")

WRITING = [case for case in CASES if case.writes_text]


def sound(count: int = 1, frames: int = FRAMES, seed: int = 5) -> Tensor:
    """Random spectrograms (B, F, mels)."""
    return torch.randn(count, frames, MELS, generator=torch.Generator().manual_seed(seed))


def lengths(case: Case) -> list[int]:
    """Of rows of one batch: Whisper knows one length only."""
    return [FRAMES] * 3 if case.row.model_type == "whisper" else [26, 13, 14, 1]


def theirs(twins: Twins, x: Tensor, target: Tensor, **more: Any) -> Any:
    whisper = twins.case.row.model_type == "whisper"
    given = {"input_features": x.transpose(1, 2)} if whisper else {"input_features": x, "attention_mask": ones(x)}
    return twins.reference(**given, decoder_input_ids=target, output_hidden_states=True, **more)


def ones(x: Tensor) -> Tensor:
    return torch.ones(x.shape[:2], dtype=torch.long)


@over(CASES)
def test_outputs(case: Case, twins: Twins) -> None:
    """A batch of rows of several lengths; the reference row by row."""
    sizes, target = lengths(case), some_tokens(1, 11)
    rows = [sound(1, size, seed=size)[0] for size in sizes]
    x = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=3.0)
    with torch.no_grad():
        found = twins.model(x, target.expand(len(rows), -1), twins.model.source_embed.context(sizes))
        for row, mine in zip(rows, found, strict=True):
            expected = theirs(twins, row.unsqueeze(0), target)
            if not case.writes_text:
                matrix = twins.reference.get_decoder().embed_tokens.weight
                assert_close(mine, expected.last_hidden_state[0] @ matrix.T)
            else:
                assert_close(mine, expected.logits[0])


@over(CASES)
def test_hidden_states(case: Case, twins: Twins) -> None:
    x, target = sound(2), some_tokens(2, 13)
    with torch.no_grad(), listening(twins) as heard:
        twins.model(x, target)
        expected = theirs(twins, x, target)
    for side, states in (("encoder", expected.encoder_hidden_states), ("stack", expected.decoder_hidden_states)):
        assert len(heard[side]) == len(states)
        for mine, other in zip(heard[side], states, strict=True):
            assert_close(mine, other)


@over(WRITING)
def test_loss(case: Case, twins: Twins) -> None:
    x, target = sound(2), some_tokens(2, 13)
    labels = some_tokens(2, 13, seed=3).masked_fill(torch.rand(2, 13) < 0.3, -100)
    with torch.no_grad(), listening(twins) as heard:
        twins.model(x, target)
        expected = theirs(twins, x, target, labels=labels).loss
    counted = labels != -100
    rows = heard["stack"][-1][counted]
    assert_close(twins.model.head.loss(rows, labels[counted]) / counted.sum(), expected)


@over(WRITING)
@pytest.mark.parametrize("beams", [1, 3], ids=["greedy", "beams"])
def test_generation(case: Case, twins: Twins, beams: int) -> None:
    """Token for token, after tokens that are given; ours in one batch of several lengths. (The token of padding,
    whose places the reference does not count, is not written.)"""
    rows = [sound(1, size, seed=size)[0] for size in lengths(case)]
    starts = [[2, 11], [2, 5], [2, 17], [2, 8]][: len(rows)]
    expected = []
    for row, start in zip(rows, starts, strict=True):
        x = row.unsqueeze(0)
        given = {"input_features": x.transpose(1, 2)} if case.row.model_type == "whisper" else {"input_features": x}
        told = {"max_new_tokens": MOST, "num_beams": beams, "do_sample": False, "eos_token_id": END, "pad_token_id": 0}
        if case.row.model_type != "whisper":
            told["attention_mask"] = ones(x)
        whole = GenerationMixin.generate(
            twins.reference,
            **given,
            decoder_input_ids=torch.tensor([start]),
            **told,
            suppress_tokens=[case.row.pad],
            begin_suppress_tokens=None,
        )
        new = whole[0, len(start) :].tolist()
        expected.append(new[: new.index(END) + 1] if END in new else new)
    with torch.no_grad():
        assert written(twins, rows, starts, beams) == expected


class Unpadded(Rows):
    """Rows in which one token is never written."""

    pad = 0

    def start(self) -> Tensor:
        return super().start().index_fill(-1, torch.tensor(self.pad), -torch.inf)

    def step(self, tokens: Sequence[int]) -> Tensor:
        return super().step(tokens).index_fill(-1, torch.tensor(self.pad), -torch.inf)


def written(twins: Twins, sources: list[Tensor], starts: list[list[int]], beams: int) -> list[list[int]]:
    rows = Unpadded(CachedReader(twins.model, starts, encode(twins.model, sources), None), starts, VOCAB)
    rows.pad = twins.case.row.pad

    def ended(tokens: Sequence[int]) -> str | None:
        return "eos" if tokens[-1] == END else "length" if len(tokens) == MOST else None

    if beams > 1:
        settings = Settings(beams=beams, max_tokens=MOST)
        chooser, ends = Chooser(SimpleNamespace(eos=END), settings), beam.Ends(ended, MOST)
        return [list(best[0].tokens) for best in beam.search(rows, [ends] * len(starts), chooser)]
    texts: list[list[int]] = [[] for _ in starts]
    logits = rows.start()
    while True:
        chosen = logits.argmax(-1).tolist()
        for text, token in zip(texts, chosen, strict=True):
            if not text or not ended(text):
                text.append(token)
        if all(ended(text) for text in texts):
            return texts
        logits = rows.step(chosen)


@over(CASES)
def test_padding(case: Case, twins: Twins) -> None:
    """What stands in the place of padding changes no bit."""
    sizes = [26, 13, 14, 1]
    rows = [sound(1, size, seed=size)[0] for size in sizes]
    target = some_tokens(1, 7).expand(4, -1)
    context = twins.model.source_embed.context(sizes)
    with torch.no_grad():
        found = [
            twins.model(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value), target, context)
            for value in (0.0, 9.0)
        ]
        assert torch.equal(*found)
        for row, mine in zip(rows, found[0], strict=True):
            assert_close(mine, twins.model(row.unsqueeze(0), target[:1])[0])


@over(WRITING)
def test_cache(case: Case, twins: Twins) -> None:
    x, tokens = sound(2), some_tokens(2, 17)
    with torch.no_grad():
        told = {"memory": twins.model.encode(x)}
        expected = twins.model.head(twins.model.hidden(tokens, Context(**told)))
        for capacity in (None, 17):
            for pieces in ([1] * 17, [5, 1, 7, 1, 3]):
                cache = twins.model.cache(batch=2, capacity=capacity)
                found = [
                    twins.model.head(twins.model.hidden(piece, Context(cache=cache, **told)))
                    for piece in tokens.split(pieces, 1)
                ]
                assert_close(torch.cat(found, 1), expected, atol=5e-5, rtol=1e-5)


@over(WRITING)
def test_future(case: Case, twins: Twins) -> None:
    """Nothing before a changed token moves by a bit."""
    tokens = some_tokens(2, 11)
    with torch.no_grad():
        told = {"memory": twins.model.encode(sound(2))}
        before = twins.model.hidden(tokens, Context(**told))
        for t in range(11):
            changed = tokens.clone()
            changed[:, t] = (changed[:, t] + 5) % VOCAB
            after = twins.model.hidden(changed, Context(**told))
            assert torch.equal(after[:, :t], before[:, :t]) and not torch.equal(after[:, t], before[:, t])


@over(CASES)
def test_back(case: Case, twins: Twins, tmp_path: Path) -> None:
    every.test_back(case, twins, tmp_path)


@over(CASES)
def test_config_round_trip(case: Case, twins: Twins) -> None:
    every.test_config_round_trip(case, twins)
