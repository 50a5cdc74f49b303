"""Models of images and texts against the reference implementation, on random weights and prime sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from family_rows import Case
from family_rows_image_text import END, PAIRS, cases
from family_twins import Twins, read, some_tokens
from torch import Tensor
from torch.testing import assert_close

from regard import models
from regard.errors import BadFileError, ConfigError
from regard.layers import Context
from regard.models.towers import Towers
from regard.weights import folder as files
from regard.weights import table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")


def over(*rows: Any, both: bool = False, named: str = "") -> pytest.MarkDecorator:
    found = [case for case in cases(*rows) if not both or case.architecture in ("CLIPModel", "SiglipModel")]
    found = [case for case in found if case.architecture.endswith(named)]
    return pytest.mark.parametrize("case", found, ids=[case.name for case in found])


def pictures(count: int, *sides: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, *(sides or (35, 35)), generator=torch.Generator().manual_seed(seed))


def texts(count: int, length: int, seed: int = 1) -> Tensor:
    """Rows that end as texts do."""
    rows = some_tokens(count, length, seed=seed).clamp(max=END - 1)
    rows[:, -1] = END
    return rows


def given(twins: Twins) -> dict[str, Tensor]:
    """What the model takes, by the reference's names."""
    made = {"input_ids": texts(5, 13), "pixel_values": pictures(5)}
    if twins.model.text is None:
        del made["input_ids"]
    if twins.model.image is None:
        del made["pixel_values"]
    return made


def vectors(twins: Twins, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Ours, of length 1 where the reference's are."""
    made = {}
    if "input_ids" in inputs:
        made["text_embeds"] = twins.model.texts(inputs["input_ids"])
    if "pixel_values" in inputs:
        made["image_embeds"] = twins.model.images(inputs["pixel_values"])
    both = len(made) == 2
    return {key: torch.nn.functional.normalize(one, dim=-1) if both else one for key, one in made.items()}


def vector(found: Any, key: str) -> Tensor:
    """The reference's; a tower alone without a projection calls it otherwise."""
    one = getattr(found, key, None)
    return found.pooler_output if one is None else one


@over(*PAIRS)
@torch.no_grad()
def test_outputs(case: Case, twins: Twins) -> None:
    inputs = given(twins)
    expected = twins.reference(**inputs)
    if case.architecture.endswith("ForImageClassification"):
        assert_close(twins.model(inputs["pixel_values"]), expected.logits)
        return
    for key, found in vectors(twins, inputs).items():
        assert_close(found, vector(expected, key))
    if len(inputs) == 2:
        logits = twins.model(inputs["input_ids"], inputs["pixel_values"])
        assert_close(logits, expected.logits_per_text)
        assert_close(logits.T, expected.logits_per_image)


@over(*PAIRS)
@torch.no_grad()
def test_images_of_other_sides(case: Case, twins: Twins) -> None:
    if twins.model.image is None:
        return
    for sides in ((47, 35), (29, 61), (36, 41)):
        images = pictures(2, *sides)
        inputs = {**given(twins), "pixel_values": images, "interpolate_pos_encoding": True}
        expected = twins.reference(**inputs)
        if "logits" in expected:
            assert_close(twins.model(images), expected.logits)
            continue
        found = twins.model.images(images)
        found = torch.nn.functional.normalize(found, dim=-1) if len(given(twins)) == 2 else found
        assert_close(found, vector(expected, "image_embeds"))


@over(*PAIRS)
@torch.no_grad()
def test_hidden_states(case: Case, twins: Twins) -> None:
    inputs = given(twins)
    reference = twins.reference
    parts = {"text": ("text_model", "input_ids"), "image": ("vision_model", "pixel_values")}
    for side, (name, key) in parts.items():
        if key not in inputs:
            continue
        found = getattr(reference, name, reference)(inputs[key], output_hidden_states=True)
        tower = getattr(twins.model, side)
        with states(tower.stack) as heard:
            tower(inputs[key])
        assert len(heard) == len(found.hidden_states) + 1
        for mine, other in zip(heard, [*found.hidden_states, found.last_hidden_state], strict=True):
            assert_close(mine, other)


@contextmanager
def states(stack: Any) -> Iterator[list[Tensor]]:
    """What goes into the first block, comes out of each, and comes out of the whole stack."""
    heard: list[Tensor] = []
    handles = [stack.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))]
    handles += [block.register_forward_hook(lambda _, inputs, out: heard.append(out)) for block in stack.blocks]
    handles.append(stack.register_forward_hook(lambda _, inputs, out: heard.append(out)))
    yield heard
    for handle in handles:
        handle.remove()


@over(*PAIRS, both=True)
def test_loss(case: Case, twins: Twins) -> None:
    inputs = given(twins)
    expected = twins.reference(**inputs, return_loss=True).loss
    found = twins.model.head.loss(twins.model(inputs["input_ids"], inputs["pixel_values"])) / 5
    assert_close(found, expected)
    (mine,) = torch.autograd.grad(found, twins.model.head.scale)
    (other,) = torch.autograd.grad(expected, twins.reference.logit_scale)
    assert_close(mine, other)


@over(*PAIRS, named="ForImageClassification")
def test_loss_of_labels(case: Case, twins: Twins) -> None:
    images, labels = pictures(3), torch.tensor([1, 0, 1])
    found = twins.model.head.loss(twins.model(images), labels) / 3
    assert_close(found, twins.reference(pixel_values=images, labels=labels).loss)


@over(*PAIRS)
@torch.no_grad()
def test_padding(case: Case, twins: Twins) -> None:
    """A text or image gets beside others what it gets alone, to the bit where texts are as long as they are."""
    model = twins.model
    if model.image is not None:
        images = pictures(3)
        together = model.images(images)
        for row in range(3):
            assert_close(model.images(images[row : row + 1])[0], together[row])
    if model.text is None:
        return
    several = [texts(1, length, seed=length)[0].tolist() for length in (13, 5, 2)]
    tokens, context = model.rows(several)
    together = model.texts(tokens, context)
    for row, text in zip(together, several, strict=True):
        alone, its_context = model.rows([text])
        assert_close(model.texts(alone, its_context)[0], row)
    if model.fill is None:
        other = torch.where(context.positions < 0, 17, tokens)
        assert torch.equal(model.texts(other, context), together)
        kept, unpadded = model.rows([several[1]])
        assert torch.equal(kept, torch.tensor([several[1]])) and unpadded.positions is None


@over(*PAIRS, both=True)
@torch.no_grad()
def test_texts_are_laid_out_as_the_reference_wants_them(case: Case, twins: Twins) -> None:
    longest = twins.model.config.context
    several = [texts(1, length, seed=length)[0].tolist() for length in (13, 5, longest + 4)]
    tokens, context = twins.model.rows(several)
    found = torch.nn.functional.normalize(twins.model.texts(tokens, context), dim=-1)
    for row, text in zip(found, several, strict=True):
        text = text if len(text) <= longest else [*text[: longest - 1], text[-1]]
        filled = text + [1] * (longest - len(text)) if case.row.model_type == "siglip" else text
        inputs = {"input_ids": torch.tensor([filled]), "pixel_values": pictures(1)}
        assert_close(row, twins.reference(**inputs).text_embeds[0])


@over(*PAIRS)
def test_back(case: Case, twins: Twins, tmp_path: Path) -> None:
    """The reference reads what we write, sharded, bit for bit; and we read its shards."""
    twins.reference.save_pretrained(tmp_path / "theirs", max_shard_size="5KB")
    model, module = read(tmp_path / "theirs")
    out = tmp_path / "ours"
    out.mkdir()
    files.write(out, table.write(module.TABLE, model), shard=5_000)
    assert len(list(out.glob("*.safetensors"))) > 1
    (out / "config.json").write_text(json.dumps(module.write(model.config)))
    mine, _ = read(out)  # under the names that a tower's older files have, which those of a whole model have too
    assert all(map(torch.equal, mine.parameters(), model.parameters()))
    again, info = type(twins.reference).from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    for key, tensor in twins.reference.state_dict().items():
        if not any(part in key for part in case.unused):
            assert torch.equal(tensor, again.state_dict()[key]), key
    held(twins.reference.config.to_dict(), again.config.to_dict(), case.unused)


# Which tokens begin, end and pad is the tokenizer's to say; a vision tower's width is said beside it.
NOT_THE_MODELS = ("architectures", "_name_or_path", "dtype", "transformers_version", "initializer_range")
NOT_THE_MODELS += ("pad_token_id", "eos_token_id", "bos_token_id", "problem_type")


def held(expected: dict, found: dict, unused: Sequence[str] = ()) -> None:
    """Every setting that says something of the model is there again."""
    for key, value in expected.items():
        if isinstance(value, dict) and isinstance(found.get(key), dict):
            held(value, found[key], unused)
        elif key not in (*NOT_THE_MODELS, *unused) and value is not None:
            assert found[key] == value, key


@over(*PAIRS)
def test_config_round_trip(case: Case, twins: Twins) -> None:
    module, config = twins.module, twins.model.config
    assert module.read(json.loads(json.dumps(module.write(config))), "config.json") == config


@over(*PAIRS)
def test_every_weight_is_trained(case: Case, twins: Twins) -> None:
    model, inputs = twins.model.train(), given(twins)
    made = vectors(twins, inputs)
    loss = model.head.loss(model.head(*made.values())) if len(made) == 2 else next(iter(made.values())).square().sum()
    loss = loss if isinstance(model, Towers) else model(inputs["pixel_values"]).square().sum()
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    model.eval()
    for (name, _), gradient in zip(model.named_parameters(), gradients, strict=True):
        assert gradient is not None and gradient.ne(0).any(), name


@over(*PAIRS, both=True)
def test_a_key_that_is_given_reaches_both_towers(case: Case, twins: Twins) -> None:
    context = Context(positions=torch.arange(13).unsqueeze(0))
    inputs = given(twins)
    assert_close(twins.model.texts(inputs["input_ids"], context), twins.model.texts(inputs["input_ids"]))


SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "patch_size")
SIZES += ("max_position_embeddings", "num_channels", "d_model", "decoder_layers", "decoder_attention_heads")
SIZES += ("decoder_ffn_dim",)


@pytest.mark.parametrize("name", ["blip", "clip", "siglip", "vision_encoder_decoder"])
def test_a_size_in_a_section_that_lies_is_refused(name: str) -> None:
    module = models.family(name)
    good, tried = module.write(module.Config()), 0
    for section in (key for key, value in good.items() if isinstance(value, dict)):
        for key in good[section].keys() & set(SIZES):
            for lie in (-1, 0, 1 << 40, "7", 1.5, True, [1]):
                with pytest.raises((BadFileError, ConfigError), match=r"config\.json"):
                    models.read(name, {**good, section: {**good[section], key: lie}}, "config.json")
                tried += 1
    assert tried > 80
    for section in ("text_config", "vision_config", "encoder", "decoder"):
        if section in good:
            with pytest.raises((BadFileError, ConfigError), match="none_such"):
                models.read(name, {**good, section: {**good[section], "none_such": 3}}, "config.json")
