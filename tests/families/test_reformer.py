"""Reformer against the reference implementation, both hashing by the same directions; and what it promises.

It stands apart from the family table: the reference cuts a batch by its longest row, changes its config when it meets
the first text, and shows one of the two streams where others show their hidden states.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from family_rows_seq2seq import BART
from family_twins import batch, randomised, read, some_tokens
from torch import Tensor
from torch.testing import assert_close

from regard import models
from regard.errors import RegardError
from regard.generate.rows import FreshReader, Rows
from regard.layers import Context, Key, chunks
from regard.weights import folder as files
from regard.weights import table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")
SEED = 7
CONFIG: dict[str, Any] = {
    "vocab_size": 31,
    "hidden_size": 18,
    "num_attention_heads": 3,
    "attention_head_size": 5,
    "feed_forward_size": 17,
    "attn_layers": ["local", "lsh", "lsh", "local"],
    "local_attn_chunk_length": 4,
    "lsh_attn_chunk_length": 6,
    "num_buckets": 4,
    "num_hashes": 2,
    "hash_seed": SEED,
    "axial_pos_shape": [7, 11],
    "axial_pos_embds_dim": [5, 13],
    "max_position_embeddings": 77,
    "eos_token_id": 2,
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "language": ("ReformerModelWithLMHead", {"is_decoder": True}),
    "masked": ("ReformerForMaskedLM", {}),
    "both sides": ("ReformerForMaskedLM", {"lsh_num_chunks_after": 1, "local_num_chunks_after": 1}),
    "factors": ("ReformerForMaskedLM", {"num_buckets": [2, 4], "num_hashes": 3}),
    "one hash": ("ReformerForMaskedLM", {"num_hashes": 1, "attn_layers": ["lsh", "lsh"]}),
    "local": ("ReformerModelWithLMHead", {"is_decoder": True, "attn_layers": ["local", "local"]}),
    "learned positions": ("ReformerForMaskedLM", {"axial_pos_embds": False}),
    "unsaid buckets": ("ReformerForMaskedLM", {"num_buckets": None}),
    "classify": ("ReformerForSequenceClassification", {"num_labels": 3}),
    "score": ("ReformerForSequenceClassification", {"num_labels": 1}),
    "span": ("ReformerForQuestionAnswering", {}),
    "model": ("ReformerModel", {}),
}


@pytest.fixture(autouse=True)
def same_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference seeds PyTorch's generator with its ``hash_seed`` for every layer; so do we here."""

    def drawn(shape: tuple[int, ...], key: Key, like: Tensor) -> Tensor:
        torch.manual_seed(SEED)
        return torch.randn(shape, dtype=like.dtype)

    monkeypatch.setattr(chunks, "directions", drawn)


def twins(name: str, folder: Path, **changes: Any) -> tuple[Any, Any]:
    architecture, config = VARIANTS[name]
    made = getattr(transformers, architecture)
    reference = randomised(made(transformers.ReformerConfig(**CONFIG | config | changes)), BART)
    with_bias(reference)
    reference.save_pretrained(folder)
    model = read(folder)[0]
    if name == "language":
        # A token that sees none but itself scores -1e5, where single precision counts in steps of 0.008: the
        # reference, which takes a logarithm there to weigh its hashes, loses 0.2 % of such a token's value. In
        # double precision both are exact.
        return reference.double(), model.double()
    return reference, model


def with_bias(reference: Any) -> None:
    """Adds the bias of the vocabulary, as the releases did that the published weights were made for; the present one
    stores it and forgets it, since its linear layer no longer shares it."""
    if hasattr(reference, "lm_head"):
        assert reference.lm_head.decoder.bias is None
        reference.lm_head.register_forward_hook(lambda head, _, logits: logits + head.bias)


def theirs(reference: Any, tokens: Tensor, **more: Any) -> Tensor:
    found = reference(tokens, **more)
    for name in ("logits", "last_hidden_state"):
        if getattr(found, name, None) is not None:
            return getattr(found, name)
    return torch.stack((found.start_logits, found.end_logits), -1)


@pytest.mark.shows("reformer", "outputs")
@pytest.mark.parametrize("length", [3, 5, 12, 24, 31])
@pytest.mark.parametrize("name", VARIANTS)
def test_outputs(name: str, length: int, tmp_path: Path) -> None:
    reference, model = twins(name, tmp_path)
    tokens = some_tokens(2, length)
    with torch.no_grad():
        found, expected = model(tokens), theirs(reference, tokens)
    assert_close(found, expected[:, 0] if name == "model" else expected)


@pytest.mark.shows("reformer", "hidden_states")
def test_both_streams_agree_at_every_layer(tmp_path: Path) -> None:
    reference, model = twins("masked", tmp_path)
    tokens, seen = some_tokens(2, 24), []
    for block in model.stack.blocks:
        block.feed_forward.register_forward_hook(lambda _, inputs, out: seen.append(out))
    with torch.no_grad():
        model(tokens)
        states = reference(tokens, output_hidden_states=True).hidden_states
    for written, before, after in zip(seen, states, states[1:], strict=False):
        assert_close(before + written, after)


@pytest.mark.shows("reformer", "padding")
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_row_is_cut_as_it_would_be_alone(side: str, tmp_path: Path) -> None:
    _, model = twins("masked", tmp_path)
    given = batch([31, 13, 4], side)
    with torch.no_grad():
        together = model(given.tokens, given.context)
        packed = model.hidden(torch.cat([row[real] for row, real in zip(given.tokens, given.real, strict=True)])[None],
                              Context.packed([31, 13, 4]))  # fmt: skip
        for row, real in enumerate(given.real):
            assert_close(together[row, real], model(given.tokens[row, real][None])[0])
        alone = [model.hidden(given.tokens[row, real][None])[0] for row, real in enumerate(given.real)]
    assert_close(packed[0], torch.cat(alone))


@pytest.mark.shows("reformer", "loss")
def test_loss(tmp_path: Path) -> None:
    reference, model = twins("language", tmp_path)
    tokens = some_tokens(2, 24)
    with torch.no_grad():
        expected = reference(tokens, labels=tokens).loss
        hidden = model.hidden(tokens)[:, :-1].flatten(0, 1)
        assert_close(model.head.loss(hidden, tokens[:, 1:].flatten()) / len(hidden), expected)


@pytest.mark.shows("reformer", "future")
def test_nothing_comes_from_the_future(tmp_path: Path) -> None:
    _, model = twins("language", tmp_path)
    tokens = some_tokens(1, 10)
    with torch.no_grad():  # the second chunk of neither kind is filled: no token is sorted by what comes after it
        before = model(tokens[:, :4])
        tokens[:, 3] = (tokens[:, 3] + 5) % 31
        assert torch.equal(model(tokens[:, :4])[:, :3], before[:, :3])


@pytest.mark.shows("reformer", "generation")
def test_text_is_written_without_a_cache(tmp_path: Path) -> None:
    reference, model = twins("language", tmp_path)
    prompt = some_tokens(1, 5)[0].tolist()
    told = {"max_new_tokens": 7, "do_sample": False, "use_cache": False, "eos_token_id": None, "pad_token_id": 0}
    expected = reference.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, 5), **told)[0, 5:].tolist()
    with torch.no_grad():
        rows = Rows(FreshReader(model, [prompt], None), [prompt], 31)
        logits, text = rows.start(), []
        for _ in range(7):
            text.append(int(logits.argmax(-1)))
            logits = rows.step([text[-1]])
        with pytest.raises(RegardError, match="cache"):
            model(some_tokens(1, 5), Context(cache=model.cache()))
    assert text == expected


def test_a_run_backwards_gives_the_gradients_of_a_run_forwards(tmp_path: Path) -> None:
    _, model = twins("language", tmp_path)
    dropping = replace(model.config, dropout=0.2, lsh=replace(model.config.lsh, dropout=0.2))
    again = models.empty(dropping)
    again.load_state_dict(model.state_dict(), assign=True)
    again.double()
    tokens, found = some_tokens(1, 31), []
    for run in (kept, lambda model, tokens: model.hidden(tokens, Context(key=Key(3)))):
        again.zero_grad()
        hidden = run(again, tokens)
        (hidden.sin() * torch.arange(hidden.numel()).view(hidden.shape)).sum().backward()
        found.append((hidden.detach(), {name: p.grad for name, p in again.named_parameters() if p.grad is not None}))
    (plain, expected), (reversed_, grads) = found
    assert_close(reversed_, plain)
    assert expected.keys() == grads.keys() and len(grads) > 30
    for name in grads:
        assert_close(grads[name], expected[name])


def kept(model: Any, tokens: Tensor) -> Tensor:
    """The stack's output with everything kept for the backward pass."""
    from regard.layers.reversible import _run

    context = Context(key=Key(3)).open(tuple(tokens.shape), tokens.device, model.mask)
    x = model.embed(tokens, context)
    return model.stack.norm(torch.cat(_run(model.stack, x, x, context), -1))


@pytest.mark.shows("reformer", "back")
def test_the_reference_reads_what_we_write(tmp_path: Path) -> None:
    for name in VARIANTS:
        reference, model = twins(name, tmp_path / name)
        module, out = models.family("reformer"), tmp_path / f"{name} again"
        out.mkdir()
        files.write(out, table.write(module.TABLE, model), shard=5_000)
        data = json.loads(json.dumps(module.write(model.config)))
        assert module.read(data, "config.json") == model.config
        (out / "config.json").write_text(json.dumps(data))
        again, info = type(reference).from_pretrained(out, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
        for key, tensor in reference.state_dict().items():
            assert torch.equal(tensor, again.state_dict()[key]), key
        written = again.config.to_dict()
        ours = {"architectures", "_name_or_path", "dtype", "transformers_version", "initializer_range", "eos_token_id"}
        ours |= set() if model.config.grid else {"axial_pos_shape"}  # of a grid that is not there
        for key, value in reference.config.to_dict().items():
            assert key in ours or value is None or written[key] == value, key
