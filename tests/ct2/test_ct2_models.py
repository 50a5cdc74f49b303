"""A Whisper as CTranslate2 stores it: ours both ways, and in the real program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from regard import bundle as bundles
from regard import models
from regard.bundle import Bundle
from regard.errors import BadFileError, ConfigError
from regard.export import export
from regard.inputs.audio import LogMel
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Context
from regard.ops.random import Key
from regard.weights.ct2 import names
from regard.weights.ct2.container import open_file
from regard.weights.ct2.writing import write

SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startofprev|>",
           "<|nospeech|>", "<|notimestamps|>"]  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A random model with a tokenizer that names all of speech's special tokens."""
    folder = tmp_path_factory.mktemp("tokenizer")
    Tokenizer.train("bytes", ["abc"], 300).save(folder)
    document = json.loads((folder / "tokenizer.json").read_text())
    first = 1 + max([*document["model"]["vocab"].values(), *(one["id"] for one in document["added_tokens"])])
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    document["added_tokens"] += [{"id": first + n, "content": word, **plain} for n, word in enumerate(SPECIAL)]
    (folder / "tokenizer.json").write_text(json.dumps(document))
    tokenizer = Tokenizer.load(folder)
    sizes = {
        "depth": 2,
        "decoder_depth": 3,
        "hidden": 24,
        "decoder_hidden": 40,
        "dim": 48,
        "heads": 3,
        "decoder_heads": 6,
    }
    sizes |= {"mels": 80, "frames": 1500, "context": 41, "vocab": 50_300}
    # A file does not say where a text starts and what pads: it is where it is in every model of English.
    tokens = {"start": 50_257, "pad": 50_256, "suppressed": [3, 4], "suppressed_first": [5]}
    config = models.config("whisper", {**sizes, **tokens})
    model = models.build(config, Key(5)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return Bundle(model, tokenizer, "whisper", "seq2seq", processor=LogMel())


@pytest.mark.parametrize("kind", ["F32", "F16"])
def test_written_and_read_again(bundle: Bundle, kind: str, tmp_path: Path) -> None:
    made = export(bundle, tmp_path / "out", "ct2", kind)
    assert (made.largest == 0) == (kind == "F32")
    again = bundles.load(tmp_path / "out")
    assert again.model.config == bundle.model.config and again.processor == bundle.processor
    stored = open_file(tmp_path / "out" / "model.bin")
    bias = stored.tensor("decoder/layer_2/attention/linear_1/bias")
    assert bias[:48].eq(0).all() and bias[48:].ne(0).any()  # keys have none


def test_the_real_program_opens_it_and_hears_the_same(bundle: Bundle, tmp_path: Path) -> None:
    ctranslate2 = pytest.importorskip("ctranslate2")
    export(bundle, tmp_path / "out", "ct2", "F32")
    theirs = ctranslate2.models.Whisper(str(tmp_path / "out"), device="cpu", compute_type="float32", intra_threads=1)
    frames = torch.randn(1, 3000, 80, generator=torch.Generator().manual_seed(3))
    features = ctranslate2.StorageView.from_array(frames.transpose(1, 2).contiguous().numpy())
    with torch.no_grad():
        expected = bundle.model.encode(frames)
    assert_close(torch.from_numpy(np.array(theirs.encode(features))), expected, rtol=1e-4, atol=1e-4)
    numbers = {one["content"]: one["id"] for one in bundle.tokenizer.document()["added_tokens"]}
    told: Any = {"beam_size": 1, "max_length": 12, "suppress_blank": False, "suppress_tokens": []}
    written = []
    for word in (3, 50, 97, 140, 211):
        prompt = [numbers["<|startoftranscript|>"], numbers["<|notimestamps|>"], word]
        found = theirs.generate(features, [prompt], **told)[0].sequences_ids[0]
        tokens = list(prompt)
        with torch.no_grad():
            while len(tokens) < 2 + len(found):
                logits = bundle.model.head(bundle.model.hidden(torch.tensor([tokens]), Context(memory=expected)))
                tokens.append(int(logits[0, -1].argmax()))
        assert tokens[2:] == found  # the word that was given is counted in
        written.append(found)
    assert len({str(one) for one in written}) > 2


def stored(bundle: Bundle, folder: Path, change: Any = lambda made: None) -> Path:
    """A folder in which something was changed."""
    export(bundle, folder, "ct2", "F32")
    file = open_file(folder / "model.bin")
    made = {name: file.tensor(name) for name in file.variables}
    change(made)
    write(folder / "model.bin", names.ARCHITECTURE, names.REVISION, made, file.aliases)
    return folder


def test_integers_are_multiplied_out(bundle: Bundle, tmp_path: Path) -> None:
    name = "encoder/layer_1/ffn/linear_0/weight"
    whole: dict[str, torch.Tensor] = {}

    def quantised(made: dict[str, torch.Tensor]) -> None:
        scale = 127 / made[name].abs().amax(1)
        whole["it"] = made[name]
        made[name], made[name + "_scale"] = (made[name] * scale[:, None]).round().to(torch.int8), scale

    found = bundles.load(stored(bundle, tmp_path / "out", quantised)).model
    away = found.encoder.blocks[1].feed_forward.up.weight - whole["it"]
    assert (away.abs() <= whole["it"].abs().amax(1, keepdim=True) / 254 + 1e-6).all() and away.ne(0).any()


def halve(name: str) -> Any:
    def change(made: dict[str, torch.Tensor]) -> None:
        made[name] = made[name][: len(made[name]) // 2]

    return change


def put(name: str, value: Any, dtype: torch.dtype = torch.int8) -> Any:
    return lambda made: made.update({name: torch.tensor(value, dtype=dtype)})


def drop(name: str) -> Any:
    return lambda made: made.pop(name)


WRONG = {
    "a key with a bias": (
        lambda made: made["decoder/layer_0/self_attention/linear_0/bias"][48:96].fill_(1.0),
        "keys of decoder/layer_0",
    ),
    "post-norm": (put("decoder/pre_norm", 0), "decoder/pre_norm"),
    "scaled embeddings": (put("decoder/scale_embeddings", 1), "decoder/scale_embeddings"),
    "a setting that is not known": (put("decoder/rotary_dim", 64), "decoder/rotary_dim"),
    "an activation that is not known": (put("decoder/activation", 9), "decoder/activation"),
    "no heads": (drop("encoder/num_heads"), "encoder/num_heads"),
    "heads that do not divide": (put("encoder/num_heads", 5, torch.int16), "encoder_attention_heads"),
    "no convolution": (drop("encoder/conv1/weight"), "encoder/conv1/weight"),
    "a tensor too few": (drop("decoder/layer_2/ffn/linear_1/bias"), "fc2.bias"),
    "a tensor too many": (put("decoder/layer_0/gate/weight", [1.0], torch.float32), "gate/weight"),
    "a tensor too short": (halve("encoder/layer_norm/gamma"), "layer_norm.weight"),
    "a layer beyond the last": (put("encoder/layer_999/ffn/linear_0/bias", [1.0], torch.float32), "1000 layers"),
    "scales that are not": (
        lambda made: made.update(
            {"decoder/layer_norm/gamma_scale": torch.zeros(1), "decoder/layer_norm/gamma": torch.ones(48)}
        ),
        "scales of decoder/layer_norm/gamma",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_no_whisper_is_refused_by_name(fault: str, bundle: Bundle, tmp_path: Path) -> None:
    change, said = WRONG[fault]
    with pytest.raises((BadFileError, ConfigError)) as caught:
        bundles.load(stored(bundle, tmp_path / "out", change))
    assert said in str(caught.value)


def test_another_architecture_and_another_setting_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    folder = stored(bundle, tmp_path / "out")
    (folder / "config.json").write_text('{"bos_token": "x"}')
    with pytest.raises(BadFileError, match="bos_token"):
        bundles.load(folder)
    write(folder / "model.bin", "TransformerSpec", 7, {}, {})
    with pytest.raises(BadFileError, match="TransformerSpec"):
        bundles.load(folder)


def test_only_whisper_and_only_its_types_are_written(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="F32, F16"):
        export(bundle, tmp_path / "out", "ct2", "Q8_0")
    other = models.build(models.config("speech_to_text", {"depth": 1, "decoder_depth": 1, "vocab": 300}), Key(1))
    with pytest.raises(BadFileError, match="speech_to_text"):
        export(Bundle(other, bundle.tokenizer, "speech_to_text", "seq2seq"), tmp_path / "out", "ct2")
