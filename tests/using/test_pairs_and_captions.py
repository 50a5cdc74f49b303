"""Models of images and texts from the command line: the same as the reference with its processor and tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch.testing import assert_close

from regard import bundle, models
from regard.bundle import Bundle
from regard.cli.main import run
from regard.errors import RegardError
from regard.generate.pictures import Paint
from regard.generate.settings import Settings
from regard.inputs.images import Images
from regard.inputs.images import Settings as ImageSettings
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Key
from regard.models import dalle, vq
from regard.tasks import image_text

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:transformers"),
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
]
SIZES = {"hidden_size": 33, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 17}
WORDS = ["a", "b", "cat", "dog", "how", "many", "of", "photo"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    noise = np.random.default_rng(3).integers(0, 256, (37, 53, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


def saved(folder: Path, model: Any, processor: Any, tokenizer: Any) -> Path:
    generator = torch.Generator().manual_seed(23)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(0.0, 0.15 if "word_embeddings" in name else 0.3, generator=generator)
        if hasattr(model, "text_decoder"):  # words, nothing that is not shown
            model.text_decoder.cls.predictions.bias[: VOCABULARY.index(WORDS[0])] = -20.0
    model.tie_weights()
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def bert(folder: Path) -> Any:
    folder.mkdir()
    return transformers.BertTokenizer(vocab={word: number for number, word in enumerate(VOCABULARY)})


def clip(folder: Path) -> Path:
    text = {**SIZES, "vocab_size": len(VOCABULARY), "max_position_embeddings": 11, "eos_token_id": 3}
    vision = {**SIZES, "image_size": 20, "patch_size": 5, "projection_dim": 13}
    config = transformers.CLIPConfig(
        text_config={**text, "projection_dim": 13}, vision_config=vision, projection_dim=13
    )
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 20, "width": 20})
    return saved(folder, transformers.CLIPModel(config), processor, bert(folder))


def blip(folder: Path, kind: Any = transformers.BlipForConditionalGeneration) -> Path:
    text = {**SIZES, "vocab_size": len(VOCABULARY), "max_position_embeddings": 17}
    text |= {"bos_token_id": 2, "sep_token_id": 3, "pad_token_id": 0, "eos_token_id": 3}
    config = transformers.BlipConfig(text_config=text, vision_config={**SIZES, "image_size": 20, "patch_size": 5})
    return saved(
        folder, kind(config), transformers.BlipImageProcessorPil(size={"height": 20, "width": 20}), bert(folder)
    )


def told(*line: str, capsys: Any) -> dict:
    capsys.readouterr()
    assert run([*line, "--device", "cpu"]) == 0
    return json.loads(capsys.readouterr().out)


def pixels(folder: Path, kind: Any, picture: Path) -> torch.Tensor:
    return kind.from_pretrained(folder)(Image.open(picture), return_tensors="pt")["pixel_values"]


def test_which_of_several_texts_an_image_is(tmp_path: Path, picture: Path, capsys: Any) -> None:
    folder, texts = clip(tmp_path / "clip"), ["a photo of a cat", "dog", "how many"]
    asked = [part for text in texts for part in ("--among", text)]
    found = told("predict", str(folder), str(picture), *asked, capsys=capsys)
    tokens = transformers.BertTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    given = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
    given["pixel_values"] = pixels(folder, transformers.CLIPImageProcessorPil, picture)
    with torch.no_grad():
        shares = transformers.CLIPModel.from_pretrained(folder)(**given).logits_per_image[0].softmax(-1)
    assert found["label"] == texts[int(shares.argmax())] and found["image"] == str(picture)
    for text, share in zip(texts, shares.tolist(), strict=True):
        assert found["probabilities"][text] == pytest.approx(share, abs=1e-5)
    assert run(["predict", str(folder), str(picture)]) == 1
    assert run(["predict", str(folder), str(picture), "--question", "how many"]) == 2


def test_which_of_several_texts_fits_an_image_by_looking(tmp_path: Path, picture: Path, capsys: Any) -> None:
    """BLIP judges each pair by itself, on texts of several lengths; its vectors are those of texts that do not look."""
    kind = transformers.BlipForImageTextRetrieval
    folder, texts = blip(tmp_path / "blip", kind), ["a photo of a cat", "dog", "how many"]
    asked = [str(picture), *(f"--among={text}" for text in texts)]
    found = told("predict", str(folder), *asked, capsys=capsys)
    reference, tokenizer = kind.from_pretrained(folder), transformers.BertTokenizer.from_pretrained(folder)
    seen = pixels(folder, transformers.BlipImageProcessorPil, picture)
    with torch.no_grad():
        for text in texts:
            tokens = tokenizer(text, return_tensors="pt")["input_ids"]
            share = reference(tokens, seen).itm_score.softmax(-1)[0, 1].item()
            assert found["probabilities"][text] == pytest.approx(share, abs=1e-5)
        beside = reference(tokenizer("dog", return_tensors="pt")["input_ids"], seen, use_itm_head=False).itm_score
    loaded = bundle.load(folder)
    vectors = image_text.vectors(loaded, ["dog", str(picture)])
    assert_close(vectors[0] @ vectors[1], beside[0, 0])
    bundle.save(tmp_path / "again", loaded)
    assert told("predict", str(tmp_path / "again"), *asked, capsys=capsys) == found
    assert run(["predict", str(folder), str(picture)]) == 1


def test_texts_and_images_as_vectors_of_one_space(tmp_path: Path, picture: Path) -> None:
    folder = clip(tmp_path / "clip")
    assert run(["embed", str(folder), "a cat", str(picture), "--out", str(tmp_path / "out.npy")]) == 0
    found = torch.from_numpy(np.load(tmp_path / "out.npy"))
    tokens = transformers.BertTokenizer.from_pretrained(folder)(["a cat"], return_tensors="pt")
    reference = transformers.CLIPModel.from_pretrained(folder)
    with torch.no_grad():
        seen = pixels(folder, transformers.CLIPImageProcessorPil, picture)
        expected = reference(input_ids=tokens["input_ids"], pixel_values=seen)
    assert_close(found, torch.cat((expected.text_embeds, expected.image_embeds)))
    assert image_text.pictured(str(picture)) and not image_text.pictured("not there.png")


def classifier(folder: Path, kind: Any) -> Path:
    """Without a tokenizer, as those of images alone are."""
    vision = {**SIZES, "image_size": 20, "patch_size": 5}
    labels = {"id2label": {0: "cat", 1: "dog", 2: "hen"}, "label2id": {"cat": 0, "dog": 1, "hen": 2}}
    config = kind.config_class(vision_config=vision, text_config={"num_hidden_layers": 1}, **labels)
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 20, "width": 20})
    if kind is transformers.SiglipForImageClassification:
        processor = transformers.SiglipImageProcessorPil(size={"height": 20, "width": 20})
    return saved(folder, kind(config), processor, processor)


@pytest.mark.parametrize("kind", [transformers.CLIPForImageClassification, transformers.SiglipForImageClassification])
def test_a_tower_under_a_classifier(tmp_path: Path, picture: Path, kind: Any, capsys: Any) -> None:
    folder = classifier(tmp_path / "classifier", kind)
    found = told("predict", str(folder), str(picture), capsys=capsys)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, use_fast=False, backend="pil")
    reference, given = kind.from_pretrained(folder), processor(Image.open(picture), return_tensors="pt")
    states: list[torch.Tensor] = []
    reference.classifier.register_forward_pre_hook(lambda _, inputs: states.append(inputs[0][0]))
    with torch.no_grad():
        shares = reference(**given).logits[0].softmax(-1)
    for name, share in zip(("cat", "dog", "hen"), shares.tolist(), strict=True):
        assert found["probabilities"][name] == pytest.approx(share, abs=1e-5)
    vector = told("embed", str(folder), str(picture), capsys=capsys)["vector"]
    assert_close(torch.tensor(vector), torch.nn.functional.normalize(states[0], dim=-1))
    loaded = bundle.load(folder)
    assert loaded.task == "image-classification" and loaded.labels == ("cat", "dog", "hen")
    bundle.save(tmp_path / "again", loaded)
    assert told("predict", str(tmp_path / "again"), str(picture), capsys=capsys) == found


def test_towers_alone_as_vectors(tmp_path: Path, picture: Path, capsys: Any) -> None:
    """One that reads no text needs no tokenizer, and one that reads no images no processor."""
    whole = transformers.CLIPModel.from_pretrained(clip(tmp_path / "clip"))
    text, image = tmp_path / "text", tmp_path / "image"
    whole.text_model.save_pretrained(text)
    transformers.BertTokenizer.from_pretrained(tmp_path / "clip").save_pretrained(text)
    whole.vision_model.save_pretrained(image)
    transformers.CLIPImageProcessorPil.from_pretrained(tmp_path / "clip").save_pretrained(image)
    tokens = transformers.BertTokenizer.from_pretrained(text)(["a cat"], return_tensors="pt").input_ids
    with torch.no_grad():
        expected = [whole.text_model(tokens).pooler_output]
        expected += [whole.vision_model(pixels(image, transformers.CLIPImageProcessorPil, picture)).pooler_output]
    for folder, given, other in zip((text, image), ("a cat", str(picture)), expected, strict=True):
        vector = told("embed", str(folder), given, capsys=capsys)["vector"]
        assert_close(torch.tensor(vector), torch.nn.functional.normalize(other[0], dim=-1))
    assert run(["embed", str(text), str(picture), "--device", "cpu"]) == 1
    assert run(["embed", str(image), "a cat", "--device", "cpu"]) == 1


def test_a_caption_is_the_references(tmp_path: Path, picture: Path, capsys: Any) -> None:
    folder = blip(tmp_path / "blip")
    seen = pixels(folder, transformers.BlipImageProcessorPil, picture)
    reference = transformers.BlipForConditionalGeneration.from_pretrained(folder)
    tokenizer = transformers.BertTokenizer.from_pretrained(folder)
    expected = tokenizer.decode(reference.generate(seen, max_new_tokens=9)[0], skip_special_tokens=True)
    found = told("predict", str(folder), str(picture), "--max-tokens", "9", capsys=capsys)
    assert found["text"].strip() == expected.strip() and found["text"]
    prompted = reference.generate(
        seen, input_ids=tokenizer(["a photo"], return_tensors="pt").input_ids, max_new_tokens=9
    )
    loaded = bundle.load(folder)
    settings = Settings(max_tokens=9, temperature=0.0)
    (told_more,) = image_text.captions(loaded, [picture], settings, prompt="a photo")
    assert tokenizer.decode(prompted[0], skip_special_tokens=True).endswith(told_more["text"].strip())
    with pytest.raises(RegardError, match="no questions"):
        list(image_text.captions(loaded, [picture], settings, question="how many"))


def test_an_answer_is_the_references(tmp_path: Path, picture: Path, capsys: Any) -> None:
    folder = blip(tmp_path / "blip", transformers.BlipForQuestionAnswering)
    tokens = transformers.BertTokenizer.from_pretrained(folder)(["how many dog"], return_tensors="pt").input_ids
    reference = transformers.BlipForQuestionAnswering.from_pretrained(folder)
    seen = pixels(folder, transformers.BlipImageProcessorPil, picture)
    for beams in ("1", "3"):
        expected = reference.generate(tokens, seen, max_new_tokens=7, num_beams=int(beams))[0]
        asked = ("--question", "how many dog", "--max-tokens", "7", "--beams", beams)
        found = told("predict", str(folder), str(picture), *asked, capsys=capsys)
        words = transformers.BertTokenizer.from_pretrained(folder).decode(expected, skip_special_tokens=True)
        assert found["text"].strip() == words.strip()
    assert run(["predict", str(folder), str(picture)]) == 1


def painter(folder: Path) -> Path:
    tokenizer = Tokenizer.train("characters", ["a red dog and a cat"], vocab=300)
    images = vq.Config(channels=3, widths=(7, 11, 13), depth=1, codes=17, dim=5, size=12)
    config = dalle.Config(vocab=tokenizer.size, text=5, dim=21, depth=2, heads=3, hidden=19, images=images)
    processor = Images(ImageSettings(resize=(12, 12), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    bundle.save(
        folder, Bundle(models.build(config, Key(1)).eval(), tokenizer, "dalle", "text-to-image", processor=processor)
    )
    return folder


def test_images_are_painted_for_texts(tmp_path: Path, capsys: Any) -> None:
    folder = painter(tmp_path / "painter")
    loaded = bundle.load(folder)
    assert loaded.task == "text-to-image" and loaded.processor is not None
    prompts = ["--prompt", "red dog", "--prompt", "cat", "--samples", "3", "--seed", "5", "--guidance", "2"]
    out = tmp_path / "out.png"
    assert run(["generate", str(folder), *prompts, "--out", str(out)]) == 0
    found = np.asarray(Image.open(out))
    assert found.shape == (24, 36, 3)
    texts = [text for text in ("red dog", "cat") for _ in range(3)]
    made = image_text.paint(loaded, texts, Paint(seed=5, guidance=2.0)).numpy()
    for number, one in enumerate(made):
        row, column = divmod(number, 3)
        assert (found[12 * row : 12 * row + 12, 12 * column : 12 * column + 12] == one).all()
    assert run(["generate", str(folder), "--prompt", "cat"]) == 2
    capsys.readouterr()


def test_a_model_of_texts_paints_nothing(tmp_path: Path, picture: Path) -> None:
    folder = blip(tmp_path / "blip")
    assert run(["generate", str(folder), "--prompt", "cat", "--out", str(tmp_path / "out.png")]) == 2
    with pytest.raises(RegardError, match="paints no images"):
        image_text.paint(bundle.load(folder), ["cat"], Paint())
