"""Every family of image models against the reference implementation, on random weights and prime sizes.

The tests that have a name of test_every_family.py show the same and stand in the same column of the README's table.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from family_rows import Case
from family_rows_vision import CLASSES, PATCH, cases
from family_twins import Twins, make, output, read
from torch import Tensor
from torch.testing import assert_close

from regard import models
from regard.errors import BadFileError, ConfigError, RegardError
from regard.heads.detect import Guesses, Objects
from regard.heads.outline import Outlines
from regard.heads.unified import Segmented
from regard.layers import Context, Key
from regard.ops.random import hidden_patches
from regard.weights import folder as files
from regard.weights import table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")


def over(found: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", found, ids=[case.name for case in found])


def images(twins: Twins, count: int = 2, *, height: int = 0, width: int = 0, seed: int = 1) -> Tensor:
    """Of the size that the positions are of, or another."""
    config, generator = twins.model.config, torch.Generator().manual_seed(seed)
    usual = usual_size(twins)
    height, width = height or usual[0], width or usual[1]
    return torch.randn(count, config.channels, height, width, generator=generator)


def usual_size(twins: Twins) -> tuple[int, int]:
    """The size that positions are of; where there are none, one that no stride divides."""
    return getattr(twins.model.config, "image", (61, 45))


def theirs(twins: Twins, x: Tensor, **more: Any) -> Any:
    other = tuple(x.shape[2:]) != usual_size(twins)
    if other and "interpolate_pos_encoding" in inspect.signature(twins.reference.forward).parameters:
        more["interpolate_pos_encoding"] = True
    if twins.case.row.model_type == "vit_mae":
        more["noise"] = noise(twins, x)
    return twins.reference(x, output_hidden_states=True, **more)


def noise(twins: Twins, x: Tensor) -> Tensor:
    """By which the reference hides patches; where it hides none, its tokens keep their order."""
    count = len(twins.model.embed.patch(x[:1])[0, 0].flatten())
    if not twins.model.config.share:
        return torch.arange(count).expand(len(x), -1).float()
    return torch.rand(len(x), count, generator=torch.Generator().manual_seed(5)).sort(1).values


def told(twins: Twins, x: Tensor) -> Context:
    """What ours is told with the images: which patches are hidden."""
    if twins.case.architecture != "ViTMAEForPreTraining":
        return Context()
    given = noise(twins, x)
    return Context(masked=hidden_patches(tuple(given.shape), twins.model.config.share, given))


def outputs(found: Any) -> tuple[Tensor, ...]:
    """What is compared: one tensor, or a detection's two."""
    if isinstance(found, Outlines):
        return (found.guesses.logits, found.guesses.boxes, found.masks)
    if isinstance(found, Segmented):
        return (found.logits,)
    return (found.logits, found.boxes) if isinstance(found, Guesses) else (found,)


def expected_outputs(twins: Twins, found: Any) -> tuple[Tensor, ...]:
    if hasattr(found, "pred_masks"):
        return found.logits, found.pred_boxes, found.pred_masks
    if hasattr(found, "pred_boxes"):
        return found.logits, found.pred_boxes
    if twins.case.variant == "pixels":
        return (found.reconstruction,)
    one = output(found)
    return (one[:, 0] if twins.case.architecture == "ViTMAEModel" else one,)


def sizes(case: Case) -> list[tuple[int, int]]:
    """The usual one, a larger upright one and a smaller one; what says pixels takes square ones."""
    if case.variant == "plain" or case.architecture == "ViTMAEForPreTraining":
        return [(0, 0)]  # the reference stretches only what was square, and MAE's decoder as if it had one row
    if case.row.model_type == "segformer":
        return [(0, 0), (37, 83)]
    return [(0, 0), (15, 15)] if case.variant == "pixels" else [(0, 0), (37, 23), (11, 17)]


@over(cases())
def test_outputs(case: Case, twins: Twins) -> None:
    for height, width in sizes(case):
        x = images(twins, height=height, width=width)
        with torch.no_grad():
            assert_close(outputs(twins.model(x, told(twins, x))), expected_outputs(twins, theirs(twins, x)))


@over(cases())
def test_hidden_states(case: Case, twins: Twins) -> None:
    for height, width in sizes(case):
        x = images(twins, height=height, width=width)
        with torch.no_grad(), listening(twins.model) as heard:
            twins.model(x, told(twins, x))
            expected = getattr(theirs(twins, x), "hidden_states", ())
            if case.row.model_type == "segformer":  # the reference shows what each stage makes
                heard = twins.model.maps(x)
            if case.architecture == "BeitForSemanticSegmentation":  # which is given what goes into some layers
                heard = [one.flatten(2).mT for one in twins.model.maps(x)]
                expected = [expected[layer - 1][:, 1:] for layer in case.config["out_indices"]]
            if case.row.model_type == "detr":
                found = theirs(twins, x)
                for _ in range(1 + twins.model.config.auxiliary):
                    heard[-1] = twins.model.stack.norm(heard[-1])  # which the reference shows as the last state
                expected = (*found.encoder_hidden_states, *found.decoder_hidden_states)
        assert len(heard) == len(expected)
        for mine, other in zip(heard, expected, strict=True):
            assert_close(mine, other)


@contextmanager
def listening(model: Any) -> Iterator[list[Tensor]]:
    """What goes into the first block and comes out of each."""
    states: list[Tensor] = []
    handles = []
    for stack in (getattr(model, "encoder", None), getattr(model, "stack", None)):
        if stack is None:
            continue
        handles.append(stack.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0])))
        for block in stack.blocks:
            handles.append(block.register_forward_hook(lambda _, inputs, out: states.append(out)))
    yield states
    for handle in handles:
        handle.remove()


@over(cases("ForImageClassification", "ForPreTraining", "ForObjectDetection", "Segmentation"))
def test_loss(case: Case, twins: Twins) -> None:
    x, labels = images(twins, 3), torch.tensor([2, 0, CLASSES - 1])
    with torch.no_grad():
        if case.architecture == "ViTMAEForPreTraining":
            masked = told(twins, x).masked
            summed = twins.model.head.loss(twins.model(x, told(twins, x)), x, masked, normed=twins.model.config.normed)
            assert_close(summed / masked.sum(), theirs(twins, x).loss)
            return
        if case.architecture == "DetrForSegmentation":
            targets = [outlined(one, usual_size(twins)) for one in objects((5, 1, 2))]
            written = [{"class_labels": one.labels, "boxes": one.boxes, "masks": one.masks} for one in targets]
            assert_close(twins.model.head.loss(twins.model(x), targets), theirs(twins, x, labels=written).loss)
            return
        if "Segmentation" in case.architecture:
            maps = torch.randint(CLASSES, (3, *usual_size(twins)))
            maps[torch.rand(maps.shape) < 0.2] = 255
            summed = twins.model.head.loss(twins.model(x), maps)
            assert_close(summed / (maps != 255).sum(), theirs(twins, x, labels=maps).loss)
            return
        if "Detection" in case.architecture:
            targets = objects((5, 0, 2))
            written = [{"class_labels": one.labels, "boxes": one.boxes} for one in targets]
            assert_close(twins.model.head.loss(twins.model(x), targets), theirs(twins, x, labels=written).loss)
            return
        expected = theirs(twins, x, labels=labels).loss
        assert_close(twins.model.head.loss(twins.model(x), labels) / 3, expected)


def objects(counts: tuple[int, ...]) -> list[Objects]:
    """So many in each image."""
    corners = [torch.rand(count, 2, 2).sort(1).values for count in counts]
    boxes = [torch.cat((one.mean(1), one[:, 1] - one[:, 0]), 1) for one in corners]
    return [Objects(torch.randint(CLASSES, (count,)), one) for count, one in zip(counts, boxes, strict=True)]


def outlined(one: Objects, size: tuple[int, int]) -> Objects:
    return replace(one, masks=(torch.rand(len(one.labels), *size) < 0.3).float())


@over(cases("ForMaskedImageModeling"))
def test_masked_loss(case: Case, twins: Twins) -> None:
    x = images(twins)
    masked = torch.rand(2, 16) < 0.4
    with torch.no_grad():
        if case.variant == "pixels":
            expected = theirs(twins, x, bool_masked_pos=masked)
            found = twins.model(x, Context(masked=masked))
            assert_close(found, expected.reconstruction)
            count = masked.sum() * PATCH**2 + 1e-5
            assert_close(twins.model.head.loss(found, x, masked) / count, expected.loss)
            return
        labels = torch.randint(twins.model.config.vocab, (int(masked.sum()),))
        expected = theirs(twins, x, bool_masked_pos=masked, labels=labels)
        found = twins.model(x, Context(masked=masked))
        assert_close(found, expected.logits)
        assert_close(twins.model.head.loss(found[masked], labels) / len(labels), expected.loss)


@over(cases())
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
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    for key, tensor in twins.reference.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key
    written = again.config.to_dict()
    for key, value in twins.reference.config.to_dict().items():
        if key not in NOT_THE_MODELS and value is not None:
            assert same_setting(written[key], value), key


def same_setting(mine: Any, value: Any) -> bool:
    if isinstance(value, dict) and "depths" in value:  # a network's, with more about its library than about it
        return all(mine[key] == one for key, one in value.items() if key not in NOT_THE_MODELS)
    return list(mine) == list(value) if isinstance(value, tuple | list) else mine == value


NOT_THE_MODELS = ("architectures", "_name_or_path", "dtype", "transformers_version", "initializer_range")
NOT_THE_MODELS += ("problem_type", "id2label", "label2id")


@over(cases())
def test_config_round_trip(case: Case, twins: Twins) -> None:
    module, config = twins.module, twins.model.config
    assert module.read(json.loads(json.dumps(module.write(config))), "config.json") == config


@over(cases())
def test_batch_equals_alone(case: Case, twins: Twins) -> None:
    x, model = images(twins, 5), twins.model
    if case.architecture == "BeitForSemanticSegmentation":  # whose convolutions add up thousands of large numbers
        x, model = x.double(), deepcopy(model).double()
    with torch.no_grad():
        context = told(twins, x)
        together = outputs(model(x, context))
        for row in range(5):
            one = slice(row, row + 1)
            alone = Context(masked=None if context.masked is None else context.masked[one])
            assert_close(outputs(model(x[one], alone)), tuple(each[one] for each in together))


@over([case for case in cases() if not case.variant])
def test_draws_go_by_the_key(case: Case, twins: Twins) -> None:
    """Training draws by the key alone; without one nothing is drawn."""
    rates = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}
    rates = {"dropout": 0.3, "attention_dropout": 0.2} if case.row.model_type == "detr" else rates
    data = twins.module.write(twins.model.config) | rates
    model = twins.module.build(twins.module.read(data, "config.json")).eval()
    model.load_state_dict(twins.model.state_dict())
    x = images(twins)
    with torch.no_grad():
        first, again, other = (outputs(model(x, Context(key=Key(seed))))[0] for seed in (3, 3, 5))
        assert torch.equal(first, again) and not torch.allclose(first, other)
        assert_close(outputs(model(x)), outputs(twins.model(x)))


@over(cases("ForImageClassification"))
def test_accumulated_equals_large(case: Case, twins: Twins) -> None:
    x, labels = images(twins, 7), torch.randint(CLASSES, (7,))
    twins.model.zero_grad()
    twins.model.head.loss(twins.model(x), labels).backward()
    whole = [p.grad.clone() for p in twins.model.parameters() if p.grad is not None]
    twins.model.zero_grad()
    for part in (slice(0, 2), slice(2, 7)):
        twins.model.head.loss(twins.model(x[part]), labels[part]).backward()
    found = [p.grad for p in twins.model.parameters() if p.grad is not None]
    for mine, other in zip(found, whole, strict=True):
        assert_close(mine, other, rtol=1e-4, atol=1e-5)  # sums of another order
    twins.model.zero_grad()


def test_padding_of_a_batch_is_no_token(tmp_path_factory: pytest.TempPathFactory) -> None:
    """DETR's pixel mask. A row does not get quite what it gets alone: convolutions see over its edge, in the reference
    as here. What they make of the padding itself nothing sees."""
    case = next(case for case in cases() if case.name == "detr")
    twins = make(case, tmp_path_factory.mktemp("theirs"))
    x = images(twins, 3)
    sizes = torch.tensor([[61, 45], [40, 45], [33, 17]])
    mask = torch.zeros(3, 61, 45)
    for row, (height, width) in enumerate(sizes.tolist()):
        mask[row, :height, :width] = 1
        x[row, :, height:] = 0
        x[row, :, :, width:] = 0
    context = Context(sizes=sizes)
    with torch.no_grad():
        expected = theirs(twins, x, pixel_mask=mask.long())
        assert_close(outputs(twins.model(x, context)), expected_outputs(twins, expected))
        plain = twins.model.embed.project
        real = twins.model.embed.places(x, context).positions.unflatten(1, (8, 6)) >= 0
        before = outputs(twins.model(x, context))
        noisy = torch.nn.Sequential(plain, Disturbed(real))
        twins.model.embed.project = noisy
        assert all(torch.equal(one, other) for one, other in zip(outputs(twins.model(x, context)), before, strict=True))
        assert not torch.equal(twins.model(x).logits, before[0])
        # Alone, where its edge is no edge of the network's strides: near, and not the same.
        twins.model.embed.project = plain
        alone = twins.model(x[1:2, :, :40])
        assert (alone.logits - before[0][1]).abs().max() < 0.3


def test_a_dilated_last_stage_keeps_the_sides(tmp_path: Path) -> None:
    """DC5: the reference's own network, its last stage changed as another library (timm) builds it, for only there the
    setting means anything; twice as many places a side are told apart."""
    twins = make(next(case for case in cases() if case.name == "detr"), tmp_path)
    stage = twins.reference.model.backbone.model.encoder.stages[-1].layers
    for number, block in enumerate(stage):
        middle = block.layer[1].convolution
        if number == 0:
            middle.stride = block.shortcut.convolution.stride = (1, 1)
        else:
            middle.dilation = middle.padding = (2, 2)
    assert len(stage) == 2
    config = replace(twins.model.config, network=replace(twins.model.config.network, dilated=True))
    model = models.empty(config)
    table.read(twins.module.TABLE, files.Folder(twins.folder), model, "")
    x = images(twins)
    with torch.no_grad():
        assert_close(outputs(model.eval()(x)), expected_outputs(twins, theirs(twins, x)))
        assert model.embed.network.grid(x) == (16, 12) and twins.model.embed.network.grid(x) == (8, 6)
    written = table.write(twins.module.TABLE, model)
    assert "model.backbone.conv_encoder.model.layer2.1.conv2.weight" in written
    assert not any("stages" in name for name in written)
    with pytest.raises(ConfigError, match="resnet50, resnet101"):
        twins.module.write(config)
    named = {"model_type": "detr", "backbone": "resnet101", "use_timm_backbone": True, "dilation": True}
    found = twins.module.read({**named, "id2label": {"0": "a"}, "label2id": {"a": 0}}, "")
    assert found.network == twins.module.Network(depths=(3, 4, 23, 3), dilated=True)
    said = twins.module.write(found)
    assert {key: said[key] for key in named} == named and "backbone_config" not in said
    with pytest.raises(BadFileError, match="dilation"):
        twins.module.read({**twins.module.write(twins.model.config), "dilation": True}, "")


def test_nobody_looks_for_an_object_in_padding(tmp_path: Path) -> None:
    case = next(case for case in cases() if case.name == "detr-segment")
    twins = make(case, tmp_path)
    x, sizes, mask = images(twins, 2), torch.tensor([[61, 45], [27, 20]]), torch.zeros(2, 61, 45)
    for row, (height, width) in enumerate(sizes.tolist()):
        mask[row, :height, :width] = 1
    with torch.no_grad():
        expected = expected_outputs(twins, theirs(twins, x, pixel_mask=mask.long()))
        assert_close(outputs(twins.model(x, Context(sizes=sizes))), expected)
        assert not torch.allclose(twins.model(x).masks[1], expected[2][1], rtol=0.1)


class Disturbed(torch.nn.Module):
    """What stands in the places of padding, replaced."""

    def __init__(self, real: Tensor) -> None:
        super().__init__()
        self.real = real

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self.real.unsqueeze(1), x, 50.0)


def test_a_pyramid_needs_two_patches_a_side(tmp_path: Path) -> None:
    case = next(case for case in cases() if case.name == "beit-segment")
    twins = make(case, tmp_path)
    with pytest.raises(RegardError, match="2 by 1"):
        twins.model(images(twins, height=10, width=9))
    written = twins.module.write(twins.model.config)
    for layers in (None, [1, 2, 3], [1, 3, 3, 4], [0, 1, 2, 3], [2, 3, 4, 6]):
        with pytest.raises(BadFileError, match="out_indices"):
            twins.module.read({**written, "out_indices": layers}, "config.json")


def test_a_network_under_the_names_of_another_library(tmp_path: Path) -> None:
    """The first published files of DETR name its network as timm does."""
    case = next(case for case in cases() if case.name == "detr")
    twins = make(case, tmp_path)
    stored = files.Folder(tmp_path)
    renamed = {name: stored.read(name) for name in stored.names()}
    begins = {new: old for old, new in twins.module.TABLE.begin.items()}
    for name in list(renamed):
        begin = next((one for one in begins if name.startswith(one)), None)
        if begin is not None:
            renamed[begins[begin] + name.removeprefix(begin)] = renamed.pop(name)
    assert "model.backbone.conv_encoder.model.layer2.0.downsample.1.running_var" in renamed
    assert "model.backbone.conv_encoder.model.layer1.0.bn3.weight" in renamed
    files.write(tmp_path, renamed)
    again, _ = read(tmp_path)
    x = images(twins)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(outputs(again(x)), outputs(twins.model(x)), strict=True))
    published = {"model_type": "detr", "backbone": "resnet50", "use_timm_backbone": True}
    assert twins.module.read(published, "").network == twins.module.Network()
