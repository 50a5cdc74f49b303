"""The task of spelling what is heard, from sound files to a trained model that spells better than its baselines."""

from __future__ import annotations

import json
import random
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regard import bundle, config, models, tasks
from regard.errors import RegardError
from regard.inputs import letters
from regard.inputs.audio import Filterbank
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Key
from regard.tasks.base import head_of
from regard.tasks.ctc import CTCTask
from regard.tasks.scores import edits, spelling_scores
from regard.train.recipe import Recipe
from regard.train.start import start

RATE = 16_000
TONES = {"a": 500.0, "b": 900.0, "c": 1600.0, " ": 2700.0}


def wav(path: Path, samples: np.ndarray) -> None:
    data = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16,
                       b"data", len(data))  # fmt: skip
    path.write_bytes(head + data)


def sung(text: str, draw: random.Random) -> np.ndarray:
    """Each letter a tone of 130 ms or so, with some noise."""
    parts = []
    for letter in text:
        time = np.arange(int(RATE * draw.uniform(0.11, 0.15))) / RATE
        parts += [0.5 * np.sin(2 * np.pi * TONES[letter] * time), np.zeros(int(RATE * 0.03))]
    noise = np.random.default_rng(len(text)).normal(0, 0.003, sum(map(len, parts)))
    return np.concatenate(parts) + noise


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of songs, their sounds named beside them."""
    folder, draw = tmp_path_factory.mktemp("songs"), random.Random(5)
    lines = ["source\ttarget"]
    for number in range(60):
        words = ["".join(draw.choices("abc", k=draw.randint(1, 2))) for _ in range(draw.randint(1, 2))]
        text = " ".join(words)
        wav(folder / f"{number}.wav", sung(text, draw))
        lines.append(f"{number}.wav\t{text}")
    (folder / "songs.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "songs.tsv"


def recipe(prompts: Path, **changes: Any) -> Recipe:
    values = {
        "task": {"name": "ctc", "mels": 13},
        "model": {
            "family": "conformer", "dim": 22, "depth": 1, "heads": 2, "hidden": 23, "kernel": 5, "norm": "layer",
            "dropout": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0, "head_dropout": 0.0,
            "convolution_dropout": 0.0,
        },
        "data": {"train": str(prompts), "share": 0.2},
        "train": {
            "steps": 90,
            "batch": {"tokens": 700},
            "optimizer": {"name": "adamw", "rate": 0.01},
            "keep": {"every": 1000},
            "evaluate": {"every": 90, "rows": 12},
            "machine": {"device": "cpu", "threads": 1, "tensorboard": False},
        },
    }  # fmt: skip
    return config.override(config.from_dict(Recipe, values), changes)


@pytest.fixture(scope="module")
def trained(prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run") / "run"
    run, ended = start(recipe(prompts), folder)
    assert ended == "finished"
    return run, folder


def rows(prompts: Path) -> list[dict[str, str]]:
    lines = prompts.read_text().splitlines()[1:]
    found = [line.split("\t") for line in lines]
    return [{"source": a, "target": b, "where": f"{prompts}:{n + 2}"} for n, (a, b) in enumerate(found)]


def test_doctor_finds_it_sound_and_names_a_padding_that_is_heard(trained: tuple[Any, Path], monkeypatch) -> None:
    from regard import doctor
    from regard.doctor import subject as subjects

    subject = subjects.find(trained[1])
    colours = {one.check: one.status for one in doctor.examine(subject).findings if one.group != "machine"}
    assert {"finite", "examples", "moved", "accumulated", "saved", "whole", "data"} <= colours.keys()
    assert set(colours.values()) == {"green"}, colours
    collate = CTCTask.collate

    def loud(task: Any, samples: Any, ids: Any) -> Any:
        """As where padding is not silence and counts as sound."""
        batch = collate(task, samples, ids)
        longest = max(batch.source_lengths)
        return replace(batch, source_lengths=(longest,) * len(batch.source_lengths))

    monkeypatch.setattr(CTCTask, "collate", loud)
    del subject.__dict__["batch"]
    red = [one.check for one in doctor.examine(subject).findings if one.status == "red"]
    assert red == ["examples"]


def test_a_trained_model_spells_better_than_its_baselines(trained: tuple[Any, Path], prompts: Path) -> None:
    _, folder = trained
    loaded = bundle.load(folder)
    assert loaded.family == "conformer" and loaded.task == "ctc" and isinstance(loaded.processor, Filterbank)
    task = tasks.of(loaded)
    held_out = rows(prompts)[:12]
    found, others = task.evaluate(loaded.model, held_out), task.baselines(rows(prompts)[12:], held_out)
    assert found.primary.name == "wer" and found.primary.low is not None
    assert all(found.better_than(other) for other in others)
    assert dict(found.values)["cer"] < 0.5 < dict(others[1].values)["cer"]
    assert [other.name for other in others] == ["empty", "majority"] and others[0].values["wer"] == 1.0
    # What is predicted is what was scored, whatever stood beside it.
    paths = [str(prompts.parent / row["source"]) for row in held_out]
    said = [one["text"] for one in task.predict(loaded, paths)]
    assert said == found.details["answers"]


def test_the_loss_is_the_heads_and_a_micro_batch_changes_nothing(prompts: Path) -> None:
    made = rows(prompts)[:5]
    tokenizer = Tokenizer(*letters.learnt(row["target"] for row in made))
    values = {"dim": 22, "depth": 1, "heads": 2, "hidden": 23, "kernel": 5, "norm": "layer", "mels": 13,
              "vocab": tokenizer.size, "head": "ctc", "blank": tokenizer.pad}  # fmt: skip
    model = models.build(models.config("conformer", values), Key(3)).eval()
    task = tasks.get("ctc", {"mels": 13}, tokenizer, context=100)
    samples = [task.samples(row)[0] for row in made]
    with torch.no_grad():
        together = task.loss(model, task.collate(samples, range(5)), None)
        apart = [task.loss(model, task.collate([one], [n]), None) for n, one in enumerate(samples)]
        sound = torch.from_numpy(samples[0].sound).unsqueeze(0)
        direct = head_of(model).loss(model(sound), [torch.from_numpy(samples[0].tokens)])
    torch.testing.assert_close(together, torch.stack(apart).sum())
    torch.testing.assert_close(apart[0], direct)
    batch = task.collate(samples, range(5))
    assert batch.count == sum(len(row["target"]) for row in made)
    assert list(batch.source_lengths) == sorted(batch.source_lengths)


def test_what_cannot_be_said_in_its_frames_is_refused(tmp_path: Path) -> None:
    wav(tmp_path / "a.wav", np.zeros(1600))
    tokenizer = Tokenizer(*letters.learnt(["abc"]))
    values = {"dim": 22, "depth": 1, "heads": 2, "hidden": 23, "kernel": 5, "norm": "layer", "mels": 13,
              "vocab": tokenizer.size, "head": "ctc", "blank": tokenizer.pad}  # fmt: skip
    model = models.build(models.config("conformer", values), Key(3)).eval()
    task = tasks.get("ctc", {"mels": 13}, tokenizer, context=100)
    (sample,) = task.samples({"source": str(tmp_path / "a.wav"), "target": "aabb"})
    with pytest.raises(RegardError, match=r'"aabb" needs 6 frames.* 2'):
        task.loss(model, task.collate([sample], [0]), None)
    rows = [{"source": str(tmp_path / "a.wav"), "target": text} for text in ("aabb", "a", "b")]
    found = task.evaluate(model, rows)
    assert found.cut == 4 and all(np.isfinite(score.value) for score in found.scores)
    assert task.samples({"source": str(tmp_path / "a.wav"), "target": ""}) == []
    with pytest.raises(RegardError):
        task.samples({"source": str(tmp_path / "b.wav"), "target": "a"})


def test_errors_are_counted_as_levenshtein_does() -> None:
    assert edits("kitten", "sitting") == 3 and edits("", "abc") == 3 and edits("abc", "") == 3 and edits("", "") == 0
    assert edits(["a", "b"], ["b"]) == 1
    wer, cer = spelling_scores(["a b c", "x"], ["a c", "x y"])
    assert wer.value == 2 / 4 and cer.value == (2 + 2) / 6


def test_the_alphabet_of_texts(tmp_path: Path) -> None:
    tokenizer = Tokenizer(*letters.learnt(["ba b", "字|"]))
    assert tokenizer.decode(tokenizer.encode("ab 字", special=False)) == "ab 字" and tokenizer.pad == 0
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).encode("ab 字") == tokenizer.encode("ab 字")


def test_a_folder_of_the_references_is_loaded_whole_and_written_back(tmp_path: Path) -> None:
    import transformers

    made = transformers.Wav2Vec2Config(
        vocab_size=7, hidden_size=22, num_hidden_layers=1, num_attention_heads=2, intermediate_size=17,
        conv_dim=(7, 5), conv_kernel=(5, 3), conv_stride=(3, 2), num_conv_pos_embeddings=5,
        num_conv_pos_embedding_groups=11, pad_token_id=0,
    )  # fmt: skip
    reference = transformers.Wav2Vec2ForCTC(made).eval()
    reference.save_pretrained(tmp_path / "a")
    vocab = {name: number for number, name in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", "A", "B"])}
    (tmp_path / "a" / "vocab.json").write_text(json.dumps(vocab))
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False)
    extractor.save_pretrained(tmp_path / "a")
    wav(tmp_path / "a.wav", sung("ab a", random.Random(1)))
    loaded = bundle.load(tmp_path / "a")
    from regard.inputs.sound import opened

    sound = opened(tmp_path / "a.wav")
    heard = loaded.processor(sound)  # type: ignore[misc]
    expected = extractor(sound.samples, sampling_rate=RATE, return_tensors="pt").input_values
    torch.testing.assert_close(heard.unsqueeze(0), expected)
    with torch.no_grad():
        logits = reference(expected).logits
    tokenizer = transformers.Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / "a", unk_token="<unk>")
    theirs = tokenizer.decode(logits.argmax(-1)[0])
    said = tasks.of(loaded).predict(loaded, [str(tmp_path / "a.wav")])[0]["text"]
    assert said == " ".join(theirs.replace("<s>", "").replace("</s>", "").replace("<unk>", "").split())
    bundle.save(tmp_path / "b", loaded)
    again = bundle.load(tmp_path / "b")
    assert again.processor == loaded.processor and again.model.config == loaded.model.config
    assert transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "b").do_normalize
    with torch.no_grad():
        assert torch.equal(again.model(heard.unsqueeze(0)), loaded.model(heard.unsqueeze(0)))
    # A sound too short to say anything says nothing.
    wav(tmp_path / "c.wav", np.zeros(3))
    assert tasks.of(again).predict(again, [str(tmp_path / "c.wav")])[0]["text"] == ""
