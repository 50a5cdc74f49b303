"""The verb: prompts from options and pipes, text and JSON out, mistakes named."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from regard import bundle
from regard.cli.main import run
from regard.generate import Rules, Settings, generate
from regard.inputs.tokenizer import Tokenizer

TEXTS = ["床前明月光，疑是地上霜。", "举头望明月，低头思故乡。"]


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory) -> dict[str, Path]:
    """A saved model that continues and one that answers."""
    tokenizer = Tokenizer.train("characters", TEXTS, vocab=300)
    made = {}
    for name in ("qwen3", "vaswani"):
        some = tiny.bundle(name, vocab=tokenizer.size, tokenizer=tokenizer)
        made[name] = tmp_path_factory.mktemp(name) / "model"
        bundle.save(made[name], bundle.Bundle(some.model, tokenizer, some.family, some.task))
    return made


@pytest.fixture
def called(capsys, monkeypatch):
    """Runs `regard generate ...` with some stdin: (exit code, stdout, stderr)."""

    def call(*arguments: object, stdin: bytes | None = None):
        if stdin is not None:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = run(["generate", *map(str, arguments), "--threads", "1", "--device", "cpu"])
        out, error = capsys.readouterr()
        return code, out, error

    return call


def test_one_prompt_is_continued(folders, called):
    [expected] = generate(bundle.load(folders["qwen3"]), ["明月"], Settings(temperature=0, max_tokens=11))
    code, out, _ = called(folders["qwen3"], "--prompt", "明月", "--greedy", "--max-tokens", 11)
    assert (code, out) == (0, f"明月{expected.text}\n")


def test_json_holds_everything(folders, called):
    options = ["--temperature", 0.8, "--top-k", 17, "--top-p", 0.9, "--min-p", 0.01, "--repetition-penalty", 1.2]
    options += ["--samples", 2, "--seed", 7, "--max-tokens", 11, "--stop", "霜", "--stop", "月光", "--json"]
    code, out, _ = called(folders["qwen3"], "--prompt", "明月", "--prompt", "床", *options)
    settings = Settings(
        temperature=0.8, top_k=17, top_p=0.9, min_p=0.01, rules=Rules(repetition=1.2),
        samples=2, seed=7, max_tokens=11, stop=("霜", "月光"),
    )  # fmt: skip
    expected = generate(bundle.load(folders["qwen3"]), ["明月", "床"], settings)
    document = json.loads(out)
    assert code == 0
    assert [each["prompt"] for each in document["texts"]] == ["明月", "明月", "床", "床"]
    for each, other in zip(document["texts"], expected, strict=True):
        assert (each["text"], each["tokens"], each["reason"]) == (other.text, list(other.tokens), other.reason)
        assert each["logprob"] == pytest.approx(other.logprob)
    assert document["settings"]["top_k"] == 17


def test_lines_of_a_pipe_are_prompts(folders, called):
    code, out, _ = called(folders["vaswani"], "--max-tokens", 7, stdin="床前\r\n\n举头\n".encode())
    answers = generate(bundle.load(folders["vaswani"]), ["床前", "举头"], Settings(temperature=0, max_tokens=7))
    assert (code, out) == (0, "".join(f"{each.text}\n" for each in answers))


def test_beams(folders, called):
    code, out, _ = called(folders["vaswani"], "--prompt", "床前", "--beams", 3, "--max-tokens", 7)
    [best] = generate(bundle.load(folders["vaswani"]), ["床前"], Settings(beams=3, max_tokens=7))
    assert (code, out) == (0, f"{best.text}\n")


def test_no_cache_says_the_same(folders, called):
    asked = (folders["qwen3"], "--prompt", "明月", "--max-tokens", 11)
    assert called(*asked, "--no-cache")[1] == called(*asked)[1]


def test_a_full_context_is_said(folders, called, tiny):
    settings = replace(Settings(), max_tokens=tiny.context)
    [full] = generate(bundle.load(folders["qwen3"]), ["霜"], replace(settings, seed=1, stop=()))
    code, _, error = called(
        folders["qwen3"], "--prompt", "霜", "--max-tokens", tiny.context, "--seed", 1, "--lang", "en"
    )
    assert code == 0 and (full.reason == "context") == (f"context of {tiny.context} tokens is full" in error)
    assert full.reason == "context"


@pytest.mark.parametrize(
    ("options", "stdin", "code", "said"),
    [
        (["--greedy", "--temperature", "0.5"], b"a", 2, "contradict"),
        (["--top-p", "1.5"], b"a", 2, "top_p is 1.5"),
        (["--top-k", "many"], b"a", 2, "--top-k"),
        (["--beams", "2", "--top-k", "3"], b"a", 2, "beam search"),
        ([], b"", 2, "no prompt"),
        ([], b"\xff\xfe", 1, "not UTF-8"),
        (["--prompt", "a" * 99], None, 1, "context of 61"),
    ],
)
def test_mistakes_are_named(folders, called, options, stdin, code, said):
    found, out, error = called(folders["qwen3"], *options, "--lang", "en", stdin=stdin)
    assert (found, out) == (code, "")
    assert said in error and "Traceback" not in error


def test_a_form_that_could_not_be_finished_is_said(folders, called):
    pytest.importorskip("llguidance")
    options = (folders["qwen3"], "--prompt", "明", "--greedy", "--max-tokens", 3, "--regex")
    assert "1 of 1 texts were cut" in called(*options, "[月光]{9}")[2]
    assert called(*options, "月光?")[2] == ""


def test_a_form_that_is_none_is_refused_in_one_line(folders, called):
    pytest.importorskip("llguidance")
    code, out, error = called(folders["qwen3"], "--prompt", "明", "--regex", "a(")
    assert code == 1 and not out and "unclosed group" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--force", "moon"], "search.forced is ['moon']"),
        (["--beams", 2, "--contrast", 0.6], "search.contrast is 0.6"),
        (["--greedy", "--typical-p", 0.5], "rules.typical_p is 0.5"),
        (["--guesses", 3], "lookup"),
    ],
)
def test_what_contradicts_is_named_with_its_own_value(folders, called, options, part):
    code, out, error = called(folders["qwen3"], "--prompt", "明", *options)
    assert code == 2 and not out and part in error and error.count("\n") == 1
