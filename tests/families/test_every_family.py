"""Every family against the reference implementation, on random weights and prime sizes, in both directions.

Every test runs over the rows of the family table; what each shows is a column of the table in the README.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from family_rows import VOCAB, Case, cases
from family_twins import Batch, Twins, batch, ours, output, read, some_tokens, theirs
from torch import Tensor
from torch.testing import assert_close

from regard.generate import beam, warp
from regard.generate.choose import Chooser
from regard.generate.rows import CachedReader, Rows, encode
from regard.generate.settings import Settings
from regard.layers import Context
from regard.weights import folder as files
from regard.weights import table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")


def over(found: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", found, ids=[case.name for case in found])


@over(cases())
def test_outputs(case: Case, twins: Twins) -> None:
    sides = ("right",) if case.kind != "decoder" else ("right", "left")
    for side in sides:
        given = batch([19, 11, 1], side, case.row.pad)
        with torch.no_grad():
            expected, found = output(theirs(twins, given)), ours(twins, given)
        compare(found, expected, given, case)


def compare(found: Tensor, expected: Tensor, given: Batch, case: Case) -> None:
    """The same where there are tokens."""
    if case.architecture.endswith("Model") and found.dim() == 2 < expected.dim():  # a vector for each row
        rows = zip(expected, given.real, strict=True)
        pooled = [row[real] for row, real in rows]
        which = {"seq2seq": lambda row: row.mean(0), "encoder": lambda row: row[0], "decoder": lambda row: row[-1]}
        kind = "seq2seq" if case.row.model_type == "imagegpt" else case.row.kind  # no pixel stands for the others
        expected = torch.stack([which[kind](row) for row in pooled])
    if case.kind == "seq2seq" or expected.shape[:2] != given.tokens.shape:
        assert_close(found, expected.view(found.shape))
    else:
        assert_close(found[given.real], expected[given.real])


@over(cases())
def test_hidden_states(case: Case, twins: Twins) -> None:
    given = batch([13, 13])
    with torch.no_grad(), listening(twins) as heard:
        ours(twins, given)
        expected = theirs(twins, given)
    if case.kind == "seq2seq":
        sides = {"encoder": expected.encoder_hidden_states, "stack": expected.decoder_hidden_states}
    else:
        sides = {"stack": expected.hidden_states}
    for side, states in sides.items():
        assert len(heard[side]) == len(states)
        for mine, other in zip(heard[side], states, strict=True):
            if mine.shape != other.shape:  # what a narrower vocabulary is given counts as the last state there
                mine = twins.model.head.transform(mine)
            assert_close(mine, other)


@contextmanager
def listening(twins: Twins) -> Iterator[dict[str, list[Tensor]]]:
    """What goes into the first block, comes out of each but the last, and comes out of the whole stack."""
    heard: dict[str, list[Tensor]] = {}
    handles = []
    for side in ("encoder", "stack"):
        stack = getattr(twins.model, side, None)
        if stack is None:
            continue
        states = heard[side] = []
        handles.append(stack.register_forward_pre_hook(lambda _, inputs, into=states: into.append(inputs[0])))
        for block in stack.blocks:
            handles.append(block.register_forward_hook(lambda _, inputs, out, into=states: into.append(out)))
        handles.append(stack.register_forward_hook(lambda _, inputs, out, into=states: _replace_last(into, out)))
    yield heard
    for handle in handles:
        handle.remove()


def _replace_last(states: list[Tensor], whole: Tensor) -> None:
    states[-1] = whole  # the reference shows the last layer only after the final norm


@over([case for case in cases() if not case.architecture.endswith("Model") or case.writes_text])
def test_loss(case: Case, twins: Twins) -> None:
    given = batch([17, 17])
    kind = next((kind for kind in LOSSES if case.architecture.endswith(kind)), "")
    with torch.no_grad():
        if kind:
            labels, count = LOSSES[kind](case)
            expected = theirs(twins, given, **labels).loss
            assert_close(twins.model.head.loss(*answered(twins, given, labels)) / count, expected)
            return
        labels = some_tokens(2, 17, seed=3).masked_fill(torch.rand(2, 17) < 0.3, -100)
        expected = theirs(twins, given, labels=labels).loss
        targets, hidden = labels, stack_output(twins, given)
        if case.kind == "decoder":
            targets, hidden = labels[:, 1:], hidden[:, :-1]
        counted = targets != -100
        assert_close(twins.model.head.loss(hidden[counted], targets[counted]) / counted.sum(), expected)


# The reference's targets for two rows of 17 tokens, and how many it takes the mean of.
LOSSES: dict[str, Callable[[Case], tuple[dict[str, Tensor], int]]] = {
    "ForSequenceClassification": lambda case: (
        {"labels": torch.tensor([2, 0]) if case.config.get("num_labels") != 1 else torch.tensor([0.3, -2.0])},
        2,
    ),
    "ForTokenClassification": lambda case: ({"labels": torch.randint(3, (2, 17))}, 34),
    "ForQuestionAnswering": lambda case: (
        {"start_positions": torch.tensor([3, 0]), "end_positions": torch.tensor([16, 5])},
        2,
    ),
    "ForNextSentencePrediction": lambda case: ({"labels": torch.tensor([1, 0])}, 2),
    "ForMultipleChoice": lambda case: ({"labels": torch.tensor([1])}, 1),
    "ForPreTraining": lambda case: ({"labels": torch.randint(2, (2, 17))}, 34),
}


def answered(twins: Twins, given: Batch, labels: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Our logits and targets as the head's loss takes them: tokens in a row, the two ends of an answer side by side."""
    found = ours(twins, given)
    if "start_positions" in labels:
        return found, torch.stack((labels["start_positions"], labels["end_positions"]), -1)
    targets = labels["labels"]
    return (found.flatten(0, 1), targets.flatten()) if targets.dim() == 2 else (found, targets)


def stack_output(twins: Twins, given: Batch) -> Tensor:
    with listening(twins) as heard:
        ours(twins, given)
    return heard["stack"][-1]


PROMPTS = [[5, 17, 3, 29, 11, 8, 23], [7, 4], [13, 13, 30, 6]]
MOST, END = 11, 9
PENALTY = 1.7  # random weights like to say one token over and over


@over(cases(writing=True))
@pytest.mark.parametrize("beams", [1, 3], ids=["greedy", "beams"])
def test_generation(case: Case, twins: Twins, beams: int) -> None:
    """Token for token; ours in one batch of mixed lengths, the reference one prompt at a time."""
    expected = []
    for prompt in PROMPTS:
        told = {"max_new_tokens": MOST, "num_beams": beams, "do_sample": False, "eos_token_id": END, "pad_token_id": 0}
        told |= {"repetition_penalty": PENALTY} if beams == 1 else {}
        whole = twins.reference.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), **told)[0]
        new = whole[1 if case.kind == "seq2seq" else len(prompt) :].tolist()
        expected.append(new[: new.index(END) + 1] if END in new else new)
    with torch.no_grad():
        assert written(twins, beams) == expected
    assert beams > 1 or any(len(set(text)) > 1 for text in expected)


def written(twins: Twins, beams: int) -> list[list[int]]:
    starts, memory = PROMPTS, None
    if twins.case.kind == "seq2seq":
        starts, memory = [[twins.model.config.start] for _ in PROMPTS], encode(twins.model, PROMPTS)
    rows = Rows(CachedReader(twins.model, starts, memory, None), starts, VOCAB)

    def ended(tokens: Sequence[int]) -> str | None:
        return "eos" if tokens[-1] == END else "length" if len(tokens) == MOST else None

    settings = Settings(beams=beams, max_tokens=MOST)
    if beams > 1:
        chooser, ends = Chooser(SimpleNamespace(eos=END), settings), beam.Ends(ended, MOST)
        return [list(best[0].tokens) for best in beam.search(rows, [ends] * len(starts), chooser)]
    texts: list[list[int]] = [[] for _ in starts]
    logits = rows.start()
    while True:
        chosen = warp.repetition(logits, [each.tokens for each in rows.histories], PENALTY).argmax(-1).tolist()
        for text, token in zip(texts, chosen, strict=True):
            if not text or not ended(text):
                text.append(token)
        if all(ended(text) for text in texts):
            return texts
        logits = rows.step(chosen)


@over(cases())
def test_back(case: Case, twins: Twins, tmp_path: Path) -> None:
    """The reference reads what we write, sharded, bit for bit; and we read its shards."""
    twins.reference.save_pretrained(tmp_path / "theirs", max_shard_size="5KB")
    model, module = read(tmp_path / "theirs")
    out = tmp_path / "ours"
    out.mkdir()
    files.write(out, table.write(module.TABLE, model), shard=5_000)
    assert len(list(out.glob("*.safetensors"))) > 1
    if case.kind == "decoder":  # by the same names: a body alone, say, has nothing before its own
        assert files.Folder(out).names() == files.Folder(tmp_path / "theirs").names()
    tokens = {"pad_token_id": twins.reference.config.pad_token_id}
    (out / "config.json").write_text(json.dumps(module.write(model.config) | tokens))
    again, info = type(twins.reference).from_pretrained(out, output_loading_info=True)
    missing = {key for key in info["missing_keys"] if any(part in key for part in case.row.unused)}
    assert missing == set(info["missing_keys"]) and not info["unexpected_keys"] and not info["mismatched_keys"]
    for key, tensor in twins.reference.state_dict().items():
        if key in missing:
            continue
        assert torch.equal(tensor, again.state_dict()[key]), key
    written = again.config.to_dict()
    for key, value in twins.reference.config.to_dict().items():
        if key not in NOT_THE_MODELS and value is not None:
            assert (value.items() <= written[key].items()) if isinstance(value, dict) else written[key] == value, key


# Which tokens begin, end and pad is the tokenizer's to say, and is written with it.
NOT_THE_MODELS = ("architectures", "_name_or_path", "dtype", "transformers_version", "initializer_range")
NOT_THE_MODELS += ("pad_token_id", "eos_token_id", "bos_token_id", "forced_eos_token_id")
NOT_THE_MODELS += ("problem_type",)  # set by the reference when it is given labels
NOT_THE_MODELS += ("problem_type",)  # which the reference itself sets when it is given labels


@over(cases())
def test_padding(case: Case, twins: Twins) -> None:
    """A row gets beside others what it gets alone, and nothing of what stands in the place of padding."""
    for side in ("right", "left"):
        given = batch([11, 5, 1], side)
        other = Batch(torch.where(given.real, given.tokens, 30), given.real, given.positions)
        with torch.no_grad():
            together, again = run(twins, given), run(twins, other)
            for row in range(3):
                alone = batch([int(given.real[row].sum())])
                alone = Batch(given.tokens[row, given.real[row]].unsqueeze(0), alone.real, alone.positions)
                by_itself = run(twins, alone)[0]
                tokens = twins.case.kind != "seq2seq" and together.shape[:2] == given.tokens.shape
                pick = given.real[row] if tokens else ...
                assert_close(together[row][pick], by_itself)
                same(again[row][pick], together[row][pick], case)


def run(twins: Twins, given: Batch) -> Tensor:
    """Our output; an encoder-decoder's for one target, whatever the source."""
    if twins.case.kind != "seq2seq":
        return twins.model(given.tokens, given.context)
    target = some_tokens(1, 7, seed=5).expand(len(given.tokens), -1)
    return twins.model(given.tokens, target, given.context)


def same(found: Tensor, expected: Tensor, case: Case) -> None:
    """Bit for bit, unless the row says why not."""
    if case.row.batched:
        assert_close(found, expected)
    else:
        assert torch.equal(found, expected)


@over(cases("decoder", "seq2seq", writing=True))
def test_cache(case: Case, twins: Twins) -> None:
    """Cached is uncached, in whatever pieces."""
    tokens = some_tokens(2, 17)
    with torch.no_grad():
        told = {}
        if case.kind == "seq2seq":
            told = {"memory": twins.model.encode(tokens)}
        expected = twins.model.head(twins.model.hidden(tokens, Context(**told)))
        for capacity in (None, 17):
            for pieces in ([1] * 17, [5, 1, 7, 1, 3]):
                cache = twins.model.cache(batch=2, capacity=capacity)
                found = [
                    twins.model.head(twins.model.hidden(piece, Context(cache=cache, **told)))
                    for piece in tokens.split(pieces, 1)
                ]
                # Products with fewer rows are summed in another order.
                assert_close(torch.cat(found, 1), expected, atol=5e-5, rtol=1e-5)


@over(cases("decoder", "seq2seq", writing=True))
def test_future(case: Case, twins: Twins) -> None:
    """Nothing before a changed token moves by a bit, and no gradient comes from the future."""
    source, tokens = some_tokens(2, 5, seed=4), some_tokens(2, 11)
    with torch.no_grad():
        told = {"memory": twins.model.encode(source)} if case.kind == "seq2seq" else {}
        before = twins.model.hidden(tokens, Context(**told))
        for t in range(11):
            changed = tokens.clone()
            changed[:, t] = (changed[:, t] + 5) % VOCAB
            after = twins.model.hidden(changed, Context(**told))
            same(after[:, :t], before[:, :t], case)
            assert not torch.equal(after[:, t], before[:, t])
    seen: dict[str, Tensor] = {}
    first = twins.model.stack.register_forward_pre_hook(lambda _, inputs: seen.update(x=inputs[0].requires_grad_()))
    hidden = twins.model.hidden(tokens, Context(**told))
    first.remove()
    for t in (0, 4, 9):
        (gradient,) = torch.autograd.grad(hidden[:, t].square().sum(), seen["x"], retain_graph=True)
        assert gradient[:, t + 1 :].eq(0).all() and gradient[:, t].ne(0).any()


@over(cases())
def test_config_round_trip(case: Case, twins: Twins) -> None:
    """What is written says the same when it is read again, and names no setting that is not known."""
    module, config = twins.module, twins.model.config
    assert module.read(json.loads(json.dumps(module.write(config))), "config.json") == config
