"""The whole demo: what it leaves behind, what it says, and how it goes on."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from walked import Walked

from regard import words
from regard.cli.main import run as command_line
from regard.errors import RegardError
from regard.journey import demo, pace
from regard.journey.folder import Folder
from regard.journey.variants import variants
from regard.train.run import Run
from regard.train.stop import Interrupted, Stop

pytestmark = pytest.mark.usefixtures("any_encoder")
CHAPTERS = ("data", "poems", "reviews", "translation", "inside")


def lines(walked: Walked, name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in Folder(walked.folder).data(name).read_text("utf-8").splitlines()]


def document(walked: Walked) -> dict:
    page = Folder(walked.folder).page.read_text("utf-8")
    found = re.search(r'<script type="application/json" id="report">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


def test_every_training_is_a_finished_run(walked):
    for name in ("poems", "reviews", "reviews-scratch", "office-help"):
        run = Run.open(walked.folder / name)
        assert run.status == "finished" and run.model.is_dir() and run.updates() and run.scores()
    assert set(walked.found) == {"data", "poems", "reviews", "translation", "page", "seconds"}
    json.dumps(walked.found, allow_nan=False)


def test_nothing_held_out_is_trained_on(walked):
    train, held_out = ([row["text"] for row in lines(walked, f"tang-poems-{side}")] for side in ("train", "held-out"))
    assert train and held_out and not set(train) & set(held_out)
    assert not variants(train, held_out, 5)
    known, asked = ({row["source"] for row in lines(walked, f"office-help-{side}")} for side in ("train", "held-out"))
    assert not known & asked
    reviews = {row["text"] for row in lines(walked, "film-reviews-train")}
    assert len(reviews) == 400 and not reviews & {row["text"] for row in lines(walked, "film-reviews-held-out")}


def test_the_gpt_and_the_ngrams_learn_from_the_same_poems(walked):
    recipe = Run.open(walked.folder / "poems").recipe
    assert recipe.data.train.endswith("tang-poems-train.jsonl") and recipe.data.rows is None
    found = walked.found["poems"]
    assert [one["name"] for one in found["baselines"]] == ["unigram", "bigram", "5-gram"]
    assert {one["examples"] for one in [*found["baselines"], found["model"]["result"]]} == {11}


def test_verses_go_on_from_the_prompt_and_copies_are_measured(walked):
    found = walked.found["poems"]
    assert len(found["verses"]) == 2 and all(verse.startswith("明月") for verse in found["verses"])
    assert len(found["copied"]) == len(found["copied_human"]) == 3
    poems = [row["text"] for row in lines(walked, "tang-poems-train")]
    for verse, one in zip(found["verses"], found["copied"], strict=False):
        assert one["run"] in verse.removeprefix("明月") and any(one["run"] in poem for poem in poems)


def test_the_reviews_stand_beside_random_weights_and_bags_of_words(walked):
    found = walked.found["reviews"]
    assert [one["name"] for one in found["baselines"]] == ["majority", "naive_bayes", "logistic_regression"]
    assert found["reviews"]["parameters"] == found["reviews-scratch"]["parameters"]
    assert Run.open(walked.folder / "reviews").asked.base and not Run.open(walked.folder / "reviews-scratch").asked.base


def test_examples_are_the_best_the_middle_and_the_worst(walked):
    found = walked.found["translation"]["examples"]
    assert [one["kind"] for one in found] == ["best", "best", "middle", "middle", "worst", "worst"]
    assert [one["chrf"] for one in found] == sorted((one["chrf"] for one in found), reverse=True)


def test_the_page_is_whole_and_offline_in_both_languages(walked):
    page = Folder(walked.folder).page.read_text("utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    found = document(walked)
    for language in words.LANGUAGES:
        titles = [one["title"][language] for one in found["sections"]]
        assert titles == [words.say_in(language, f"journey.{name}.title") for name in CHAPTERS]
        assert not re.search(
            r"journey\.\w+", json.dumps(titles + [one["about"][language] for one in found["sections"]])
        )
    kinds = [section["kind"] for chapter in found["sections"] for section in chapter["sections"]]
    assert kinds.count("attention") == 2 and kinds.count("lens") == 2 and kinds.count("saliency") == 2
    assert {"table", "curves", "bars", "samples", "numbers"} <= set(kinds)
    assert not re.search(r"journey\.[a-z_]+\.", json.dumps(found))  # no key without a sentence


def test_the_screen_tells_the_plan_the_steps_and_where_everything_is(walked):
    for number, name in enumerate(demo.STEPS, start=1):
        assert f"{number}/5  {words.say(f'journey.{name}.title')}" in walked.seen
    assert "seconds each, measured" in walked.seen and Folder(walked.folder).page.as_posix() in walked.seen
    assert "明月" in walked.seen and "95 % interval" in walked.seen


def test_the_next_commands_work(walked, monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)  # explain writes its page where one stands
    for line in demo.next_commands(walked.folder, walked.found):
        assert command_line([*shlex.split(line.removeprefix("regard "))]) == 0, capfd.readouterr().err


def test_a_pace_measured_at_a_bad_moment_is_corrected(tmp_path, encoder_folder, monkeypatch):
    monkeypatch.setattr(pace, "pace", lambda *asked: 1e6)
    bad = Walked(tmp_path / "bad", encoder_folder)
    assert bad.go() is not None
    for name, steps in (("poems", 5), ("reviews", 3), ("office-help", 3)):
        run = Run.open(bad.folder / name)
        assert run.status == "finished" and len(run.updates()) == run.recipe.train.steps == steps


def test_without_the_encoder_it_says_so_and_goes_on(tmp_path, encoder_folder):
    bare = Walked(tmp_path / "bare", tmp_path / "nowhere")
    bare.plan.sizes["reviews"]["base"] = "package:no_such_package_here/model"
    found = bare.go()
    assert found is not None and found["reviews"]["encoder"] is None and len(found["reviews"]["baselines"]) == 3
    assert not (bare.folder / "reviews").exists() and Folder(bare.folder).page.exists()
    assert words.say("journey.reviews.no_encoder")[:40] in bare.seen
    assert any("explain" in line and "poems" in line for line in demo.next_commands(bare.folder, found))


def test_a_folder_with_something_else_is_left_alone(walked, tmp_path):
    mine = tmp_path / "thesis.txt"
    mine.write_text("years of work")
    other = Walked(tmp_path, walked.folder)
    with pytest.raises(RegardError, match="--out"):
        other.go()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"] and mine.read_text() == "years of work"


def test_two_demos_do_not_share_a_folder(walked):
    with Folder(walked.folder).claimed("quick", "春风"), pytest.raises(RegardError, match="running"):
        walked.go("春风")


class Asked(Stop):
    """Somebody who wants to stop as soon as the poems have had an update."""

    def __init__(self, folder):
        super().__init__()
        self.metrics = folder / "poems" / "metrics.jsonl"

    def poll(self):
        if self.metrics.exists() and '"loss"' in self.metrics.read_text():
            raise Interrupted


def test_stopped_it_goes_on_where_it_was(tmp_path, encoder_folder):
    stopped = Walked(tmp_path / "stopped", encoder_folder)
    assert stopped.go(stop=Asked(stopped.folder)) is None
    run = Run.open(stopped.folder / "poems")
    assert 0 < len(run.updates()) < 5 and run.status == "stopped" and not (stopped.folder / "reviews").exists()
    first = run.updates()[0]
    found = stopped.go(language="zh")
    assert found is not None and len(run.updates()) == 5 and run.updates()[0] == first
    assert words.say_in("zh", "journey.taken_over") in stopped.seen  # the data were not prepared again


def test_another_prompt_keeps_the_models_and_the_same_one_begins_afresh(walked):
    model = walked.folder / "poems" / "model" / "model.safetensors"
    before = model.stat().st_mtime_ns
    mine = walked.folder / "notes.txt"
    mine.write_text("mine")
    found = walked.go("ζ春风")
    assert model.stat().st_mtime_ns == before
    assert all(verse.startswith("ζ春风") for verse in found["poems"]["verses"]) and found["poems"]["unseen"] == ["ζ"]
    assert "ζ" in walked.seen
    walked.go("ζ春风")
    assert model.stat().st_mtime_ns != before and mine.read_text() == "mine"
