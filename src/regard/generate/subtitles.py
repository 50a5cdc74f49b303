"""Pieces of speech as subtitles: SubRip and WebVTT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from regard.generate.transcribe import Piece


def srt(pieces: Iterable[Piece]) -> str:
    """SubRip: numbered, hours always, a comma before the thousandths."""
    return "".join(srt_lines(pieces))


def srt_lines(pieces: Iterable[Piece], first: int = 1) -> Iterator[str]:
    for number, piece in enumerate(pieces, first):
        times = f"{clock(piece.start)} --> {clock(piece.end)}".replace(".", ",")
        yield f"{number}\n{times}\n{_safe(piece.text)}\n\n"


def vtt(pieces: Iterable[Piece]) -> str:
    """WebVTT, whose texts may hold no arrow and no mark-up."""
    return "WEBVTT\n\n" + "".join(vtt_lines(pieces))


def vtt_lines(pieces: Iterable[Piece]) -> Iterator[str]:
    for piece in pieces:
        text = _safe(piece.text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        yield f"{clock(piece.start)} --> {clock(piece.end)}\n{text}\n\n"


def clock(seconds: float) -> str:
    """00:01:02.340"""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"


def _safe(text: str) -> str:
    """One line: an empty one would end the subtitle."""
    return " ".join(text.split()).replace("-->", "->")
