"""What holds of every family, at the marks of a proof: nothing hidden is felt, batches, caches and rows change nothing.

A family's parity with the reference, its files in both directions and its fixed caches stand in tests/families.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from small_families import FAMILIES, LABELS, WORDS, classifiers, small, some_tokens, tokenizer, usual, writers
from torch import Tensor

from regard import tasks
from regard.bundle import Bundle
from regard.doctor.laid import LAYOUTS, Question, question
from regard.doctor.masks import ROUNDING
from regard.generate import Settings, generate
from regard.layers import Context, Experts
from regard.tasks.base import Sample
from regard.train.feed import cut

NEAR = 1e-5  # of the largest output
SAME = 1e-6  # of a loss, and of the norm of a gradient
LOOSER = {"nystromformer": 1e-5}  # six rounds of inverting a matrix enlarge what rounding leaves
LENGTHS = (11, 5, 13, 7)
KINDS = [(name, False) for name in FAMILIES] + [(name, True) for name in classifiers()]
IDS = [f"{name} classify" if classify else name for name, classify in KINDS]


def documents(lengths: Sequence[int] = LENGTHS, seed: int = 1) -> list[Tensor]:
    return [some_tokens(length, seed=seed + 100 * number) for number, length in enumerate(lengths)]


def asked(bundle: Bundle, layout: str) -> Question:
    sources = documents((7, 13, 5, 11), seed=7) if bundle.task == "seq2seq" else []
    return question(bundle.model, documents(), sources, LAYOUTS[layout])


def hidings(bundle: Bundle, question: Question) -> Iterator[tuple[list[Tensor], Any]]:
    """(what is hidden of each side, from which documents and places): padding, other documents, every future."""
    target = question.sides[0]
    pads = [~side.tokens_only for side in question.sides]
    if any(side.any() for side in pads):
        yield pads, lambda owner, place: owner >= 0
    for number in range(len(LENGTHS)):
        others = [(side.owner != number) & side.tokens_only for side in question.sides]
        yield others, lambda owner, place, number=number: owner == number
    if bundle.task in ("causal-lm", "seq2seq"):
        for last in range(max(LENGTHS) - 1):
            later = [(target.place > last) & target.tokens_only]
            later += [torch.zeros_like(side.tokens_only) for side in question.sides[1:]]
            yield later, lambda owner, place, last=last: place <= last


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("family", "classify"), KINDS, ids=IDS)
def test_nothing_hidden_is_felt(family, classify, layout):
    """Changed by large finite amounts, what is hidden changes no bit of what sees the rest; its gradient is 0."""
    bundle = small(family, classify=classify)
    asking = asked(bundle, layout)
    before = asking.look()
    for hidden, of in hidings(bundle, asking):
        rows = of(before.owner, before.place)
        for felt, concealed in zip(before.felt(rows), hidden, strict=True):
            assert not (felt & concealed).any()
        after = asking.look(hidden)
        assert alike(bundle, after.out[rows], before.out[rows])
        assert rows.all() or not torch.equal(after.out, before.out)


def alike(bundle: Bundle, found: Tensor, expected: Tensor) -> bool:
    """To the bit; but the order of an expert's sums goes by the number of tokens that came to it."""
    if any(isinstance(module, Experts) for module in bundle.model.modules()):
        return apart(found, expected) <= ROUNDING
    return torch.equal(found, expected)


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest output."""
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max()) / max(1.0, float(expected.abs().max()))


TRIALS, ROWS = 100, 64


@pytest.mark.parametrize(("family", "classify"), KINDS, ids=IDS)
@torch.no_grad()
def test_a_needle_gets_in_any_batch_what_it_gets_alone(family, classify):
    """At any place among 2 to 64 rows of any length: near in every number, and the same likeliest token."""
    bundle, drawn = small(family, classify=classify), random.Random(5)
    needle, source = some_tokens(9, seed=3), some_tokens(6, seed=4)
    pair = bundle.task == "seq2seq"
    expected = question(bundle.model, [needle], [source] if pair else []).look().out
    gap = expected.topk(2).values.diff().abs()[..., 0]
    for trial in range(TRIALS):
        count = drawn.randint(2, ROWS)
        lengths = [drawn.randint(1, 15) for _ in range(count)]
        place = drawn.randrange(count)
        rows, sources = documents(lengths, seed=trial), documents(lengths[::-1], seed=trial + 50)
        rows[place], sources[place] = needle, source
        layout = drawn.choice([LAYOUTS["right"], LAYOUTS["left"], LAYOUTS["packed"]])
        seen = question(bundle.model, rows, sources if pair else [], layout).look()
        found = seen.out[seen.owner == place]
        assert apart(found, expected) <= NEAR
        clear = gap > 1e-4 * expected.abs().max()
        assert found.argmax(-1)[clear].equal(expected.argmax(-1)[clear])


PROMPTS = 200


@pytest.mark.parametrize("family", writers())
def test_200_prompts_are_continued_alike_with_any_cache_and_with_none(family):
    bundle, drawn = small(family), random.Random(7)
    prompts = ["".join(drawn.choice(WORDS) for _ in range(drawn.randint(1, 13))).strip() or "a" for _ in range(PROMPTS)]
    written = {
        kind: generate(bundle, prompts, Settings(temperature=0.0, max_tokens=5, cache=kind))
        for kind in ("none", "growing", "preallocated")
    }
    for kind in ("growing", "preallocated"):
        for found, expected in zip(written[kind], written["none"], strict=True):
            assert found.tokens == expected.tokens
            assert found.logprob == pytest.approx(expected.logprob, abs=1e-3)
    assert len({each.tokens for each in written["none"]}) > 3


@pytest.mark.parametrize("family", writers())
@torch.no_grad()
def test_a_cache_gives_the_same_however_its_rows_are_cut_dropped_and_reused(family):
    """Ten random ways: pieces of any size, rows begun together and then kept, repeated and dropped."""
    bundle, drawn = small(family), random.Random(11)
    model, context = bundle.model, Context()
    if bundle.task == "seq2seq":
        context = Context(memory=model.encode(some_tokens(1, 7)).expand(3, -1, -1))
    for way in range(10):
        rows = some_tokens(3, 17, seed=way)
        rows[:, :6] = rows[0, :6]  # what they begin with alike is read once
        cache = model.cache(1, drawn.choice([None, 17]))
        first = reading(model, rows[:1, :6], cache, one(context), drawn)
        cache.select(torch.zeros(3, dtype=torch.int64))
        second = reading(model, rows[:, 6:12], cache, context, drawn)
        kept = torch.tensor(drawn.sample(range(3), 2))
        cache.select(kept)
        third = reading(model, rows[kept, 12:], cache, few(context, kept), drawn)
        expected = model.hidden(rows, context)
        assert apart(first, expected[:1, :6]) <= NEAR
        assert apart(second, expected[:, 6:12]) <= NEAR
        assert apart(third, expected[kept, 12:]) <= NEAR


def reading(model: Any, rows: Tensor, cache: Any, context: Context, drawn: random.Random) -> Tensor:
    """Hidden states of rows that are read in pieces of random sizes."""
    sizes: list[int] = []
    while sum(sizes) < rows.shape[1]:
        sizes.append(min(drawn.choice([1, 1, 2, 5]), rows.shape[1] - sum(sizes)))
    told = {"memory": context.memory, "cache": cache}
    return torch.cat([model.hidden(piece, Context(**told)) for piece in rows.split(sizes, 1)], 1)


def one(context: Context) -> Context:
    return few(context, torch.tensor([0]))


def few(context: Context, kept: Tensor) -> Context:
    return Context(memory=None if context.memory is None else context.memory[kept])


@pytest.mark.parametrize(("family", "classify"), KINDS, ids=IDS)
def test_a_packed_batch_has_the_loss_and_gradient_of_its_documents(family, classify):
    bundle = small(family, classify=classify)
    task, samples = examples(bundle, 8)
    together = gradient(task, bundle, [samples])
    separate = gradient(task, bundle, [[sample] for sample in samples])
    agree(together, separate, LOOSER.get(family, SAME))


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "bert", "vaswani", "t5"])
@pytest.mark.parametrize("parts", [4, 8])
def test_a_batch_of_32_has_the_gradient_of_its_micro_batches(family, parts):
    """1 x 32 = 4 x 8 = 8 x 4, with as many tokens in each as it happens."""
    bundle = small(family)
    task, samples = examples(bundle, 32)
    runs = [[samples[k] for k in run] for run in cut([sample.size for sample in samples], parts) if run]
    assert len({sum(sample.targets for sample in run) for run in runs}) > 1
    agree(gradient(task, bundle, [samples]), gradient(task, bundle, runs))


def examples(bundle: Bundle, count: int) -> tuple[Any, list[Sample]]:
    task, drawn = tasks.of(bundle), random.Random(13)
    rows = []
    for number in range(count):
        text, other = ("".join(drawn.choice(WORDS) for _ in range(drawn.randint(3, 23))).strip() for _ in range(2))
        rows.append({"text": f"a {text}", "source": f"a {text}", "target": f"b {other}", "label": LABELS[number % 3]})
    return task, [task.samples(row, index=number)[0] for number, row in enumerate(rows)]


def gradient(task: Any, bundle: Bundle, runs: Sequence[Sequence[Sample]]) -> tuple[float, Tensor]:
    """The loss of all samples, and its gradient in one vector, summed over the runs."""
    bundle.model.zero_grad()
    batches = [task.collate(run, range(len(run))) for run in runs]
    count, total = sum(batch.count for batch in batches), 0.0
    for batch in batches:
        loss = task.loss(bundle.model, batch, None) / count
        loss.backward()
        total += float(loss.detach())
    found = [p.grad.flatten() for p in bundle.model.parameters() if p.grad is not None]
    return total, torch.cat(found)


def agree(found: tuple[float, Tensor], expected: tuple[float, Tensor], same: float = SAME) -> None:
    assert found[0] == pytest.approx(expected[0], rel=same)
    assert float((found[1] - expected[1]).norm() / expected[1].norm()) <= same


def test_every_family_has_a_task_and_a_vocabulary():
    """The table of small families follows `FAMILIES` by itself."""
    assert {usual(name) for name in FAMILIES} == {"causal-lm", "masked-lm", "seq2seq"}
    assert tokenizer().size < 400
