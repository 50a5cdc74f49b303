"""What the family table cannot say: tokens that see everything, heads that need a target or an end token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from family_rows import Row
from family_rows_encoders import ALBERT, BERT, BIG_BIRD, LONGFORMER, NYSTROMFORMER
from family_rows_seq2seq import BART, LED, MARIAN, MT5, T5
from family_twins import batch, randomised, read, some_tokens
from torch.testing import assert_close

from regard import models
from regard.errors import RegardError
from regard.layers import Context, Key
from regard.models import big_bird
from regard.models.transformer import Transformer
from regard.weights import folder as files
from regard.weights import table

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")


def twins(folder: Path, name: str, config: Mapping[str, object]):
    architecture = getattr(transformers, name)
    row = MARIAN if name.startswith("Marian") else BART  # the one's positions are constants
    reference = randomised(architecture(architecture.config_class(**config)), row)
    reference.save_pretrained(folder)
    return reference, read(folder)[0]


def test_tokens_that_see_everything_and_are_seen(tmp_path: Path) -> None:
    reference, model = twins(tmp_path, LONGFORMER.architecture, LONGFORMER.config)
    given = batch([48, 11, 5], pad=1)  # long enough to be taken by pieces
    everywhere = torch.zeros(3, 48, dtype=torch.bool)
    everywhere[0, [0, 7, 41]] = everywhere[1, 3] = True
    with torch.no_grad():
        for marked in (everywhere, everywhere & False):
            context = Context(positions=given.positions, everywhere=marked)
            seen = {"attention_mask": given.real.long(), "global_attention_mask": marked.long()}
            expected = reference(input_ids=given.tokens, **seen).logits
            assert_close(model(given.tokens, context)[given.real], expected[given.real])


@pytest.mark.parametrize("kernel", [1, 5])
def test_landmarks_stand_for_all_tokens(kernel: int, tmp_path: Path) -> None:
    """The reference divides texts of one length alone, and inverts a batch from its largest number."""
    config = {**NYSTROMFORMER.config, "segment_means_seq_len": 21, "conv_kernel_size": kernel}
    reference, model = twins(tmp_path, NYSTROMFORMER.architecture, config)
    tokens, longer = some_tokens(2, 21), some_tokens(1, 26, seed=5)
    given = batch([21, 26, 8, 3], pad=1)
    with torch.no_grad():
        for row in tokens:
            assert_close(model(row[None]), reference(row[None]).logits)
        assert_close(model(tokens), torch.cat([model(row[None]) for row in tokens]))
        assert model(longer).isfinite().all()  # by segments of three and of four
        together = model(given.tokens, given.context)
        alone = [model(row[real][None])[0] for row, real in zip(given.tokens, given.real, strict=True)]
        assert_close(together[given.real], torch.cat(alone))


def test_an_encoder_of_an_encoder_decoder_may_see_everything_too(tmp_path: Path) -> None:
    reference, model = twins(tmp_path, LED.architecture, LED.config)
    given, everywhere = batch([24, 13]), torch.zeros(2, 24, dtype=torch.bool)
    everywhere[:, 0] = everywhere[1, 5] = True
    with torch.no_grad():
        expected = reference(
            input_ids=given.tokens, attention_mask=given.real.long(), global_attention_mask=everywhere.long(),
            decoder_input_ids=given.target,
        ).logits  # fmt: skip
        found = model(given.tokens, given.target, Context(positions=given.positions, everywhere=everywhere))
    assert_close(found, expected)


def test_packed_documents_keep_their_own_everywhere(tmp_path: Path) -> None:
    _, model = twins(tmp_path, LONGFORMER.architecture, LONGFORMER.config)
    lengths, tokens = (11, 11, 5, 19), some_tokens(1, 46)
    everywhere = torch.zeros(1, 46, dtype=torch.bool)
    everywhere[0, [0, 4, 11, 30, 45]] = True
    context = Context.packed(lengths, everywhere=everywhere)
    with torch.no_grad():
        packed = model.hidden(tokens, context)
        rows = zip(tokens.split(lengths, 1), everywhere.split(lengths, 1), strict=True)
        alone = [model.hidden(row, Context(everywhere=marked)) for row, marked in rows]
    assert_close(packed, torch.cat(alone, 1))


@pytest.mark.parametrize("name", ["LongformerForQuestionAnswering", "LongformerForMultipleChoice"])
def test_the_question_sees_everything(name: str, tmp_path: Path) -> None:
    reference, model = twins(tmp_path, name, LONGFORMER.config)
    tokens = some_tokens(3, 16)
    question = "Question" in name
    tokens[:, 4] = tokens[:, 9] = tokens[:, 15] = 2  # the separators that the reference looks for
    at = torch.arange(16).expand(3, -1)
    everywhere = at < 4 if question else at > 5
    with torch.no_grad():
        expected = reference(tokens if question else tokens.unsqueeze(0))
        found = model(tokens, Context(everywhere=everywhere))
        with pytest.raises(RegardError, match="everywhere"):
            model(tokens)
    theirs = torch.stack((expected.start_logits, expected.end_logits), -1) if question else expected.logits[0]
    assert_close(found, theirs)


def test_answers_pass_a_layer_more_in_big_bird(tmp_path: Path) -> None:
    """The reference sets what the question is given far below, which is left to whoever picks an answer."""
    reference, model = twins(tmp_path, "BigBirdForQuestionAnswering", BIG_BIRD.config)
    given = batch([13, 7])
    asked = torch.tensor([[4], [2]])
    types = torch.arange(13) >= asked
    with torch.no_grad():
        ends = torch.tensor([[9, 11], [4, 6]])
        expected = reference(
            given.tokens, attention_mask=given.real.long(), question_lengths=asked, token_type_ids=types.long()
        )
        found = model(given.tokens, replace(given.context, types=types.long()))
    answers = given.real & (types | (torch.arange(13) == 0))
    assert_close(found[answers], torch.stack((expected.start_logits, expected.end_logits), -1)[answers])
    assert model.head.loss(found, ends, given.context).isfinite()
    files.write(tmp_path, table.write(big_bird.TABLE, model))
    again, info = type(reference).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for key, tensor in reference.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


CLASSIFIERS = {
    "BartForSequenceClassification": (BART, {"num_labels": 3}),
    "T5ForSequenceClassification": (T5, {"num_labels": 3, "feed_forward_proj": "gated-gelu"}),
    "MT5ForSequenceClassification": (MT5, {"num_labels": 3}),
    "T5 scores": (T5, {"num_labels": 1}),
}


@pytest.mark.parametrize("case", CLASSIFIERS)
def test_a_class_is_read_off_the_end_of_the_repeated_source(case: str, tmp_path: Path) -> None:
    row, told = CLASSIFIERS[case]
    name = "T5ForSequenceClassification" if case == "T5 scores" else case
    reference, model = twins(tmp_path / "theirs", name, {**row.config, **told})
    given = batch([13, 7])
    ends = given.real.sum(-1) - 1
    tokens = given.tokens.clone()
    tokens[torch.arange(2), ends] = 1  # the end token
    target = torch.cat((torch.full((2, 1), model.config.start), tokens[:, :-1]), 1)
    labels = torch.tensor([0.3, -2.0] if told["num_labels"] == 1 else [2, 0])
    with torch.no_grad():
        expected = reference(tokens, attention_mask=given.real.long(), labels=labels)
        found = model(tokens, target, given.context, Context(positions=given.positions))
    assert_close(found, expected.logits)
    assert_close(model.head.loss(found, labels) / 2, expected.loss)
    back(reference, model, tmp_path)


def back(reference: Any, model: Any, folder: Path) -> None:
    """The reference reads what we write, bit for bit."""
    module = models.family(models.name_of(model.config))
    files.write(folder, table.write(module.TABLE, model))
    written = module.write(model.config)
    assert written["architectures"] == [type(reference).__name__]
    assert module.read(json.loads(json.dumps(written)), "") == model.config
    (folder / "config.json").write_text(json.dumps(written))
    again, info = type(reference).from_pretrained(folder, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for key, tensor in reference.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


@pytest.mark.parametrize("row", [ALBERT, BERT, BIG_BIRD], ids=lambda row: row.model_type)
def test_what_was_trained_on_pairs_too_is_a_language_model(row: Row, tmp_path: Path) -> None:
    name = row.architecture.replace("MaskedLM", "PreTraining")
    reference, model = twins(tmp_path, name, row.config)
    given = batch([13, 7])
    with torch.no_grad():
        expected = reference(given.tokens, attention_mask=given.real.long()).prediction_logits
        assert_close(model(given.tokens, given.context)[given.real], expected[given.real])
    module = models.family(models.name_of(model.config))
    assert module.write(model.config)["architectures"] == [row.architecture]  # the head of pairs is not kept


BODIES = [("BartModel", BART), ("MarianModel", MARIAN), ("T5Model", T5), ("MT5Model", MT5)]


@pytest.mark.parametrize(("name", "row"), BODIES)
def test_a_body_without_a_head_is_read(name: str, row: Row, tmp_path: Path) -> None:
    reference, model = twins(tmp_path, name, row.config)
    tokens = some_tokens(2, 7)
    with torch.no_grad():
        expected = reference(tokens, decoder_input_ids=tokens.flip(1)).last_hidden_state
        memory = model.encode(tokens)
        assert_close(model.hidden(tokens.flip(1), Context(memory=memory)), expected)
    module = models.family(models.name_of(model.config))
    written = module.write(model.config)
    assert written["architectures"] == [name] and written["is_encoder_decoder"]
    files.write(tmp_path, table.write(module.TABLE, model))
    again, info = type(reference).from_pretrained(tmp_path, output_loading_info=True)
    missing = {key for key in info["missing_keys"] if "embed_positions" not in key or name != "MarianModel"}
    assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"]  # sinusoids are not stored
    for key, tensor in reference.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[key]), key


def test_a_vocabulary_of_its_own_goes_there_and_back(tmp_path: Path) -> None:
    """T5 1.1 and FLAN-T5: the reference calls it tied, and reads it untied where the file has both."""
    config = {**T5.config, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    reference, _ = twins(tmp_path / "theirs", "T5ForConditionalGeneration", config)
    module = models.family("t5")
    model = models.build(module.read({**reference.config.to_dict(), "tie_word_embeddings": False}, "")).eval()
    assert not model.config.tied and not model.config.scaled
    with torch.no_grad():
        model.head.weight.normal_(0.0, 0.3)
    files.write(tmp_path, table.write(module.TABLE, model))
    (tmp_path / "config.json").write_text(json.dumps(module.write(model.config)))
    again = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path).eval()
    tokens, target = some_tokens(2, 7), some_tokens(2, 5, seed=2)
    with torch.no_grad():
        assert_close(again(tokens, decoder_input_ids=target).logits, model(tokens, target))
        assert_close(read(tmp_path)[0](tokens, target), model(tokens, target))


def test_half_a_t5_is_an_encoder(tmp_path: Path) -> None:
    config = {"vocab_size": 31, "d_model": 14, "d_kv": 5, "d_ff": 17, "num_layers": 2, "num_heads": 3}
    reference, model = twins(tmp_path, "T5EncoderModel", config)
    assert isinstance(model, Transformer)
    tokens = some_tokens(2, 7)
    with torch.no_grad():
        assert_close(model.hidden(tokens), reference(tokens).last_hidden_state)


@pytest.mark.parametrize("length", [15, 16, 21, 31])
def test_blocks_see_what_they_see_in_the_reference(length: int, tmp_path: Path) -> None:
    """In evaluation, where the reference draws no blocks."""
    sparse = {"attention_type": "block_sparse", "block_size": 2, "num_random_blocks": 1, "max_position_embeddings": 37}
    reference, model = twins(tmp_path, BIG_BIRD.architecture, {**BIG_BIRD.config, **sparse})
    tokens = some_tokens(2, length)
    with torch.no_grad():
        assert_close(model(tokens), reference(tokens).logits)
        full = models.empty(replace(model.config, block=None))
        full.load_state_dict(model.state_dict(), assign=True)
        assert not torch.allclose(full.eval()(tokens), model(tokens), atol=1e-3)
        for side in ("right", "left"):
            given = batch([length, 9, 17][: 2 if length < 17 else 3], side)
            together = model(given.tokens, given.context)
            for row, real in enumerate(given.real):
                assert_close(together[row, real], model(given.tokens[row, real].unsqueeze(0))[0])


def test_drawn_blocks_are_new_in_each_step_and_the_same_in_each_run(tmp_path: Path) -> None:
    sparse = {"attention_type": "block_sparse", "block_size": 2, "num_random_blocks": 2, "max_position_embeddings": 37}
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    _, model = twins(tmp_path, BIG_BIRD.architecture, {**BIG_BIRD.config, **sparse, **none})
    tokens = some_tokens(1, 33)
    with torch.no_grad():
        first, again, other = (model(tokens, Context(key=Key(seed))) for seed in (3, 3, 5))
    assert torch.equal(first, again) and not torch.equal(first, other)
