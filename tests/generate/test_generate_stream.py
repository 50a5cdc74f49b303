"""Stop strings and streaming, whatever the pieces."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from regard.generate.stream import StopFilter

texts = st.text("ab\n明", max_size=29)
stops = st.lists(st.text("ab\n明", min_size=1, max_size=5), max_size=3)


@st.composite
def cut(draw: st.DrawFn) -> list[str]:
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=7)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def up_to_stop(text: str, stops: list[str]) -> tuple[str, bool]:
    """Reads letter by letter; the first stop complete ends the text, the longest of several complete together."""
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


@given(cut(), stops)
@example(["a", "ab", "b"], ["aabbb", "ab"])
@example(["ab", "a"], ["aba", "ba"])
def test_stop_filter(pieces, stops):
    kept = StopFilter(stops)
    shown = [kept.feed(piece) for piece in pieces]
    assert ("".join(shown) + kept.flush(), kept.stopped) == up_to_stop("".join(pieces), stops)


@given(cut(), stops)
def test_at_most_a_stop_less_one_is_held_back(pieces, stops):
    kept = StopFilter(stops)
    text = shown = ""
    for piece in pieces:
        text += piece
        shown += kept.feed(piece)
        if kept.stopped:
            return
        assert text.startswith(shown)
        assert len(text) - len(shown) <= max(map(len, stops), default=1) - 1


def test_nothing_is_held_back_without_reason():
    kept = StopFilter(["end"])
    assert [kept.feed(piece) for piece in ["see e", "n", "x", "en", "d", "more"]] == ["see ", "", "enx", "", "", ""]
    assert kept.stopped and kept.flush() == ""


def test_no_stops_hold_nothing():
    assert StopFilter(()).feed("床前") == "床前"
