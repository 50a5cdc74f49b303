"""Every fault that is planted is named, and nothing else is: the one red check is the fault's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import MACHINE, RUNS, recipe, write

from regard import bundle, config, doctor
from regard.doctor import subject as subjects
from regard.doctor import surroundings
from regard.doctor.subject import Subject
from regard.generate.job import Job
from regard.heads import Language
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Cache, Context, Mask
from regard.layers.feed_forward import FeedForward
from regard.layers.mask import Bound
from regard.layers.places import Places
from regard.models import transformer
from regard.models.transformer import EncoderDecoder
from regard.ops import random
from regard.tasks.base import IGNORED
from regard.tasks.causal_lm import CausalLMTask
from regard.tasks.classification import ClassificationTask
from regard.tasks.masked_lm import MaskedLMTask
from regard.tasks.seq2seq import Seq2SeqTask
from regard.train import loop, optimizers
from regard.weights import folder as files
from regard.weights import table

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch, Subject], Subject | None]


@dataclass(frozen=True)
class Fault:
    """What is planted in which run, and the check that must name it."""

    name: str
    run: str
    check: str
    plant: Plant


FAULTS: list[Fault] = []


def fault(name: str, check: str, *runs: str) -> Callable[[Plant], Plant]:
    def listed(plant: Plant) -> Plant:
        FAULTS.extend(Fault(name, run, check, plant) for run in runs)
        return plant

    return listed


def wrapped(patch: Patch, owner: Any, name: str, change: Callable[..., Any]) -> None:
    """`change(real, *arguments)` in the place of a function."""
    real = getattr(owner, name)
    made = lambda *given, **more: change(real, *given, **more)  # noqa: E731, a staticmethod must stay one
    patch.setattr(owner, name, staticmethod(made) if isinstance(owner.__dict__.get(name), staticmethod) else made)


GPT, QWEN, WINDOW = "causal-lm gpt2", "causal-lm qwen3", "causal-lm qwen3 windowed"
BERT, CLASSES, LAST, PAIRS = "masked-lm bert", "classification bert", "classification qwen3", "seq2seq vaswani"


# Masks.


@fault("a causal mask off by one", "future", GPT, QWEN, WINDOW, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    def allows(real: Any, mask: Mask, q: Places, k: Places) -> Any:
        return real(mask, Places(q.positions + 1), k) if mask.causal else real(mask, q, k)

    def begin(real: Any, bound: Bound, mask: Mask, q: Places, k: Places) -> None:
        real(bound, mask, q, k)
        bound.lower_triangle = False

    wrapped(patch, Mask, "allows", allows)
    wrapped(patch, Bound, "__init__", begin)


@fault("a decoder that sees both sides", "future", GPT, QWEN, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    patch.setattr(subject.model, "mask", Mask(predicate=lambda q, k: k >= 0))


@fault("only the mask of a padded batch off by one", "future", GPT, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    def allows(real: Any, mask: Mask, q: Places, k: Places) -> Any:
        return real(mask, Places(q.positions + 1), k) if mask.causal else real(mask, q, k)

    wrapped(patch, Mask, "allows", allows)


@fault("an encoder that sees one side", "sight", BERT)
def _(patch: Patch, subject: Subject) -> None:
    patch.setattr(subject.model, "mask", Mask(causal=True))


@fault("attention that sees only itself", "sight", GPT, CLASSES, LAST)
def _(patch: Patch, subject: Subject) -> None:
    patch.setattr(subject.model, "mask", subject.model.mask & Mask(window=1))


@fault("documents that see each other", "documents", GPT, QWEN, BERT, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    def allowed(context: Context, own: Mask | None, keys: Places) -> Any:
        mask = context.mask if own is None else context.mask & own
        mask = replace(mask, documents=None)
        return (layers_context.Part(0, context.places(), keys, mask.bind(context.places(), keys)),)

    from regard.layers import context as layers_context

    patch.setattr(layers_context, "_self_parts", allowed)


@fault("a document that sees another's source", "documents", PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    def encode(real: Any, model: Any, source: torch.Tensor, context: Context | None = None) -> torch.Tensor:
        memory = real(model, source, context)
        one = context is None or context.mask.documents is None or len(context.mask.documents) == 1
        return memory if one else memory + memory.roll(1, 1)

    wrapped(patch, EncoderDecoder, "encode", encode)


@fault("padding that is seen", "padding", BERT, CLASSES)
def _(patch: Patch, subject: Subject) -> None:
    def tensor(bound: Bound) -> Any:
        found = [term.allows(bound.q, bound.k) for term in bound.mask.terms]
        found = [each for each in found if each is not None]
        return torch.stack([each.expand_as(found[0]) for each in found]).all(0).unsqueeze(1) if found else None

    patch.setattr(Bound, "tensor", property(tensor))


@fault("padding of a source that is seen", "padding", PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    def memory(real: Any, source: Context, target: Context) -> Mask:
        return real(source, target) if source.mask.documents is not None else Mask()

    wrapped(patch, transformer, "memory_mask", memory)


# Numbers.


@fault("positions of padded rows off by one", "alone", GPT, BERT, CLASSES)
def _(patch: Patch, subject: Subject) -> None:
    def padded(real: Any, lengths: Any, device: Any = None, cache: Any = None, **more: Any) -> Context:
        context = real(lengths, device, cache, **more)
        at = context.positions
        return context if at is None else replace(context, positions=torch.where(at < 0, at, at + 1))

    wrapped(patch, Context, "padded", padded)


@fault("positions that count on through a row of documents", "packed", GPT, BERT, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    def packed(lengths: Any, device: Any = None, **more: Any) -> Context:
        at = None if len(lengths) == 1 else torch.arange(sum(lengths)).remainder(61)[None]
        return Context(mask=Mask(documents=tuple(lengths)), positions=at, **more)

    patch.setattr(Context, "packed", staticmethod(packed))


@fault("a cache that counts from the wrong place", "cached", GPT, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    def following(real: Any, cache: Cache, length: int, device: Any = None) -> Places:
        places = real(cache, length, device)
        return Places(places.positions + 1) if cache.length else places

    wrapped(patch, Cache, "following", following)


@fault("a cache that forgets the first token", "cached", QWEN, GPT, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    def keys(real: Any, cache: Cache, layer: int) -> Places:
        places = real(cache, layer)
        return Places(torch.where(places.positions == 0, -1, places.positions)) if places.length > 2 else places

    wrapped(patch, Cache, "keys", keys)


@fault("dropout that is on in evaluation", "dropout", GPT, BERT, CLASSES, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    def keyed(real: Any, model: Any, context: Context | None) -> Context:
        context = real(model, context)
        return context if context.key else replace(context, key=random.Key(int(torch.randint(1 << 60, ()))))

    wrapped(patch, transformer, "_keyed", keyed)


@fault("dropout that never drops", "dropout", GPT, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    patch.setattr(random.Dropout, "__call__", lambda drop, x: x)


@fault("a weight that is not a number", "finite", GPT, CLASSES, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    with torch.no_grad():
        subject.model.stack.blocks[1].attention.q.weight[3, 2] = torch.nan


# Labels.


def _sampled(patch: Patch, task: type, change: Callable[[Any], Any]) -> None:
    def samples(real: Any, *given: Any, **more: Any) -> Any:
        return [replace(one, labels=change(one)) for one in real(*given, **more)]

    wrapped(patch, task, "samples", samples)


@fault("an end that carries no loss", "eos", GPT, QWEN, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    """As where padding is eos, and padding is left out of the loss."""
    for task in (CausalLMTask, Seq2SeqTask):
        _sampled(patch, task, lambda one: np.where(one.labels == subject.bundle.tokenizer.eos, IGNORED, one.labels))


@fault("labels shifted twice", "shift", GPT, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    for task in (CausalLMTask, Seq2SeqTask):
        _sampled(patch, task, lambda one: np.append(one.labels[1:], one.labels[-1]))


@fault("labels that are not shifted", "shift", GPT, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    for task in (CausalLMTask, Seq2SeqTask):
        _sampled(patch, task, lambda one: one.tokens.copy())


@fault("a loss that shifts once more", "shift", GPT, QWEN, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    wrapped(patch, Language, "loss", lambda real, head, rows, targets: real(head, rows.roll(1, 0), targets))


@fault("a gap with another's label", "place", BERT)
def _(patch: Patch, subject: Subject) -> None:
    _sampled(patch, MaskedLMTask, lambda one: np.roll(one.labels, 1))


@fault("a loss at the wrong gaps", "place", BERT)
def _(patch: Patch, subject: Subject) -> None:
    wrapped(patch, Language, "loss", lambda real, head, rows, targets: real(head, rows.roll(1, 0), targets))


@fault("names of classes in another order", "classes", CLASSES, LAST)
def _(patch: Patch, subject: Subject) -> Subject:
    return replace(subject, bundle=replace(subject.bundle, labels=subject.bundle.labels[::-1]))


@fault("a name too many", "classes", CLASSES, LAST)
def _(patch: Patch, subject: Subject) -> Subject:
    return replace(subject, bundle=replace(subject.bundle, labels=(*subject.bundle.labels, "so-so")))


@fault("classes learnt as each other", "classes", CLASSES, LAST)
def _(patch: Patch, subject: Subject) -> None:
    wrapped(patch, ClassificationTask, "_class", lambda real, task, row: 1 - real(task, row))


# Tokens.


@fault("a doubled bos", "bos", GPT, QWEN, BERT)
def _(patch: Patch, subject: Subject) -> None:
    def encode(real: Any, tokenizer: Tokenizer, text: str, *given: Any, special: bool = True, **more: Any) -> Any:
        ids = real(tokenizer, text, *given, special=special, **more)
        return ids if special else [*tokenizer.template.before, *ids]

    wrapped(patch, Tokenizer, "encode", encode)


@fault("a bos doubled where it is spelled", "bos", GPT, QWEN, CLASSES, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    def marked(real: Any, tokenizer: Tokenizer, text: str) -> list[int]:
        return [*tokenizer.template.before, *real(tokenizer, text)]

    wrapped(patch, Tokenizer, "encode_marked", marked)


@fault("a prompt without its bos", "ids", GPT, QWEN)
def _(patch: Patch, subject: Subject) -> None:
    patch.setattr(Job, "_prompt", lambda job, number, text: job.tokenizer.encode(text, special=False))


@fault("a text that is cleaned for a prediction alone", "ids", CLASSES, LAST, BERT, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    for task in (ClassificationTask, MaskedLMTask, Seq2SeqTask):
        wrapped(patch, task, "predict", lambda real, own, used, given, *more, **other: real(
            own, used, [text.replace("e", "") for text in given], *more, **other
        ))  # fmt: skip


@fault("a source without its end in a prediction", "ids", PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    wrapped(patch, Job, "_source", lambda real, job, number, text: real(job, number, text)[:-1])


@fault("padding that is eos", "pad", GPT, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    _ = subject.batch
    patch.setattr(subject.bundle.tokenizer, "pad", subject.bundle.tokenizer.eos)


@fault("a tokenizer larger than the model", "vocabulary", GPT, BERT, CLASSES, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    patch.setattr(subject.bundle.tokenizer, "size", subject.bundle.tokenizer.size + 7)


# Updates.


@fault("a parameter that no gradient reaches", "moved", GPT, BERT, CLASSES, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    wrapped(patch, FeedForward, "forward", lambda real, own, x, context: _detached(own, x))


def _detached(own: FeedForward, x: torch.Tensor) -> torch.Tensor:
    weight, bias = own.up.weight.detach(), own.up.bias.detach()
    return own.down(torch.nn.functional.gelu(torch.nn.functional.linear(x, weight, bias)))


@fault("a parameter that the optimiser was not given", "moved", GPT, CLASSES)
def _(patch: Patch, subject: Subject) -> None:
    def sort(real: Any, model: Any, settings: Any) -> Any:
        first, *others = real(model, settings)
        return (replace(first, names=first.names[1:]), *others)

    wrapped(patch, optimizers, "sort", sort)


@fault("a frozen parameter that moves", "moved", GPT, PAIRS)
def _(patch: Patch, subject: Subject) -> Subject:
    patch.setattr(loop, "freeze", lambda model, patterns: None)
    frozen = replace(subject.recipe.train, freeze=("stack.blocks.0.*",))
    return replace(subject, recipe=replace(subject.recipe, train=frozen))


@fault("a rate of nothing", "moved", GPT, LAST)
def _(patch: Patch, subject: Subject) -> Subject:
    still = replace(subject.recipe.train.optimizer, rate=0.0)
    return replace(subject, recipe=replace(subject.recipe, train=replace(subject.recipe.train, optimizer=still)))


@fault("micro-batches that count alike, whatever they hold", "accumulated", GPT, BERT, CLASSES, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    """The mean of means: as the Trainers of this field had it until 2024."""
    whole = subject.batch.count
    for task in (CausalLMTask, MaskedLMTask, ClassificationTask, Seq2SeqTask):
        wrapped(patch, task, "loss", lambda real, own, model, batch, key: (
            real(own, model, batch, key) * (whole / batch.count / (3 if batch.count < whole else 1))
        ))  # fmt: skip


# Files.


@fault("a tensor that is lost on saving", "saved", GPT, QWEN, BERT, CLASSES, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    def write(real: Any, *given: Any) -> dict[str, torch.Tensor]:
        tensors = real(*given)
        return {name: tensors[name] for name in list(tensors)[:-1]}

    wrapped(patch, table, "write", write)


@fault("weights that are saved in half", "saved", GPT, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    def write(real: Any, folder: Path, tensors: Any, **more: Any) -> None:
        real(folder, {name: tensor.bfloat16().float() for name, tensor in tensors.items()}, **more)

    wrapped(patch, files, "write", write)


@fault("a tied weight that is untied", "tied", GPT, PAIRS)
def _(patch: Patch, subject: Subject) -> None:
    subject.model.head.weight = torch.nn.Parameter(subject.model.head.weight.detach().clone())


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{one.name}: {one.run}" for one in FAULTS])
def test_it_is_named_and_nothing_else(fault, trained, monkeypatch, record_property):
    subject = subjects.find(trained(fault.run))
    subject = fault.plant(monkeypatch, subject) or subject
    found = doctor.examine(subject)
    red = {one.check: one.sentence for one in found.of("red")}
    assert list(red) == [fault.check], red
    assert not {one.check: one.sentence for one in found.of("amber") if one.check not in MACHINE}
    assert found[fault.check].command and "broken" not in found[fault.check].verdict.key
    record_property("faults", 1)


def test_every_check_has_a_fault():
    planted = {fault.check for fault in FAULTS} | {"unknown", "whole", "data", *MACHINE}
    planted |= {"examples"}  # of models that read no text: test_examine_images.py
    assert planted == {check.name for check in doctor.CHECKS}


@pytest.fixture
def copied(trained, tmp_path):
    """A run of its own, with its data beside it."""
    made = write(RUNS[GPT], tmp_path)
    path = tmp_path / "recipe.toml"
    path.write_text(config.to_toml(recipe(RUNS[GPT], made)), encoding="utf-8")
    shutil.copytree(trained(GPT), tmp_path / "run")
    for name in ("recipe.toml", "asked.toml"):
        file = tmp_path / "run" / name
        old = (trained(GPT).parent / "data.jsonl").as_posix()
        file.write_text(file.read_text(encoding="utf-8").replace(old, made.as_posix()), encoding="utf-8")
    return tmp_path / "run"


def not_green(found: doctor.Examination) -> dict[str, str]:
    return {one.check: one.status for one in found.findings if one.status != "green" and one.check not in MACHINE}


def test_a_damaged_checkpoint(copied):
    newest = max((copied / "checkpoints").glob("step-*")) / "model.safetensors"
    data = bytearray(newest.read_bytes())
    data[-5] ^= 1
    newest.write_bytes(data)
    found = doctor.examine(copied)
    assert not_green(found) == {"whole": "amber"}
    assert f"regard train --resume {copied}" == found["whole"].command
    assert "model.safetensors" in found["whole"].sentence


def test_no_whole_checkpoint(copied):
    for manifest in (copied / "checkpoints").glob("step-*/manifest.json"):
        manifest.write_text("{}", encoding="utf-8")
    assert not_green(doctor.examine(copied)) == {"whole": "red"}


def test_changed_data(copied):
    assert not not_green(doctor.examine(copied))
    with open(copied.parent / "data.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({"text": "one sparrow more"}) + "\n")
    assert not_green(doctor.examine(copied)) == {"data": "red"}


def test_lost_data(copied):
    (copied.parent / "data.jsonl").unlink()
    subject = subjects.find(copied)
    assert subject.made_up and not_green(doctor.examine(subject)) == {"data": "amber"}


def test_a_tokenizer_that_does_not_know_the_text(trained):
    found = bundle.load(trained(BERT))
    rows = [{"text": f"old 今 天 the 天 气 {number} 很 好 old"} for number in range(9)]
    subject = subjects.of_bundle(found, "model", rows)
    assert not subject.made_up and not_green(doctor.examine(subject)) == {"unknown": "amber"}


@pytest.mark.parametrize(
    ("name", "what", "check"),
    [
        ("version", lambda name: "0.1", "packages"),
        ("processors", lambda: 0, "threads"),
        ("memory", lambda: 1 << 24, "room"),
    ],
)
def test_a_machine_that_lacks_something(trained, monkeypatch, name, what, check):
    usual = {one.check for one in doctor.examine(trained(GPT)).findings if one.status != "green"}
    monkeypatch.setattr(surroundings, name, what)
    found = doctor.examine(trained(GPT))
    assert {one.check for one in found.findings if one.status != "green"} - usual == {check}
    assert found[check].command


def test_other_versions_than_the_runs(copied):
    history = copied / "history.jsonl"
    history.write_text(history.read_text(encoding="utf-8").replace('"torch": "', '"torch": "1.'), encoding="utf-8")
    found = doctor.examine(copied)["packages"]
    assert found.status == "amber" and "torch 1." in found.sentence


def test_a_full_disk(trained, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda path: usage._replace(free=1 << 24))
    assert doctor.examine(trained(GPT))["room"].status == "amber"


def test_weights_too_narrow_for_a_cpu(trained):
    found = bundle.load(trained(GPT), dtype="bfloat16")
    assert surroundings.kernels(subjects.of_bundle(found)).status == "amber"


def test_the_kernels_are_those_that_run(trained, monkeypatch):
    from regard.layers import eager

    subject = subjects.find(trained(GPT))
    assert "flash" in surroundings.kernels(subject).values["kernel"]
    for block in subject.model.stack.blocks:
        block.attention.core = partial(eager)
    values = surroundings.kernels(subject).values
    assert values["kernel"] == "bmm" and values["cores"] == "eager"


def test_a_model_too_large_to_try_is_said_so(trained, monkeypatch):
    monkeypatch.setattr(surroundings, "memory", lambda: 1000)
    found = doctor.examine(trained(GPT))
    assert found["moved"].status == found["accumulated"].status == "amber"
