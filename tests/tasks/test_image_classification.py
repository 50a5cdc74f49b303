"""Classes of images: rows that hold or name an image, a batch, baselines, and a training that learns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from regard import bundle, models, tasks
from regard.cli.main import run
from regard.data import sources
from regard.errors import BadFileError, RegardError
from regard.inputs.absent import NoTokenizer
from regard.inputs.images import Images, Settings
from regard.layers import Key
from regard.tasks.image_classification import image, moved

HALF = (0.5, 0.5, 0.5)
SMALL = {"image": [8, 8], "patch": 4, "dim": 12, "depth": 1, "heads": 2, "hidden": 13}


def task(labels=tuple("0123456789"), **settings):
    made = Images(Settings(resize=(8, 8), mean=HALF, std=HALF))
    return tasks.get("image-classification", settings, NoTokenizer("vit"), context=5, labels=labels, processor=made)


def digits(count: int):
    rows = sources.open("sample:digits")
    return [rows[number] for number in range(count)]


def test_the_digits_are_the_digits() -> None:
    rows = digits(3)
    first = np.array(image(rows[0]["text"])).astype(float)
    assert first.shape == (8, 8, 3) and rows[0]["label"] == "0"
    # The first of the collection, as its own row of numbers from 0 to 16 begins.
    assert (first[0, :, 0] * 16 / 255).round().tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert (first[1, :, 0] * 16 / 255).round().tolist() == [0, 0, 13, 15, 10, 15, 5, 0]


def test_a_row_names_an_image_beside_its_file_or_holds_it(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(noise).save(tmp_path / "pictures" / "a.png")
    (tmp_path / "rows.csv").write_text("text,label\npictures/a.png,cat\n")
    row = sources.open(str(tmp_path / "rows.csv"))[0]
    (sample,) = task(("cat", "dog")).samples(row)
    expected = np.moveaxis(noise, -1, 0) / 255 * 2 - 1
    assert np.allclose(sample.image, expected, atol=1e-6) and sample.klass == 0 and sample.size == 5
    for bad in ("data:image/png;base64,!!", "data:image/png;base64,AAAA", str(tmp_path / "missing.png")):
        with pytest.raises(BadFileError):
            task(("cat", "dog")).samples({"text": bad, "label": "cat"})
    with pytest.raises(RegardError, match="hen"):
        task(("cat", "dog")).samples({**row, "label": "hen"})


def test_images_move_by_the_epoch_and_not_where_they_are_held_out() -> None:
    (row,) = digits(1)
    shifted = task(shift=2)
    plain = task().samples(row)[0].image
    assert np.array_equal(shifted.samples(row)[0].image, plain)
    first, again = (shifted.samples(row, index=3, epoch=1, seed=5)[0].image for _ in range(2))
    assert np.array_equal(first, again)
    others = [shifted.samples(row, index=3, epoch=epoch, seed=5)[0].image for epoch in range(9)]
    assert len({one.tobytes() for one in others}) > 3
    pixels = np.arange(2 * 5 * 7, dtype=np.float32).reshape(2, 5, 7)
    for seed in range(20):
        found = moved(pixels, 1, Key(seed))
        assert found.shape == pixels.shape and np.isin(found, pixels).all()
        assert np.isin(pixels[:, 1:4, 1:6], found).sum() >= 2 * 3 * 5 - 14


def test_a_batch_has_its_images_in_order_and_its_loss_is_a_sum() -> None:
    made, rows = task(), digits(7)
    model = models.build(models.config("vit", {**SMALL, "head": "classify", "labels": made.labels}), Key(3)).eval()
    batch = made.collate([made.samples(row)[0] for row in rows], range(7))
    assert batch.image.shape == (7, 3, 8, 8) and batch.count == 7
    assert batch.labels.tolist() == [int(rows[i]["label"]) for i in batch.ids]
    parts = [made.collate(made.samples(row), [i]) for i, row in enumerate(rows)]
    whole = made.loss(model, batch, None)
    assert torch.allclose(whole, sum(made.loss(model, one, None) for one in parts), rtol=1e-5)
    result = made.evaluate(model, rows)
    assert result.examples == 7 and {score.name for score in result.scores} >= {"accuracy"}


def test_baselines_know_digits() -> None:
    rows = digits(600)
    found = {one.name: one for one in task().baselines(rows[:450], rows[450:])}
    accuracy = {name: next(s.value for s in one.scores if s.name == "accuracy") for name, one in found.items()}
    assert accuracy["majority"] < 0.2 < 0.85 < accuracy["pixel_regression"]
    assert accuracy["neighbour"] > 0.9


def test_a_training_leaves_a_model_that_answers(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    told = [f"--set=model.{key}={value}" for key, value in {"dim": 12, "depth": 1, "heads": 2, "hidden": 13}.items()]
    here = ["--set=train.machine.threads=1", "--set=train.machine.device=cpu"]
    told += ["--set=train.steps=4", "--set=data.rows=200", *here]
    assert run(["train", "digits", *told]) == 0
    loaded = bundle.load("runs/digits-1")
    assert loaded.task == "image-classification" and loaded.labels == tuple("0123456789")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("black.png")
    capsys.readouterr()
    assert run(["predict", "runs/digits-1", "black.png", "--device", "cpu"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["label"] in loaded.labels and len(answer["probabilities"]) == 5
    # Fine-tuned: the same body under other classes.
    rows = [json.dumps({"text": "black.png", "label": name}) for name in ("one", "other") * 8]
    Path("rows.jsonl").write_text("\n".join(rows) + "\n")
    Path("fine.toml").write_text(
        'base = "runs/digits-1"\n[task]\nname = "image-classification"\n[data]\ntrain = "rows.jsonl"\n'
    )
    assert run(["train", "fine.toml", "--set=train.steps=2", "--set=data.share=0", *here]) == 0
    again = bundle.load("runs/fine-1")
    assert again.labels == ("one", "other") and again.processor == loaded.processor
    assert again.model.config.dim == 12
