"""Models of images from the command line: the same as the reference with its processor."""

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

from regard import bundle
from regard.cli.main import run
from regard.errors import BadFileError, RegardError
from regard.tasks import pictures

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:transformers"),
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
]
LABELS = dict(enumerate(("cat", "dog", "hen")))
NAMED = {"id2label": LABELS, "label2id": {name: i for i, name in LABELS.items()}}
SIZES = {"hidden_size": 21, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 17}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    noise = np.random.default_rng(3).integers(0, 256, (37, 53, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


def saved(folder: Path, model, processor) -> Path:
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def vit(folder: Path) -> Path:
    model = transformers.ViTForImageClassification(
        transformers.ViTConfig(**SIZES, image_size=20, patch_size=5, **NAMED)
    )
    return saved(folder, model, transformers.ViTImageProcessorPil(size={"height": 20, "width": 20}))


def asked(folder: Path, *more: str, capsys) -> dict:
    capsys.readouterr()
    assert run(["predict", str(folder), *more, "--device", "cpu"]) == 0
    return json.loads(capsys.readouterr().out)


def colours(folder: Path, kind: Any) -> Path:
    config = transformers.ImageGPTConfig(vocab_size=9, n_embd=20, n_layer=2, n_head=4, n_positions=49, **NAMED)
    clusters = np.random.default_rng(0).uniform(-1, 1, (8, 3)).tolist()
    processor = transformers.ImageGPTImageProcessorPil(clusters=clusters, size={"height": 7, "width": 7})
    return saved(folder, kind(config), processor)


def test_colours_in_a_row_have_a_class_and_a_vector(tmp_path: Path, picture: Path, capsys) -> None:
    """Image GPT is given the numbers of colours, not pixels."""
    for kind in (transformers.ImageGPTForImageClassification, transformers.ImageGPTModel):
        folder = colours(tmp_path / kind.__name__, kind)
        processor = transformers.ImageGPTImageProcessorPil.from_pretrained(folder)
        given = processor([Image.open(picture)], return_tensors="pt")
        with torch.no_grad():
            expected = kind.from_pretrained(folder)(**given, output_hidden_states=True)
        loaded = bundle.load(folder)
        if "logits" in expected:
            found = asked(folder, str(picture), capsys=capsys)["probabilities"]
            for name, share in zip(LABELS.values(), expected.logits.softmax(-1)[0].tolist(), strict=True):
                assert found[name] == pytest.approx(share, abs=1e-5)
        vector = pictures.vectors(loaded, [picture], normalised=False)
        assert_close(vector, expected.hidden_states[-1].mean(1))


def test_a_class_with_its_probability(tmp_path: Path, picture: Path, capsys) -> None:
    folder = vit(tmp_path / "vit")
    found = asked(folder, str(picture), capsys=capsys)
    given = transformers.ViTImageProcessorPil.from_pretrained(folder)(Image.open(picture), return_tensors="pt")
    with torch.no_grad():
        shares = transformers.ViTForImageClassification.from_pretrained(folder)(**given).logits[0].softmax(-1)
    assert found["label"] == LABELS[int(shares.argmax())] and found["image"] == str(picture)
    for number, name in LABELS.items():
        assert found["probabilities"][name] == pytest.approx(float(shares[number]), abs=1e-5)
    assert len(asked(folder, str(picture), "--candidates", "2", capsys=capsys)["probabilities"]) == 2
    assert run(["predict", str(folder), str(picture), "--least", "0.3"]) == 2


def test_what_is_where(tmp_path: Path, picture: Path, capsys) -> None:
    network = {"model_type": "resnet", "embedding_size": 6, "hidden_sizes": [8, 12], "depths": [1, 1]}
    model = transformers.DetrForObjectDetection(
        transformers.DetrConfig(
            use_timm_backbone=False, backbone_config={**network, "out_features": ["stage2"]}, d_model=12,
            encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
            encoder_ffn_dim=13, decoder_ffn_dim=13, num_queries=7, **NAMED,
        )
    )  # fmt: skip
    processor = transformers.DetrImageProcessorPil(size={"shortest_edge": 30, "longest_edge": 50})
    folder = saved(tmp_path / "detr", model, processor)
    found = asked(folder, str(picture), "--least", "0.2", capsys=capsys)["objects"]
    given = processor(Image.open(picture), return_tensors="pt")
    with torch.no_grad():
        outputs = transformers.DetrForObjectDetection.from_pretrained(folder)(**given)
    (expected,) = processor.post_process_object_detection(outputs, threshold=0.2, target_sizes=[(37, 53)])
    assert len(found) == len(expected["scores"]) > 0
    order = expected["scores"].argsort(descending=True)
    assert_close(torch.tensor([one["score"] for one in found]), expected["scores"][order], atol=1e-5, rtol=1e-5)
    assert_close(torch.tensor([one["box"] for one in found]), expected["boxes"][order], atol=1e-3, rtol=1e-4)
    assert [one["label"] for one in found] == [LABELS[int(i)] for i in expected["labels"][order]]


def segformer() -> Any:
    return transformers.SegformerForSemanticSegmentation(
        transformers.SegformerConfig(
            hidden_sizes=[6, 8, 10, 12], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 3], sr_ratios=[2, 1, 1, 1],
            decoder_hidden_size=7, **NAMED,
        )
    )  # fmt: skip


def beit() -> Any:
    sizes = {**SIZES, "num_hidden_layers": 4, "image_size": 64, "patch_size": 8, "use_relative_position_bias": True}
    return transformers.BeitForSemanticSegmentation(
        transformers.BeitConfig(**sizes, out_indices=[1, 2, 3, 4], auxiliary_channels=7, **NAMED)
    )


def detr() -> Any:
    network = {"model_type": "resnet", "embedding_size": 6, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1]}
    network["out_features"] = ["stage1", "stage2", "stage3", "stage4"]
    return transformers.DetrForSegmentation(
        transformers.DetrConfig(
            use_timm_backbone=False, backbone_config=network, d_model=64, encoder_layers=1, decoder_layers=1,
            encoder_attention_heads=8, decoder_attention_heads=4, encoder_ffn_dim=13, decoder_ffn_dim=13,
            num_queries=7, **NAMED,
        )
    )  # fmt: skip


@pytest.mark.parametrize("make", [segformer, beit, detr])
def test_what_each_pixel_is(tmp_path: Path, picture: Path, make: Any, capsys) -> None:
    model = make()
    sizes = {"size": {"height": 64, "width": 64}, **({"do_center_crop": False} if make is beit else {})}
    sizes = {"size": {"shortest_edge": 50, "longest_edge": 90}} if make is detr else sizes
    processor = getattr(transformers, f"{make.__name__.title()}ImageProcessorPil")(**sizes)
    folder = saved(tmp_path / "segmenter", model, processor)
    found = asked(folder, str(picture), "--out", str(tmp_path / "masks"), capsys=capsys)
    mask = np.array(Image.open(found["mask"]))
    with torch.no_grad():
        outputs = type(model).from_pretrained(folder)(**processor(Image.open(picture), return_tensors="pt"))
    (expected,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[(37, 53)])
    assert mask.shape == (37, 53) and (mask == expected.numpy()).mean() > 0.999
    assert sum(found["shares"].values()) == pytest.approx(1.0)
    for name, share in found["shares"].items():
        assert share == pytest.approx(float((mask == list(LABELS.values()).index(name)).mean()), abs=1e-6)


def test_vectors_of_images(tmp_path: Path, picture: Path, capsys) -> None:
    folder = vit(tmp_path / "vit")
    capsys.readouterr()
    assert run(["embed", str(folder), str(picture), "--device", "cpu"]) == 0
    found = torch.tensor(json.loads(capsys.readouterr().out)["vector"])
    given = transformers.ViTImageProcessorPil.from_pretrained(folder)(Image.open(picture), return_tensors="pt")
    with torch.no_grad():
        reference = transformers.ViTForImageClassification.from_pretrained(folder).vit(**given).last_hidden_state[0, 0]
    assert_close(found, torch.nn.functional.normalize(reference, dim=-1))
    assert run(["embed", str(folder), str(picture), "--pool", "mean"]) == 2


def test_a_folder_goes_there_and_back(tmp_path: Path, picture: Path) -> None:
    loaded = bundle.load(vit(tmp_path / "vit"))
    assert loaded.task == "image-classification" and loaded.labels == ("cat", "dog", "hen")
    bundle.save(tmp_path / "again", loaded)
    again = bundle.load(tmp_path / "again")
    assert list(pictures.predict(again, [picture])) == list(pictures.predict(loaded, [picture]))
    assert again.processor == loaded.processor
    theirs = transformers.ViTForImageClassification.from_pretrained(tmp_path / "again")
    assert torch.equal(theirs.classifier.weight, loaded.model.head.out.weight)
    assert transformers.ViTImageProcessorPil.from_pretrained(tmp_path / "again").size["height"] == 20


def test_verbs_of_texts_say_in_one_sentence_that_it_reads_none(tmp_path: Path, capsys) -> None:
    folder = vit(tmp_path / "vit")
    for verb in (["generate", str(folder), "--prompt", "a"], ["chat", str(folder)]):
        capsys.readouterr()
        assert run([*verb, "--device", "cpu"]) == 1
        told = capsys.readouterr()
        assert "read no text" in " ".join((told.out + told.err).split()) and "Traceback" not in told.err


def test_without_a_processor_nobody_guesses(tmp_path: Path, picture: Path) -> None:
    folder = vit(tmp_path / "vit")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(RegardError, match="preprocessor_config"):
        list(pictures.predict(bundle.load(folder), [picture]))
    folder = vit(tmp_path / "vit")
    with pytest.raises(BadFileError, match="missing"):
        list(pictures.predict(bundle.load(folder), [tmp_path / "missing.png"]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_colours_are_drawn_as_the_reference_draws_them(tmp_path: Path, picture: Path) -> None:
    """A whole image, and the lower half of one; each pixel in the colour that its number stands for."""
    sizes = {"n_embd": 21, "n_layer": 2, "n_head": 3, "n_inner": 17}
    model = transformers.ImageGPTForCausalImageModeling(
        transformers.ImageGPTConfig(vocab_size=6, n_positions=36, **sizes)
    )
    palette = np.array([[-1, -1, -1], [1, 1, 1], [0.5, -0.5, 0], [-0.2, 0.9, -1], [0.1, 0.1, 0.7]])
    processor = transformers.ImageGPTImageProcessorPil(clusters=palette.tolist(), size={"height": 6, "width": 6})
    folder = saved(tmp_path / "igpt", model, processor)
    told = {"do_sample": False, "max_length": 37, "eos_token_id": None, "pad_token_id": 0}
    half = processor(Image.open(picture), return_tensors="pt")["input_ids"][:, :18]
    for given, start in ((None, []), (str(picture), half[0].tolist())):
        expected = model.generate(torch.tensor([[5, *start]]), **told)[0, 1:].numpy()
        out = tmp_path / "drawn.png"
        prompt = [] if given is None else ["--prompt", given]
        assert run(["generate", str(folder), "--greedy", "--out", str(out), *prompt, "--device", "cpu"]) == 0
        shown = np.asarray(Image.open(out)).reshape(36, 3)
        assert np.abs(shown - np.rint((palette[expected] + 1) * 127.5)).max() <= 1
        assert given is None or shown[:18].tolist() == np.rint((palette[start] + 1) * 127.5).astype(int).tolist()


def test_colours_without_a_palette_are_refused(tmp_path: Path, capsys) -> None:
    config = transformers.ImageGPTConfig(vocab_size=6, n_positions=36, n_embd=6, n_layer=1, n_head=2)
    transformers.ImageGPTForCausalImageModeling(config).save_pretrained(tmp_path / "igpt")
    assert run(["generate", str(tmp_path / "igpt"), "--out", str(tmp_path / "x.png"), "--device", "cpu"]) == 1
    assert "preprocessor_config.json" in capsys.readouterr().err and not (tmp_path / "x.png").exists()
    assert run(["generate", str(tmp_path / "igpt"), "--device", "cpu"]) == 2
    assert "--out" in capsys.readouterr().err
    assert run(["generate", str(tmp_path / "igpt"), "--out", "x.png", "--top-p", "0.5", "--no-repeat", "3"]) == 2
    assert "top_p, no_repeat" in capsys.readouterr().err
