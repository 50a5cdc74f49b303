"""What the model is given first is shown before it is trained, as it is."""

from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console
from test_start import MODELS, data, recipe  # noqa: F401, a fixture

from regard import config
from regard.data import show
from regard.train.feed import Place
from regard.train.progress import Lines, Screen, Silent
from regard.train.setup import prepare
from regard.train.start import resume, start
from regard.words import LANGUAGES, speaking


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


class Sees(Silent):
    def __init__(self):
        self.events: list[tuple[str, object]] = []

    def first(self, batch):
        self.events.append(("first", batch))

    def update(self, line):
        self.events.append(("update", line["step"]))


@pytest.mark.parametrize("task", MODELS)
def test_it_is_shown_before_the_first_update_and_is_what_carries_loss(data, tmp_path, task):  # noqa: F811
    watch = Sees()
    run, _ = start(recipe(data, task, steps=2), tmp_path / "run", watch)
    assert [name for name, _ in watch.events] == ["first", "update", "update"]
    found = watch.events[0][1]
    setup = prepare(run.recipe, tokenizer=run.tokenizer)
    batches = setup.feed().batches(Place())
    lossy = sum(len(batch.where) for batch in batches)
    assert sum(piece.loss for document in found for piece in document.pieces) == lossy
    assert (lossy == 0) is (task == "classification")
    ids = [token for batch in batches for token in batch.tokens[0].tolist()]
    assert [piece.text for document in found for piece in document.pieces] == setup.tokenizer.pieces(ids)
    assert {document.answer for document in found} == ({"a", "b"} if task == "classification" else {None})
    assert show.text(found) == (run.folder / "first_batch.txt").read_text(encoding="utf-8")
    again = Sees()
    resume(run.folder, again)
    assert again.events == []  # it was shown when the run began


def document(**values) -> show.Document:
    pieces = (
        show.Piece(text="春", loss=True),
        show.Piece(text="风", loss=False),
        show.Piece(text="x", loss=True, answer="y"),
    )
    return show.Document(**({"where": "a.txt:3", "pieces": pieces} | values))


def test_colours_tell_what_carries_loss():
    shown = show.glance([document(cut=5, answer="good"), document(where="b.txt:1")])
    styles = {shown.plain[span.start : span.end]: str(span.style) for span in shown.spans}
    assert styles["春"] == show.LOSS and styles["风"] == show.READ and styles["→y"] == show.LOSS
    assert styles["good"] == show.LOSS and any("5" in text and style == show.MORE for text, style in styles.items())
    assert "a.txt:3" in shown.plain and "b.txt:1" in shown.plain


def test_where_nothing_is_asked_of_tokens_none_is_dimmed():
    plain = (show.Piece(text="春", loss=False), show.Piece(text="风", loss=False))
    shown = show.glance([document(pieces=plain, answer="good")])
    assert show.READ not in {str(span.style) for span in shown.spans if shown.plain[span.start : span.end] in "春风"}


def test_it_is_short_and_says_what_it_leaves_out():
    long = tuple(show.Piece(text="a", loss=True) for _ in range(show.GLANCE[1] + 7))
    shown = show.glance([document(pieces=long)] * (show.GLANCE[0] + 4)).plain
    assert "+7" in shown and shown.count("a.txt:3") == show.GLANCE[0]
    assert str(show.GLANCE[0] + 4) in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_in_the_terminal_and_as_json(data, tmp_path, language):  # noqa: F811
    with speaking(language):
        screen, lines = io.StringIO(), io.StringIO()
        asked = config.override(recipe(data, "classification", steps=1), {})
        start(asked, tmp_path / "one", Screen(Console(file=screen, width=100)))
        start(asked, tmp_path / "two", Lines(lines))
    text = screen.getvalue()
    assert text.index("rows.jsonl:") < text.index("1/1") and "data.show" not in text
    first = next(json.loads(line) for line in lines.getvalue().splitlines() if "first_batch" in line)
    assert len(first["documents"]) == show.GLANCE[0] and first["documents"][0]["label"] in ("a", "b")
    assert all(len(each["input"]) == len(each["loss"]) == len(each["answers"]) for each in first["documents"])
