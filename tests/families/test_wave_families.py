"""Encoders of waveforms against the reference implementation, on random weights and prime sizes, in both directions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from family_rows import Case
from family_rows_waves import CASES
from family_twins import Twins, make, read
from torch import Tensor
from torch.testing import assert_close

from regard.errors import BadFileError
from regard.layers import Context
from regard.models.transformer import answering
from regard.weights import folder as files
from regard.weights import table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")
LENGTHS = (101, 67, 26)
over = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def sounds(*lengths: int, seed: int = 1) -> Tensor:
    """Rows of noise, zero beyond their lengths."""
    x = torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(seed))
    return x * (torch.arange(x.shape[1]) < torch.tensor(lengths).unsqueeze(1))


def real(*lengths: int) -> Tensor:
    return (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).long()


def theirs(twins: Twins, x: Tensor, **more: Any) -> Any:
    return twins.reference(x.clone(), output_hidden_states=True, **more)


def main(found: Any) -> Tensor:
    for name in ("logits", "projected_states", "last_hidden_state"):
        if getattr(found, name, None) is not None:
            return getattr(found, name)
    raise AssertionError(found.keys())


def ours(twins: Twins, x: Tensor, context: Context | None = None) -> Tensor:
    bare = twins.case.architecture.endswith("Model")
    return twins.model.hidden(x, context) if bare else twins.model(x, context)


def lengths_of(case: Case) -> tuple[int, ...]:
    """A voice is not told by a frame or two."""
    return (101, 67, 59) if case.architecture.endswith("ForXVector") else LENGTHS


def hears_padding(case: Case) -> bool:
    """The reference's convolutions inside and after its blocks also see what they make of the padding."""
    return case.row.model_type == "wav2vec2-conformer" or bool(case.config.get("add_adapter"))


def normed_by_layer(case: Case) -> bool:
    return case.config.get("feat_extract_norm") == "layer"


@over
def test_outputs(case: Case, twins: Twins) -> None:
    """Alone, and padded: where the norm is the group's, whose statistics the reference takes of the padding too, a row
    of ours is held against the reference's of that row alone."""
    lengths = lengths_of(case)
    x, mask = sounds(*lengths), real(*lengths)
    context = twins.model.embed.context(lengths)
    with torch.no_grad():
        assert_close(ours(twins, x), main(theirs(twins, x)))
        together = ours(twins, x, context)
        expected = main(theirs(twins, x, attention_mask=mask)) if normed_by_layer(case) else None
        for row, length in enumerate(lengths):
            alone = main(theirs(twins, x[row : row + 1, :length]))[0]
            count = len(alone) if together.dim() == 3 else None
            if expected is not None and not hears_padding(case):
                assert_close(together[row][:count], expected[row][:count])
            assert_close(together[row][:count], alone)


@over
def test_hidden_states(case: Case, twins: Twins) -> None:
    x = sounds(83, 83)
    with torch.no_grad(), listening(twins) as heard:
        ours(twins, x)
        expected = theirs(twins, x).hidden_states
    # The mixed ones keep all states to themselves.
    if expected is None:
        expected = twins.reference.base_model(x.clone(), output_hidden_states=True).hidden_states
    assert len(heard) == len(expected)
    for mine, other in zip(heard, expected, strict=True):
        assert_close(mine, other)


@contextmanager
def listening(twins: Twins) -> Iterator[list[Tensor]]:
    """What goes into the first block and comes out of each."""
    heard: list[Tensor] = []
    stack = twins.model.stack
    handles = [stack.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))]
    handles += [block.register_forward_hook(lambda _, inputs, out: heard.append(out)) for block in stack.blocks]
    yield heard
    for handle in handles:
        handle.remove()


@over
def test_loss(case: Case, twins: Twins) -> None:
    x, mask = sounds(101, 67), real(101, 67)
    model = twins.model
    head, config = model.head, twins.reference.config
    context = model.embed.context((101, 67)) if normed_by_layer(case) else Context()
    mask_told = {"attention_mask": mask} if normed_by_layer(case) else {}
    if hears_padding(case) and mask_told:
        mask_told, context = {}, Context()
    with torch.no_grad():
        if case.architecture.endswith("ForCTC"):
            labels = torch.tensor([[5, 5, 0, 7], [1, 12, -100, -100]])
            config.ctc_loss_reduction = "sum"
            expected = theirs(twins, x, labels=labels, **mask_told).loss
            targets = [row[row >= 0] for row in labels]
            assert_close(head.loss(model(x, context), targets, answering(model, x, context)), expected)
        elif case.architecture.endswith("ForSequenceClassification"):
            labels = torch.tensor([2, 0])
            expected = theirs(twins, x, labels=labels, **mask_told).loss
            assert_close(head.loss(model(x, context), labels) / 2, expected)
        elif case.architecture.endswith("ForXVector"):
            labels, found = torch.tensor([2, 0]), model(x, context)
            expected = theirs(twins, x, labels=labels, **mask_told)
            assert_close(head.vectors(model.hidden(x, context), context), expected.embeddings)
            assert_close(head.loss(found, labels) / 2, expected.loss)
        elif case.architecture.endswith("ForPreTraining"):
            contrast(twins, x)


def contrast(twins: Twins, x: Tensor) -> None:
    from regard.ops.random import Key
    from regard.ops.spans import negatives, spans

    model, T = twins.model, twins.model.embed.count(x.shape[1])
    masked = spans(Key(5), [T, T], T, 0.4, 2, 2)
    assert masked.any(-1).all() and not masked.all()
    others = negatives(Key(6), masked, 5)
    flat = torch.arange(2 * T)[masked.flatten()]  # places among all frames, as the reference counts them
    told = torch.zeros(2, T, 5, dtype=torch.long)
    told[masked] = flat[others]
    found = theirs(twins, x, mask_time_indices=masked, sampled_negative_indices=told)
    side: dict[int, Any] = {}
    guesses = model(x, Context(masked=masked, side=side))
    mine = model.head.learned(guesses, side[-1], masked, others)
    assert_close(guesses, found.projected_states)
    assert_close(mine.contrast, found.contrastive_loss)
    assert_close(mine.diversity, found.diversity_loss)
    assert_close(mine.used, found.codevector_perplexity)


@over
def test_back(case: Case, twins: Twins, tmp_path: Path) -> None:
    """The reference reads what we write, bit for bit but for the length and direction of a normed weight, which agree
    in their product; and we read its shards, and ours again bit for bit."""
    twins.reference.save_pretrained(tmp_path / "theirs", max_shard_size="5KB")
    model, module = read(tmp_path / "theirs")
    out = tmp_path / "ours"
    out.mkdir()
    files.write(out, table.write(module.TABLE, model), shard=5_000)
    assert len(list(out.glob("*.safetensors"))) > 1
    (out / "config.json").write_text(json.dumps(module.write(model.config)))
    again, info = type(twins.reference).from_pretrained(out, output_loading_info=True)
    missing = {key for key in info["missing_keys"] if any(part in key for part in case.row.unused)}
    assert missing == set(info["missing_keys"]) and not info["unexpected_keys"] and not info["mismatched_keys"]
    for key, tensor in twins.reference.state_dict().items():
        if any(part in key for part in case.row.unused):
            continue
        if ".parametrizations." not in key:
            assert torch.equal(tensor, again.state_dict()[key]), key
    x = sounds(59)
    with torch.no_grad():
        assert_close(main(theirs(twins, x)), main(again.eval()(x.clone())))
    once_more, _ = read(out)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, once_more.get_parameter(name)), name
    written = again.config.to_dict()
    for key, value in twins.reference.config.to_dict().items():
        if key not in NOT_THE_MODELS and value is not None:
            found = written[key]
            assert value.items() <= found.items() if isinstance(value, dict) else plain(found) == plain(value), key


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


NOT_THE_MODELS = ("architectures", "_name_or_path", "dtype", "transformers_version", "problem_type")
NOT_THE_MODELS += ("ctc_loss_reduction", "num_feat_extract_layers")


@over
def test_old_names(case: Case, twins: Twins, tmp_path: Path) -> None:
    """Files from before PyTorch renamed normed weights."""
    tensors = files.Folder(twins.folder)
    stored = {name: tensors.read(name) for name in tensors.names()}
    renamed = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor.clone()
        for name, tensor in stored.items()
    }
    files.write(tmp_path, renamed)
    (tmp_path / "config.json").write_text((twins.folder / "config.json").read_text())
    again, _ = read(tmp_path)
    for name, parameter in twins.model.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name)), name


@over
def test_padding(case: Case, twins: Twins) -> None:
    """A row gets beside others what it gets alone, bit for bit the same whatever stands in the place of padding."""
    lengths = lengths_of(case)
    x, context = sounds(*lengths), twins.model.embed.context(lengths)
    other = torch.where(real(*lengths).bool(), x, 1e3)
    with torch.no_grad():
        together, again = ours(twins, x, context), ours(twins, other, context)
        for row, length in enumerate(lengths):
            alone = ours(twins, x[row : row + 1, :length])[0]
            count = len(alone) if together.dim() == 3 else None
            assert_close(together[row][:count], alone)
            assert torch.equal(again[row][:count], together[row][:count])


@over
def test_config_round_trip(case: Case, twins: Twins) -> None:
    module, config = twins.module, twins.model.config
    assert module.read(json.loads(json.dumps(module.write(config))), "config.json") == config


def test_an_adapter_leaves_each_row_what_it_has_alone(tmp_path: Path) -> None:
    """Frames and loss; and heads that the reference has no adapter before are refused by name."""
    case = next(one for one in CASES if one.name == "wav2vec2-adapted")
    twins = make(case, tmp_path)
    model, x = twins.model, sounds(*LENGTHS)
    context, letters = model.embed.context(LENGTHS), [torch.tensor([5, 7]), torch.tensor([1]), torch.tensor([2])]
    with torch.no_grad():
        together = model.head.loss(model(x, context), letters, answering(model, x, context))
        alone = [model(x[row : row + 1, :length]) for row, length in enumerate(LENGTHS)]
        assert_close(together, sum(model.head.loss(one, [own]) for one, own in zip(alone, letters, strict=True)))
    real_frames = answering(model, x, context).valid(together_frames(model, x))
    assert real_frames is not None and real_frames.sum(-1).tolist() == [one.shape[1] for one in alone]
    written = twins.module.write(model.config)
    for told in (
        {"architectures": ["Wav2Vec2ForSequenceClassification"]},
        {"adapter_kernel_size": 5},
        {"num_adapter_layers": 0},
    ):
        key = "add_adapter" if "architectures" in told else next(iter(told))
        with pytest.raises(BadFileError, match=key):
            twins.module.read({**written, **told}, "config.json")


def together_frames(model: Any, x: Tensor) -> int:
    return model.shorter.count(model.embed.count(x.shape[1]))
