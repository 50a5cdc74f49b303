"""What doctor says of what is sound: all green, of every family, every task, a run, a recipe and a model folder."""

from __future__ import annotations

import json
import time

import pytest
from small_families import FAMILIES, classifiers, small
from small_runs import MACHINE, RUNS, recipe, write

from regard import bundle, config, doctor
from regard.cli.main import run as regard
from regard.doctor import subject as subjects
from regard.layers import Mask
from regard.words import speaking


def wrong(found: doctor.Examination) -> dict[str, str]:
    """Everything that is not green and is not about the machine, with its sentence."""
    return {one.check: one.sentence for one in found.findings if one.status != "green" and one.check not in MACHINE}


@pytest.mark.parametrize("name", RUNS)
def test_a_sound_run_is_green(name, trained):
    began = time.process_time()
    found = doctor.examine(trained(name))
    assert not wrong(found)
    assert found.kind == "run" and found.task == RUNS[name].task and found.rows == 5
    assert time.process_time() - began < 10
    asked = {one.check for one in found.findings}
    assert {"whole", "data", "documents", "padding", "moved", "accumulated", "saved", "ids"} <= asked
    assert ("future" in asked) == (found.task in ("causal-lm", "seq2seq")) == ("cached" in asked) == ("eos" in asked)
    assert ("classes" in asked) == (found.task == "classification")
    assert ("place" in asked) == (found.task == "masked-lm")


# Tensors for tokens that see everything: without such a token, and behind the last one that counts, nobody asks them.
UNUSED = ("longformer", "led")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_green(family):
    found = wrong(doctor.examine(small(family)))
    assert list(found) == (["moved"] if family in UNUSED else []), found


@pytest.mark.parametrize("family", classifiers())
def test_every_family_that_classifies_is_green(family):
    found = wrong(doctor.examine(small(family, classify=True)))
    assert list(found) == (["moved"] if family in UNUSED else []), found


def test_what_takes_no_part_is_amber_and_named():
    found = doctor.examine(small("longformer"))["moved"]
    assert found.status == "amber" and "attention.whole" in found.sentence and "train.freeze=" in found.command


EXAMINED = ["causal-lm qwen3", "masked-lm bert", "classification bert", "classification t5", "seq2seq vaswani"]


@pytest.mark.parametrize("name", EXAMINED)
def test_a_recipe_is_examined_before_it_is_trained(name, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(config.to_toml(recipe(RUNS[name], write(RUNS[name], tmp_path))), encoding="utf-8")
    found = doctor.examine(path)
    assert not wrong(found) and found.kind == "recipe"
    assert "whole" not in {one.check for one in found.findings}


def test_a_model_folder_is_examined_without_its_run(trained, tmp_path):
    bundle.save(tmp_path / "model", bundle.load(trained("classification bert")))
    subject = subjects.find(tmp_path / "model")
    assert subject.made_up and not wrong(doctor.examine(subject))
    assert {row["label"] for row in subject.rows} == {"bad", "good"}


def test_a_model_that_only_pools_is_examined_as_far_as_it_goes():
    pooled = bundle.with_head(small("bert"), "pool")
    found = doctor.examine(pooled)
    assert not wrong(found)
    assert "padding" in {one.check for one in found.findings} and "moved" not in {one.check for one in found.findings}


def test_a_run_without_a_model_is_examined_at_its_newest_checkpoint(trained, tmp_path):
    import shutil

    shutil.copytree(trained("causal-lm gpt2"), tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    begun, finished = subjects.find(tmp_path / "run"), subjects.find(trained("causal-lm gpt2"))
    for name, parameter in begun.model.named_parameters():
        assert parameter.equal(dict(finished.model.named_parameters())[name])
    assert not wrong(doctor.examine(begun))


def test_the_examined_model_is_left_as_it_was(trained):
    subject = subjects.find(trained("seq2seq vaswani"))
    before = {name: parameter.clone() for name, parameter in subject.model.named_parameters()}
    doctor.examine(subject)
    assert not subject.model.training and "loss" not in subject.model.head.__dict__
    for name, parameter in subject.model.named_parameters():
        assert parameter.equal(before[name]) and parameter.grad is None and parameter.requires_grad
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in subject.model.modules())


def test_the_verb_prints_and_leaves_with_0(trained, capsys):
    assert regard(["doctor", str(trained("causal-lm gpt2"))]) == 0
    out = capsys.readouterr().out
    assert "No look ahead" in out and "0 red" in out


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_verb_says_what_is_red_and_how_to_mend_it(trained, capsys, monkeypatch, language):
    monkeypatch.setattr("regard.doctor.surroundings.version", lambda name: "0.1" if name == "torch" else "999")
    assert regard(["doctor", str(trained("masked-lm bert")), "--lang", language]) == 1
    out = capsys.readouterr().out
    assert "python -m pip install 'torch>=" in out
    assert ("1 red" if language == "en" else "红色 1") in out


def test_the_verb_answers_in_json(trained, capsys):
    assert regard(["doctor", str(trained("seq2seq vaswani")), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] in ("green", "amber") and found["kind"] == "run" and found["made_up"] is False
    assert {"check", "group", "status", "title", "sentence", "command", "seconds"} == set(found["findings"][0])


def test_every_sentence_is_there_in_both_languages(trained):
    found = doctor.examine(trained("classification bert"))
    with speaking("zh"):
        assert all(max(one.sentence) >= "\u4e00" and not one.sentence.startswith("doctor.") for one in found.findings)
    with speaking("en"):
        assert not any(one.title.startswith("doctor.") for one in found.findings)


def test_a_finding_is_wholly_in_the_language_in_use(trained):
    subject = subjects.find(trained("seq2seq vaswani"))
    subject.model.mask = Mask(predicate=lambda q, k: k >= 0)
    found = doctor.examine(subject)
    with speaking("zh"):
        assert found["future"].sentence.startswith("在训练批次的那一行的")
        assert "“不会偷看后文”" in found["cached"].sentence
    with speaking("en"):
        assert "In the row of a training batch" in found["future"].sentence


def test_what_is_not_there_is_refused(capsys, tmp_path):
    assert regard(["doctor", "no-such-recipe"]) == 2
    assert regard(["doctor", str(tmp_path)]) == 1
    assert "Traceback" not in capsys.readouterr().err
