"""What a model's files advise about decoding: followed where nobody says otherwise, and said."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from published import EOS, PAD, translating, writing

from regard import bundle
from regard.cli.main import run
from regard.errors import BadFileError
from regard.generate import Rules, Search, Settings
from regard.generate.advised import advised
from regard.inputs import advice, languages
from regard.inputs.marks import Marks

SEARCH = {"num_beams": 4, "length_penalty": 2.0, "no_repeat_ngram_size": 3, "early_stopping": True, "min_length": 7,
          "max_length": 15}  # fmt: skip
DRAW = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.05}
TEXTS = ("abc", "k", "the moon 月光")


@pytest.fixture(scope="module")
def searching(tmp_path_factory):
    """BART whose files advise a search."""
    folder = tmp_path_factory.mktemp("searching")
    known = languages.known(translating(folder))
    model = writing("BartForConditionalGeneration", folder)
    for key, value in (SEARCH | {"forced_bos_token_id": known["zho_Hans"]}).items():
        setattr(model.generation_config, key, value)
    model.save_pretrained(folder)
    return folder, model


def said(folder, *options, capsys, verb="generate"):
    """(settings, texts or predictions, stderr) of a command's JSON."""
    capsys.readouterr()
    code = run([verb, str(folder), *map(str, options), "--json", "--threads", "1", "--device", "cpu", "--lang", "en"])
    out, error = capsys.readouterr()
    assert code == 0, error
    document = json.loads(out)
    return document.get("settings"), document.get("texts", document.get("predictions")), error


def test_a_search_that_is_advised_finds_what_the_reference_finds(searching, capsys):
    folder, theirs = searching
    options = [word for text in TEXTS for word in ("--prompt", text)]
    settings, texts, error = said(folder, *options, capsys=capsys)
    tokenizer = bundle.load(folder).tokenizer
    for text, one in zip(TEXTS, texts, strict=True):
        ids = torch.tensor([tokenizer.encode(text)])
        expected = theirs.generate(ids, attention_mask=torch.ones_like(ids))[0, 1:].tolist()
        while expected[-1] == PAD:
            expected.pop()
        assert one["tokens"] == expected
    assert (settings["beams"], settings["max_tokens"], settings["rules"]["min_tokens"]) == (4, 14, 6)
    assert "--beams 4" in error and "--no-repeat 3" in error and "--early-stopping full" in error


def test_what_is_said_counts_instead(searching, capsys):
    folder, _ = searching
    of = ["--prompt", TEXTS[0]]
    settings, _, error = said(folder, *of, "--no-repeat", 2, "--length-penalty", 1.0, "--beams", 2, capsys=capsys)
    assert (settings["beams"], settings["rules"]["no_repeat"], settings["search"]["length_penalty"]) == (2, 2, 1.0)
    assert settings["search"]["early_stopping"] == "full" and "--beams" not in error
    settings, _, error = said(folder, *of, "--greedy", "--max-tokens", 5, capsys=capsys)
    assert (settings["beams"], settings["temperature"], settings["max_tokens"]) == (1, 0.0, 5)
    assert settings["rules"]["min_tokens"] == 0  # a text of at most five tokens cannot have six
    settings, _, _ = said(folder, *of, "--top-p", 0.5, capsys=capsys)
    assert (settings["beams"], settings["temperature"], settings["top_p"]) == (1, 1.0, 0.5)
    settings, _, _ = said(folder, *of, "--samples", 2, capsys=capsys)
    assert (settings["beams"], settings["temperature"]) == (1, 1.0)


def test_predictions_follow_it_too(searching, capsys):
    folder, _ = searching
    _, texts, _ = said(folder, "--prompt", TEXTS[2], capsys=capsys)
    _, found, error = said(folder, TEXTS[2], verb="predict", capsys=capsys)
    assert found[0]["target"] == texts[0]["text"] and "--beams 4" in error


def bundled(told: dict, task: str = "causal-lm") -> Any:
    """What of a bundle is asked for advice."""
    return SimpleNamespace(task=task, marks=Marks(advice=advice.read(told, "x")))


@pytest.mark.parametrize(
    ("told", "named", "usual", "expected"),
    [
        (DRAW, {}, {}, Settings(temperature=0.6, top_p=0.9, top_k=20, rules=Rules(repetition=1.05))),
        (DRAW, {"top_k": 3}, {}, Settings(temperature=0.6, top_p=0.9, top_k=3, rules=Rules(repetition=1.05))),
        (DRAW, {"temperature": 0.0}, {}, Settings(temperature=0.0, rules=Rules(repetition=1.05))),
        (DRAW, {"beams": 2}, {}, Settings(beams=2, rules=Rules(repetition=1.05))),
        (DRAW, {"contrast": 0.5, "top_k": 4}, {},
         Settings(top_k=4, search=Search(contrast=0.5), rules=Rules(repetition=1.05))),
        # What is usual gives way to any advice about drawing, and stays where there is none.
        ({"top_p": 0.8}, {}, {"temperature": 0.7, "top_p": 0.9, "repetition": 1.1, "max_tokens": 9},
         Settings(top_p=0.8, max_tokens=9)),
        ({"no_repeat_ngram_size": 4}, {}, {"temperature": 0.7}, Settings(temperature=0.7, rules=Rules(no_repeat=4))),
        # A temperature of 0 draws nothing.
        ({"temperature": 0.0, "top_p": 0.5}, {}, {}, Settings(temperature=0.0)),
        # Numbers of a draw that its makers do not make.
        (DRAW | {"do_sample": False}, {}, {}, Settings(rules=Rules(repetition=1.05))),
        # Values that change nothing are none.
        ({"temperature": 1.0, "top_k": 0, "top_p": 1, "num_beams": 1, "max_length": 20}, {}, {"temperature": 0.3},
         Settings(temperature=0.3)),
        # Lengths that count a prompt.
        ({"min_length": 9, "max_length": 40}, {}, {}, Settings()),
    ],
)  # fmt: skip
def test_advice_fills_what_nobody_said(told, named, usual, expected):
    assert advised(bundled(told), named, usual).settings == expected


def test_an_answer_is_drawn_only_where_that_is_advised():
    usual = {"temperature": 0.0}
    of = bundled({"temperature": 0.6, "top_p": 0.9}, "seq2seq")
    assert advised(of, {}, usual).settings == Settings(temperature=0.0)
    of = bundled({"do_sample": True, "top_p": 0.9}, "seq2seq")
    assert advised(of, {}, usual).settings == Settings(top_p=0.9)


def test_a_form_ends_where_it_is_complete():
    found = advised(bundled({"min_new_tokens": 5}, "seq2seq"), {"regex": "ab"})
    assert found.settings.rules == Rules(regex="ab")


def test_advice_that_contradicts_itself_is_told_of_and_not_followed():
    of = bundled({"num_beams": 5, "num_beam_groups": 2, "diversity_penalty": 0.3}, "seq2seq")
    found = advised(of, {}, {"temperature": 0.0})
    assert found.settings == Settings(temperature=0.0) and not found.taken
    assert found.others == {"num_beams": 5, "num_beam_groups": 2, "diversity_penalty": 0.3}
    found = advised(bundled({"top_h": 0.4, "top_k": 7}), {})
    assert found.settings == Settings(top_k=7) and found.others == {"top_h": "0.4"}


def test_older_configs_that_were_written_out_in_full_advise_nothing():
    full = {"top_k": 50, "top_p": 1.0, "temperature": 1.0, "max_length": 20, "min_length": 0, "num_beams": 1,
            "num_beam_groups": 1, "diversity_penalty": 0.0, "repetition_penalty": 1.0, "length_penalty": 1.0,
            "no_repeat_ngram_size": 0, "encoder_no_repeat_ngram_size": 0, "early_stopping": False,
            "typical_p": 1.0, "exponential_decay_length_penalty": None}  # fmt: skip
    assert advice.read(full, "x", own=False) == ()
    assert dict(advice.read(full, "x", own=True)) == {"top_k": 50}


@pytest.mark.parametrize(
    "told",
    [{"temperature": "hot"}, {"top_k": 2.5}, {"num_beams": True}, {"top_p": float("nan")}, {"min_length": -1},
     {"repetition_penalty": [1.0]}],
)  # fmt: skip
def test_advice_of_another_kind_is_refused_by_name(told):
    with pytest.raises(BadFileError, match=next(iter(told))):
        advice.read(told, "generation_config.json")


def test_advice_comes_back_and_the_reference_finds_it(searching, tmp_path):
    loaded = bundle.load(searching[0])
    assert dict(loaded.marks.advice) == SEARCH
    bundle.save(tmp_path / "again", loaded)
    assert bundle.load(tmp_path / "again").marks == loaded.marks
    theirs = transformers.BartForConditionalGeneration.from_pretrained(tmp_path / "again").generation_config
    assert {key: getattr(theirs, key) for key in SEARCH} == SEARCH
    assert (theirs.eos_token_id, theirs.pad_token_id, theirs.decoder_start_token_id) == (EOS, PAD, EOS)


def test_ends_and_advice_stand_in_one_file(searching, tmp_path):
    """A file of advice is read instead of config.json: it has to say what that one says of ends."""
    loaded = bundle.load(searching[0])
    marked = replace(loaded, marks=replace(loaded.marks, ends=(EOS, 30), first=9, never=((8, 7),)))
    bundle.save(tmp_path / "again", marked)
    assert bundle.load(tmp_path / "again").marks == marked.marks
