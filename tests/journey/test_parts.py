"""The parts of the journey by themselves: time, prompts, variants, the encoder, what was recorded."""

from __future__ import annotations

import time
from dataclasses import fields, replace

import pytest

from regard import config, models
from regard.errors import BadFileError, RegardError
from regard.journey import encoder, plan, poems, record, reviews
from regard.journey.plan import FULL, PARTS, QUICK, TRAININGS, Budget
from regard.journey.until import Until
from regard.journey.variants import variants
from regard.train import recipe as recipes
from regard.train.stop import Interrupted, Stop


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


def walk(
    chosen: plan.Plan, clock: Clock, slow: float, pace: float, *, drift: float = 1.0
) -> tuple[float, list[int], int]:
    """Live through a plan on a machine that is `slow` times slower than planned: the seconds it took, the updates of
    each training, and how many trainings were cut off.
    """
    budget = Budget(chosen)
    taken, cut = [], 0
    for part in PARTS:
        began = clock.now
        planned = chosen.parts[part]
        clock.now += slow * planned.around
        if part == "pace":
            for each in TRAININGS:
                budget.measured(each, pace, 300)
        if part in TRAININGS:
            steps, end = budget.steps(part), budget.deadline(part)
            done = 0
            while done < steps and (done < 1 or clock.now < end):
                clock.now += pace * drift
                done += 1
            budget.trained(part, done, done * pace * drift)
            taken.append(done)
            cut += done < steps
        budget.done(part, clock.now - began)
    return clock.now - budget.began, taken, cut


@pytest.mark.parametrize("chosen", [FULL, QUICK], ids=["full", "quick"])
@pytest.mark.parametrize("pace", [0.02, 0.3, 0.7, 2.0])
def test_the_time_fits_whatever_the_pace(clock, chosen, pace):
    seconds, taken, cut = walk(chosen, clock, 1.0, pace)
    assert seconds <= chosen.target + 5 and all(2 <= steps <= 300 for steps in taken) and not cut
    if pace == 0.02:
        assert taken == [300] * 4  # a fast machine does what the recipe asks, and is done earlier


def test_a_slow_machine_learns_less_and_keeps_the_limit(clock):
    seconds, taken, cut = walk(FULL, clock, 2.5, 2.0)
    assert seconds <= FULL.limit and taken[0] < walk(FULL, clock, 1.0, 2.0)[1][0]
    assert not cut  # it knew beforehand: every schedule came to its end


def test_a_machine_that_slows_down_is_cut_off_before_the_limit(clock):
    seconds, taken, cut = walk(FULL, clock, 1.0, 0.7, drift=3.0)
    assert cut and seconds <= FULL.limit and all(steps >= 2 for steps in taken[1:])


def test_plans_promise_ten_minutes_and_two():
    for chosen, target, limit in ((FULL, 600, 720), (QUICK, 120, 120)):
        total = sum(part.train + part.around for part in chosen.parts.values())
        assert total <= chosen.target <= target and chosen.target < chosen.limit <= limit
        assert tuple(chosen.parts) == PARTS


def test_a_training_is_not_cut_before_its_first_update(clock):
    user = Stop()
    until = Until(user, clock.now - 1)
    until.poll()
    until.saw(0.1)
    with pytest.raises(Interrupted):
        until.poll()
    patient = Until(user, clock.now + 1)
    user.ask()
    with pytest.raises(Interrupted):
        patient.poll()


@pytest.mark.parametrize(
    ("seconds", "steps", "wrong"),
    [
        ([1.1, 0.9, 1.0, 1.2], 50, None),
        ([0.9, 0.5, 0.4, 0.5], 50, 0.4),  # measured while something else ran: there is time for more updates
        ([0.9, 0.5, 0.4, 0.5], 300, None),  # but no more are asked for
        ([2.5, 1.9, 1.7, 2.0], 50, 1.7),
        ([2.5, 1.0, 1.7, 2.0], 50, None),  # one slow update says nothing
        ([0.1], 2, 0.1),
        ([9.0], 2, None),
    ],
)
def test_a_wrong_pace_is_noticed_by_the_first_updates(clock, seconds, steps, wrong):
    until = Until(Stop(), clock.now + 100, expected=1.0, steps=steps, most=300)
    for each in seconds:
        until.poll()
        until.saw(each)
    assert until.wrong == wrong
    if wrong:
        with pytest.raises(Interrupted):
            until.poll()


@pytest.mark.parametrize(
    ("prompt", "used"), [("", ""), (" 明月 ", "明月"), ("春风，\n秋月", "春风，\n秋月"), ("月" * 64, "月" * 64)]
)
def test_prompts_that_can_be_used(prompt, used):
    assert poems.check_prompt(prompt) == used


@pytest.mark.parametrize(("prompt", "told"), [("月" * 65, "65"), ("明\x1b[31m月", r"U\+001B"), ("\ud83d", r"U\+D83D")])
def test_prompts_that_cannot(prompt, told):
    with pytest.raises(RegardError, match=told):
        poems.check_prompt(prompt)


def test_variants_are_found_and_quotations_are_not():
    held_out = ["结宇依青嶂，开轩对绿畴。树交花两色，溪合水同流。"]
    variant = "结宇因青嶂，开门对绿畴。\n树交花相色，溪合水同流。"
    quotation = "今日登高望，白云千里秋。故人何处在，独立大江头。溪合水同流，一去不回舟。"
    found = variants([quotation, variant, "天"], held_out, 5)
    assert [(one.number, one.of) for one in found] == [(1, 0)] and 0.2 <= found[0].share < 1
    assert variants(held_out, held_out, 5)[0].share == 1.0
    assert variants(["天地"], ["天地"], 5) == []  # too short to say


def test_the_encoder_of_the_recipe_is_installed_and_whole():
    base = recipes.load(recipes.find("reviews")).base
    folder = encoder.locate(str(base))
    assert folder is not None and (folder / "model.safetensors").stat().st_size > 80_000_000


def test_another_encoder_is_refused(tmp_path):
    for name in (*encoder.SHA256, "config.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(BadFileError, match="SHA-256"):
        encoder.locate(str(tmp_path))
    assert encoder.locate("package:no_such_package_here/model") is None


@pytest.mark.parametrize("file", sorted(recipes.BUILT_IN.glob("*.toml")), ids=lambda file: file.stem)
def test_built_in_recipes_are_found_by_name_and_say_what_they_are(file):
    found = recipes.load(recipes.find(file.stem))
    assert found.about.title and found.about.cost and f"regard train {file.stem}" in file.read_text("utf-8")
    if found.model:
        family = str(found.model["family"])
        values = {key: value for key, value in found.model.items() if key != "family"}
        values |= {"vocab": found.tokenizer.vocab, "pad": 0}  # as the tokenizer will say
        known = {field.name for field in fields(models.family(family).Config)}
        models.config(family, {key: value for key, value in values.items() if key in found.model or key in known})


def test_a_folder_of_the_same_name_does_not_hide_a_recipe(tmp_path, monkeypatch):
    (tmp_path / "poems").mkdir()
    monkeypatch.chdir(tmp_path)
    assert recipes.find("poems") == recipes.BUILT_IN / "poems.toml"


def test_what_was_recorded_is_of_the_recipe_as_it_is():
    found = reviews.recorded()
    if found is None:
        pytest.fail("recorded.json is missing: python -m regard.journey.record")
    assert found["recipe"] == record.essence(recipes.load(recipes.find("reviews")))
    assert all(len(values) == len(found["seeds"]) >= 5 for values in found["accuracy"].values())


def test_a_recording_of_another_recipe_would_show():
    recipe = recipes.load(recipes.find("reviews"))
    other = config.override(recipe, {"train.optimizer.rate": "1e-4"})
    assert record.essence(other) != record.essence(recipe)
    assert record.essence(replace(recipe, data=other.data)) == record.essence(recipe)
