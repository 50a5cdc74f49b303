"""The same sections on a terminal and as a picture."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from rich.console import Console

from regard.errors import MissingPackage, RegardError
from regard.report import png, terminal
from regard.report.sections import Attention, Head, Report, Table, Text, readable, visible
from regard.words import set_language


def printed(report: Report) -> str:
    screen = io.StringIO()
    terminal.show(report, Console(file=screen, width=100, force_terminal=False))
    return screen.getvalue()


def test_every_section_prints(everything):
    text = printed(everything("词 word"))
    for part in ("词 word", "0.1234", "2.5", "0.7", "█", "▁", "-0.5"):
        assert part in text, part


def test_a_text_cannot_steer_the_terminal(everything):
    text = printed(everything("a\x1b[2J\x9b31m\x07[bold red]b[/] \u202ec"))
    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(text)
    assert "[bold red]b[/]" in text
    assert "⟨U+001B⟩" in text


def test_what_cannot_be_seen_is_given_a_shape():
    assert visible("a b\n\t\x00\u202e\u3000\ud800好") == "a␣b↵⇥⟨U+0000⟩⟨U+202E⟩⟨U+3000⟩⟨U+D800⟩好"
    assert readable("a b\n好\x00") == "a b\n好⟨U+0000⟩"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], "▁▂▃▄▅▆▇█"),
        ([3, 3], "▁▁"),
        ([], ""),
        ([float("nan")], ""),
        ([1, float("inf"), 2], "▁ █"),
    ],
)
def test_sparkline(values, line):
    assert terminal.sparkline(values) == line


def test_a_long_curve_is_gathered_into_blocks():
    assert terminal.sparkline(np.arange(1000), width=8) == "▁▂▃▄▅▆▇█"


def test_a_picture_of_everything(everything, tmp_path):
    png.write(everything("$x_1$ ^ 词"), tmp_path / "a.png")
    from matplotlib.image import imread

    assert imread(tmp_path / "a.png").shape[1] == 1300


def test_without_a_chinese_font_positions_stand_for_tokens(tmp_path, monkeypatch):
    monkeypatch.setattr(png, "chinese_font", lambda: None)
    attention = Attention(queries=["a", "床"], keys=["a", "床"], heads=[Head(layer=0, head=0, weights=np.eye(2))])
    set_language("zh")
    try:
        remark = png.write(Report(title="诗", sections=[attention]), tmp_path / "a.png")
    finally:
        set_language(None)
    assert remark is not None and "fonts-noto-cjk" in remark
    assert (
        png.write(Report(title="", sections=[Attention(queries=["a"], keys=["b"], heads=[])]), tmp_path / "b.png")
        is None
    )


def test_a_report_without_figures_has_no_picture(tmp_path):
    with pytest.raises(RegardError) as error:
        png.write(Report(title="", sections=[Text(paragraphs=["a"]), Table(columns=[], rows=[])]), tmp_path / "a.png")
    assert error.value.key == "report.png.nothing"


def test_matplotlib_missing_is_one_sentence(tmp_path, monkeypatch, everything):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackage, match="plots"):
        png.write(everything("a"), tmp_path / "a.png")
