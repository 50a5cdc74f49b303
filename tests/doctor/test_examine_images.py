"""What doctor says of a model of images: what is sound is green, and what is planted is named and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_runs import MACHINE

from regard import bundle, doctor
from regard.doctor import subject as subjects
from regard.tasks.image_classification import ImageClassificationTask, noise
from regard.train import start
from regard.train.recipe import BatchConfig, DataConfig, KeepConfig, MachineConfig, Recipe, TrainConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rows = [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(noise(20, side=12))]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sizes = {"family": "vit", "image": [12, 12], "patch": 4, "dim": 16, "depth": 2, "heads": 2, "hidden": 19}
    machine = MachineConfig(device="cpu", threads=1, tensorboard=False)
    recipe = Recipe(
        task={"name": "image-classification"},
        model=sizes,
        data=DataConfig(train=str(folder / "data.jsonl"), share=0.2),
        train=TrainConfig(steps=2, batch=BatchConfig(tokens=60), machine=machine, keep=KeepConfig(every=2)),
    )
    start.start(recipe, folder / "run")
    return folder / "run"


def colours(found: doctor.Examination, *colours: str) -> list[str]:
    return [one.check for one in found.findings if one.status in colours and one.check not in MACHINE]


def test_a_sound_run_is_green(run):
    found = doctor.examine(run)
    assert not colours(found, "red", "amber", "unasked")
    assert {"classes", "finite", "examples", "moved", "accumulated", "saved", "whole", "data"} == set(
        colours(found, "green")
    ) - {"tied"}
    assert found.rows == 5 and found.kind == "run"


def test_a_model_folder_reads_images_that_are_drawn(run):
    subject = subjects.find(run / "model")
    found = doctor.examine(subject)
    assert subject.made_up and found.rows == 5 and {"examples", "moved"} <= set(colours(found, "green"))
    assert not colours(found, "red", "amber")


def test_what_reads_nothing_that_can_be_made_up_is_examined_without(run, tmp_path, capsys):
    from regard.cli.main import run as regard

    headless = bundle.with_head(bundle.load(run), "pool")
    bundle.save(tmp_path / "pool", headless)
    assert regard(["doctor", str(tmp_path / "pool")]) == 0
    assert "No example was read" in capsys.readouterr().out
    assert {"finite", "saved", "tied"} == set(colours(doctor.examine(tmp_path / "pool"), "green"))


def test_neighbours_that_are_felt_are_named(run, monkeypatch):
    subject = subjects.find(run)
    forward = type(subject.model).forward

    def leaking(model: Any, pixels: Any, *given: Any) -> Any:
        return forward(model, pixels - pixels.mean(0), *given)

    monkeypatch.setattr(type(subject.model), "forward", leaking)
    assert colours(doctor.examine(subject), "red") == ["examples"]


def test_the_mean_of_means_is_named(run, monkeypatch):
    subject = subjects.find(run)
    whole, loss = subject.batch.count, ImageClassificationTask.loss

    def mean(task: Any, model: Any, batch: Any, key: Any) -> Any:
        share = 1 if batch.count in (whole, 1) else 2
        return loss(task, model, batch, key) / share

    monkeypatch.setattr(ImageClassificationTask, "loss", mean)
    assert colours(doctor.examine(subject), "red") == ["accumulated"]


def test_classes_in_another_order_are_named(run):
    subject = subjects.find(run)
    turned = replace(subject, bundle=replace(subject.bundle, labels=subject.bundle.labels[::-1]))
    assert colours(doctor.examine(turned), "red") == ["classes"]
