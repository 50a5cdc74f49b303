"""Models that write about what they see, against the reference implementation, on random weights and prime sizes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from family_rows import VOCAB, Case
from family_rows_image_text import CAPTIONS, cases
from family_twins import Twins, read, some_tokens
from test_image_text import held, pictures, states
from torch import Tensor
from torch.testing import assert_close

from regard.generate import beam
from regard.generate.choose import Chooser
from regard.generate.rows import CachedReader, Memory, Rows, encode
from regard.generate.settings import Settings
from regard.layers import Context
from regard.weights import folder as files
from regard.weights import table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")
ROWS = 3


def over(*, answering: bool | None = None) -> pytest.MarkDecorator:
    found = [case for case in cases(*CAPTIONS) if answering in (None, case.architecture == ANSWERS)]
    return pytest.mark.parametrize("case", found, ids=[case.name for case in found])


ANSWERS = "BlipForQuestionAnswering"


def answers(twins: Twins) -> bool:
    return twins.case.architecture == ANSWERS


def target() -> Tensor:
    return some_tokens(ROWS, 11, seed=3)


def question() -> tuple[Tensor, Tensor]:
    """Questions of several lengths, and which of their tokens are tokens."""
    return some_tokens(ROWS, 7, seed=4), torch.arange(7) < torch.tensor([7, 3, 5]).unsqueeze(1)


def asked(twins: Twins) -> tuple[Tensor, Context]:
    tokens, real = question()
    return tokens, Context(positions=torch.where(real, torch.arange(7), -1))


def ours(twins: Twins, images: Tensor, tokens: Tensor) -> Tensor:
    if answers(twins):
        words, context = asked(twins)
        return twins.model(images, words, tokens, context)
    return twins.model(images, tokens)


def theirs(twins: Twins, images: Tensor, tokens: Tensor, **more: Any) -> Any:
    if answers(twins):
        more |= {"input_ids": question()[0], "decoder_input_ids": tokens}
        return twins.reference(pixel_values=images, **more)
    name = "decoder_input_ids" if twins.module.__name__.endswith("vision_encoder_decoder") else "input_ids"
    return twins.reference(pixel_values=images, **{name: tokens}, **more)


@over()
@torch.no_grad()
def test_outputs(case: Case, twins: Twins) -> None:
    found = ours(twins, pictures(ROWS), target())
    if not answers(twins):
        assert_close(found, theirs(twins, pictures(ROWS), target()).logits)
        return
    # The reference keeps the answers' logits to itself, and its attention from the answer sees the padding of the
    # question (its mask does not arrive): it is asked one question at a time.
    seen: list[Any] = []
    hook = twins.reference.text_decoder.register_forward_hook(lambda _, inputs, out: seen.append(out.logits[0]))
    words, real = question()
    for row, image in enumerate(pictures(ROWS)):
        one = words[row, real[row]].unsqueeze(0)
        twins.reference(one, image.unsqueeze(0), decoder_input_ids=target()[row : row + 1])
    hook.remove()
    assert_close(found, torch.stack(seen))


@over()
@torch.no_grad()
def test_images_of_other_sides(case: Case, twins: Twins) -> None:
    for sides in ((47, 35), (29, 61), (36, 41)):
        images = pictures(ROWS, *sides)
        found = twins.model.encode(images)
        if case.variant == "beit":  # the reference's positions fit one size
            return
        expected = sight(twins)(images, interpolate_pos_encoding=True).last_hidden_state
        bridge = getattr(twins.reference, "enc_to_dec_proj", None)
        expected = expected if bridge is None else bridge(expected)
        assert_close(found, expected)


def sight(twins: Twins) -> Any:
    return getattr(twins.reference, "vision_model", None) or twins.reference.encoder


@over()
@torch.no_grad()
def test_hidden_states(case: Case, twins: Twins) -> None:
    images = pictures(ROWS)
    expected = sight(twins)(images, output_hidden_states=True)
    with states(twins.model.encoder) as heard:
        twins.model.encode(images)
    compare(heard, expected)
    decoder = getattr(twins.reference, "text_decoder", None) or twins.reference.decoder
    memory = torch.randn(ROWS, 13, wide(twins), generator=torch.Generator().manual_seed(5))
    expected = decoder(target(), encoder_hidden_states=memory, output_hidden_states=True)
    with states(twins.model.stack) as heard:
        twins.model.hidden(target(), Context(memory=memory))
    compare(heard, expected)


def wide(twins: Twins) -> int:
    """Features of what the decoder looks at."""
    return twins.model.stack.blocks[0].cross_attention.k.in_features


def compare(heard: list[Tensor], expected: Any) -> None:
    """Ours holds one more: what comes out of the last block, before the final norm."""
    others = list(expected.hidden_states)
    for mine, other in zip(heard[: len(others) - 1], others[:-1], strict=True):
        assert_close(mine, other)
    final = getattr(expected, "last_hidden_state", None)
    assert_close(heard[-1], others[-1] if final is None else final)


@over()
def test_loss(case: Case, twins: Twins) -> None:
    labels = target().masked_fill(torch.rand(ROWS, 11) < 0.3, -100)
    if twins.module.__name__.endswith("vision_encoder_decoder"):
        expected = theirs(twins, pictures(ROWS), target(), labels=labels).loss
        targets, rows = labels, hidden(twins)
    else:
        expected = theirs(twins, pictures(ROWS), target(), labels=labels).loss
        rows = hidden(twins)
        if answers(twins):  # to whole questions, as the reference was asked
            with states(twins.model.stack) as heard:
                twins.model(pictures(ROWS), question()[0], target())
            rows = heard[-1]
        targets, rows = labels[:, 1:], rows[:, :-1]
    counted = targets != -100
    assert_close(twins.model.head.loss(rows[counted], targets[counted]) / counted.sum(), expected)


def hidden(twins: Twins) -> Tensor:
    with states(twins.model.stack) as heard:
        ours(twins, pictures(ROWS), target())
    return heard[-1]


MOST, END = 11, 9


@over()
@pytest.mark.parametrize("beams", [1, 3], ids=["greedy", "beams"])
@torch.no_grad()
def test_generation(case: Case, twins: Twins, beams: int) -> None:
    """Token for token; ours in one batch, the reference one image at a time."""
    told = {"max_new_tokens": MOST, "num_beams": beams, "do_sample": False}
    if case.row.model_type != "blip":
        told |= {"eos_token_id": END, "pad_token_id": 0, "decoder_start_token_id": twins.model.config.start}
    words, real = question()
    expected, start = [], [[twins.model.config.start]] * ROWS
    prompts = start if answers(twins) or case.row.model_type != "blip" else [[2], [2, 17, 5], [2, 11]]
    for row in range(ROWS):
        images = pictures(ROWS)[row : row + 1]
        if answers(twins):
            made = twins.reference.generate(words[row, real[row]].unsqueeze(0), images, **told)
        elif case.row.model_type == "blip":
            whole = torch.tensor([[*prompts[row], 9]])  # the reference takes the last away
            made = twins.reference.generate(images, input_ids=whole, **told)
        else:
            made = twins.reference.generate(images, **told)
        new = made[0, len(prompts[row]) :].tolist()
        expected.append(new[: new.index(END) + 1] if END in new else new)
    assert written(twins, prompts, beams) == expected
    assert len({tuple(text) for text in expected}) > 1


def written(twins: Twins, prompts: list[list[int]], beams: int) -> list[list[int]]:
    memory = encode(twins.model, list(pictures(ROWS)))
    if answers(twins):
        tokens, context = asked(twins)
        memory = Memory(twins.model.ask(pictures(ROWS), tokens, context), question()[1].sum(1))
    rows = Rows(CachedReader(twins.model, prompts, memory, None), prompts, VOCAB)

    def ended(tokens: Sequence[int]) -> str | None:
        return "eos" if tokens[-1] == END else "length" if len(tokens) == MOST else None

    if beams > 1:
        chooser, ends = (
            Chooser(SimpleNamespace(eos=END), Settings(beams=beams, max_tokens=MOST)),
            beam.Ends(ended, MOST),
        )
        return [list(best[0].tokens) for best in beam.search(rows, [ends] * ROWS, chooser)]
    texts: list[list[int]] = [[] for _ in prompts]
    logits = rows.start()
    while True:
        chosen = logits.argmax(-1).tolist()
        for text, token in zip(texts, chosen, strict=True):
            if not text or not ended(tuple(text)):
                text.append(token)
        if all(ended(tuple(text)) for text in texts):
            return texts
        logits = rows.step(chosen)


@over()
@torch.no_grad()
def test_padding(case: Case, twins: Twins) -> None:
    """An image and its question get beside others what they get alone."""
    together = ours(twins, pictures(ROWS), target())
    words, real = question()
    for row in range(ROWS):
        images, tokens = pictures(ROWS)[row : row + 1], target()[row : row + 1]
        if answers(twins):
            alone = twins.model(images, words[row, real[row]].unsqueeze(0), tokens)
        else:
            alone = twins.model(images, tokens)
        assert_close(alone[0], together[row])
    if answers(twins):
        other = torch.where(real, words, 30)
        assert torch.equal(twins.model(pictures(ROWS), other, target(), asked(twins)[1]), together)


@over()
@torch.no_grad()
def test_cache(case: Case, twins: Twins) -> None:
    tokens = target()
    memory = torch.randn(ROWS, 13, wide(twins), generator=torch.Generator().manual_seed(5))
    expected = twins.model.hidden(tokens, Context(memory=memory))
    for pieces in ([1] * 11, [5, 1, 2, 3]):
        cache = twins.model.cache(batch=ROWS)
        found = [twins.model.hidden(piece, Context(memory=memory, cache=cache)) for piece in tokens.split(pieces, 1)]
        assert_close(torch.cat(found, 1), expected, atol=5e-5, rtol=1e-5)


@over()
@torch.no_grad()
def test_future(case: Case, twins: Twins) -> None:
    """Nothing before a changed token moves by a bit."""
    memory = torch.randn(ROWS, 13, wide(twins), generator=torch.Generator().manual_seed(5))
    before = twins.model.hidden(target(), Context(memory=memory))
    for t in range(11):
        changed = target()
        changed[:, t] = (changed[:, t] + 5) % VOCAB
        after = twins.model.hidden(changed, Context(memory=memory))
        assert torch.equal(after[:, :t], before[:, :t]) and not torch.equal(after[:, t], before[:, t])


@over()
def test_back(case: Case, twins: Twins, tmp_path: Path) -> None:
    """The reference reads what we write, sharded, bit for bit; and we read its shards."""
    twins.reference.save_pretrained(tmp_path / "theirs", max_shard_size="5KB")
    model, module = read(tmp_path / "theirs")
    out = tmp_path / "ours"
    out.mkdir()
    files.write(out, table.write(module.TABLE, model), shard=5_000)
    assert len(list(out.glob("*.safetensors"))) > 1
    (out / "config.json").write_text(json.dumps(module.write(model.config)))
    again, info = type(twins.reference).from_pretrained(out, output_loading_info=True)
    missing = {key for key in info["missing_keys"] if not any(part in key for part in case.row.unused)}
    assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"]
    for key, tensor in twins.reference.state_dict().items():
        if key not in info["missing_keys"]:
            assert torch.equal(tensor, again.state_dict()[key]), key
    held(twins.reference.config.to_dict(), again.config.to_dict())


@over()
def test_config_round_trip(case: Case, twins: Twins) -> None:
    module, config = twins.module, twins.model.config
    assert module.read(json.loads(json.dumps(module.write(config))), "config.json") == config


@over()
def test_every_weight_is_trained(case: Case, twins: Twins) -> None:
    model = twins.model.train()
    loss = model.head.loss(hidden(twins).flatten(0, 1), target().flatten())
    gradients = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad], allow_unused=True)
    model.eval()
    for (name, _), gradient in zip(
        [(n, p) for n, p in model.named_parameters() if p.requires_grad], gradients, strict=True
    ):
        assert gradient is not None and gradient.ne(0).any(), name
