"""`regard verify` on folders of every kind of input as the reference wrote them, and on one that was changed since."""

from __future__ import annotations

import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from family_rows import Case, Row
from family_rows_image_text import BLIP, BLIP_MATCH, CLIP, CLIP_TEXT, CLIP_VISION, END, SIGLIP, VISION_ENCODER_DECODER
from family_rows_seq2seq import BART, MT5, T5
from family_rows_speech import SPEECH_TO_TEXT, WHISPER, WHISPER_CLASSIFIER
from family_rows_vision import BEIT, DEIT, DETR, DINOV2, SEGFORMER, VIT, VIT_MAE, YOLOS
from family_rows_waves import CONFORMER, HUBERT, WAV2VEC2
from family_twins import make
from test_speaking import HEARD, TALKER, randomised
from tokenizers import models, pre_tokenizers, processors

from regard import bundle, words
from regard.cli.main import run
from regard.doctor import beside
from regard.errors import RegardError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:transformers", "ignore::FutureWarning:transformers")
LETTERS = ("<pad>", "<s>", "<unk>", "|", *string.ascii_lowercase, "</s>")
CASES = [
    *(Case(row) for row in (VIT, DEIT, DINOV2, BEIT, VIT_MAE, YOLOS, SEGFORMER, DETR)),
    *(Case(VIT, one) for one in ("pool", "pixels")),
    *(Case(VIT_MAE, "pool"), Case(SEGFORMER, "classify"), Case(BEIT, "segment"), Case(DETR, "auxiliary")),
    Case(DETR, "segment"),
    *(Case(row) for row in (CLIP, CLIP_TEXT, CLIP_VISION, SIGLIP)),
    *(Case(CLIP, "classify"), Case(SIGLIP, "classify"), Case(CLIP_TEXT, "pool"), Case(CLIP_VISION, "pool")),
    *(Case(row) for row in (BLIP, BLIP_MATCH, VISION_ENCODER_DECODER)),
    *(Case(BLIP, "answer"), Case(VISION_ENCODER_DECODER, "gpt2")),
    *(Case(row) for row in (WAV2VEC2, HUBERT, CONFORMER)),
    *(Case(WAV2VEC2, one) for one in ("body", "classify", "stable", "mms", "tag", "pretraining", "speaker")),
    *(Case(row) for row in (WHISPER, SPEECH_TO_TEXT, WHISPER_CLASSIFIER)),
]
# What is compared of them: layers of these stacks, or the output alone.
LAYERS = {"clip": {"text", "image"}, "siglip": {"text", "image"}, "clip_text_model": {"text"}, "segformer": {"stage"}}
LAYERS |= {"clip_vision_model": {"image"}, "detr": {"encoder", "stack"}, "blip": {"encoder", "stack"}}
LAYERS |= {name: {"encoder", "stack"} for name in ("vision-encoder-decoder", "whisper", "speech_to_text")}


def spelling(folder: Path) -> Path:
    """An alphabet beside the model, for one that reads or writes text; texts end as CLIP's do."""
    rust = tokenizers.Tokenizer(models.WordLevel({name: n for n, name in enumerate(LETTERS)}, unk_token="<unk>"))
    rust.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    rust.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    rust.add_special_tokens(["<pad>", "<s>", "</s>", "<unk>"])
    rust.save(str(folder / "tokenizer.json"))
    return folder


def told(folder: Path, capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    assert run(["verify", str(folder), "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("row", "name"), [(BART, "Bart"), (T5, "T5"), (MT5, "MT5")], ids=["bart", "t5", "mt5"])
def test_a_text_that_is_its_own_target(row: Row, name: str, tmp_path: Path, capsys: Any) -> None:
    """Classified by a decoder that reads it again; a label comes by the command that gives labels."""
    changes = {"architecture": f"{name}ForSequenceClassification", "num_labels": 3, "eos_token_id": END}
    make(Case(replace(row, variants={"classify": changes}), "classify"), tmp_path)
    found = told(spelling(tmp_path), capsys)
    assert found["within"] and {name["name"].partition(".")[0] for name in found["rows"]} >= {"encoder", "stack"}
    assert all(one["relative"] < 2e-5 for one in found["rows"])
    reference = getattr(transformers, changes["architecture"]).from_pretrained(tmp_path).eval()
    tokens = torch.tensor([bundle.load(tmp_path).tokenizer.encode("abba")])
    expected = reference(tokens).logits[0].softmax(-1)
    assert run(["predict", str(tmp_path), "abba", "--json"]) == 0
    shares = json.loads(capsys.readouterr().out)["predictions"][0]["probabilities"]
    torch.testing.assert_close(torch.tensor(list(shares.values())), expected)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_the_reference_wrote_is_equal_layer_by_layer(case: Case, tmp_path: Path, capsys: Any) -> None:
    make(case, tmp_path)
    if case.row not in (WAV2VEC2, HUBERT, CONFORMER):
        spelling(tmp_path)
    found = told(tmp_path, capsys)
    names = [row["name"] for row in found["rows"]]
    kinds = {name.partition(".")[0] for name in names if "." in name}
    # One tower, or an encoder, under a head of its own.
    alone = case.row is WHISPER_CLASSIFIER or (case.variant == "classify" and case.row in (CLIP, SIGLIP))
    usual = {"text", "image"} if case.row is BLIP_MATCH else LAYERS.get(case.row.model_type, {"stack"})
    usual = {"stack"} if alone else usual
    few = case.architecture == "BeitForSemanticSegmentation"  # of which no more layers run than it is given
    assert found["within"] and kinds == (set() if few else usual)
    assert {"output", "text_embeds", "image_embeds"} & set(names)
    assert ("boxes" in names) == (case.row in (YOLOS, DETR))
    assert all(row["relative"] < 2e-5 for row in found["rows"])
    # DETR's queries begin at zero.
    assert all(row["largest"] > 0 for row in found["rows"] if (case.row, row["name"]) != (DETR, "stack.in"))


@pytest.mark.parametrize("name", ["SpeechT5ForTextToSpeech", "SpeechT5HifiGan"])
def test_speech_that_is_made_is_equal(name: str, tmp_path: Path, capsys: Any) -> None:
    cls = getattr(transformers, name)
    reference = randomised(cls(cls.config_class(**(TALKER if "Text" in name else HEARD))))
    reference.save_pretrained(tmp_path)
    found = told(spelling(tmp_path), capsys)
    kinds = {row["name"].partition(".")[0] for row in found["rows"]} - {"output"}
    assert kinds == ({"encoder", "stack"} if "Text" in name else set())


@pytest.mark.parametrize(
    ("row", "changed", "first"),
    [
        (VIT, "stack.blocks.1.feed_forward.up.bias", "stack.1"),
        (WAV2VEC2, "stack.blocks.1.attention.v.bias", "stack.1"),
        (WAV2VEC2, "embed.convolutions.1.conv.weight", "stack.in"),
        (WHISPER, "stack.blocks.0.cross_attention.v.weight", "stack.0"),
        (CLIP, "image.stack.blocks.1.feed_forward.down.bias", "image.1"),
        (SEGFORMER, "stages.2.stack.blocks.0.feed_forward.down.bias", "stage.2"),
        (DETR, "head.box.layers.2.bias", "boxes"),
        (BLIP, "encoder.blocks.1.attention.o.bias", "encoder.1"),
    ],
    ids=lambda one: getattr(one, "model_type", None),
)
def test_a_weight_that_was_changed_is_told_where_it_is_first_felt(
    row: Any, changed: str, first: str, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    make(Case(row), tmp_path)
    if row is not WAV2VEC2:
        spelling(tmp_path)
    load = bundle.load

    def faulty(path: Any) -> Any:
        found = load(path)
        with torch.no_grad():
            found.model.get_parameter(changed).view(-1)[0] += 0.5
        return found

    monkeypatch.setattr(beside.bundles, "load", faulty)
    found = told(tmp_path, capsys, code=1)
    far = [row["name"] for row in found["rows"] if not row["relative"] <= 1e-4]
    assert not found["within"] and far[0] == first


def test_what_cannot_be_compared_is_refused_in_one_sentence(tmp_path: Path, monkeypatch: Any) -> None:
    make(Case(CLIP), tmp_path)
    loaded = bundle.load(spelling(tmp_path))
    none = torch.nn.Identity()  # DALL-E reads the same two, and is no pair of towers
    none.config = loaded.model.config
    other = replace(loaded, model=none)
    monkeypatch.setattr(beside.bundles, "load", lambda path: other)
    for language, said in (("en", "no input of that kind"), ("zh", "目前没有")):
        with words.speaking(language), pytest.raises(RegardError, match=said):  # type: ignore[arg-type]
            beside.compare(tmp_path)
