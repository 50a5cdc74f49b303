"""`regard transcribe`: speech in, text out, piece by piece as it is heard."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

import click

from regard.cli.command import answer, argument, notes, option, verb, wants_json
from regard.cli.fetching import ready
from regard.cli.mistakes import Mistake
from regard.words import say

if TYPE_CHECKING:
    from regard.generate.transcribe import Heard, Piece, Transcript
    from regard.inputs.sound import Sound

STDIN = "-"
MOST = 1 << 31  # bytes taken from stdin


@verb("transcribe")
@argument("files", nargs=-1, type=click.Path())
@option("--model", type=click.Path(), default="whisper-tiny")
@option("--language")
@option("--task", type=click.Choice(["transcribe", "translate"]), default="transcribe")
@option("--timestamps", is_flag=True)
@option("--srt", is_flag=True)
@option("--vtt", is_flag=True)
@option("--prompt", default="")
@option("--beams", type=click.IntRange(1), default=5)
@option("--forget", is_flag=True)
@option("--yes", is_flag=True)
@option("--device", default="auto")
@option("--threads", type=click.IntRange(1))
def command(
    files: tuple[str, ...], model: str, timestamps: bool, srt: bool, vtt: bool, forget: bool, yes: bool, device: str,
    threads: int | None, **hearing: Any,
) -> None:  # fmt: skip
    form = _form(timestamps, srt, vtt)
    if not files:
        if sys.stdin.isatty():
            raise Mistake("cli_transcribe.no_file")
        files = (STDIN,)
    if len(files) > 1 and form in ("srt", "vtt"):
        raise Mistake("cli_transcribe.one_file", form=form)
    ready(model, yes=yes)
    from regard import bundle
    from regard.cli.machine import chosen
    from regard.generate.transcribe import Hearing, transcribe

    how = Hearing(carry=not forget, **hearing)
    sounds = ((file, _opened(file)) for file in files)
    loaded, found = None, []
    for file, sound in sounds:
        loaded = loaded or bundle.load(model, **chosen(device, "float32", threads))
        if len(files) > 1 and not wants_json():
            click.echo(f"{file}:")
        transcript = transcribe(loaded, sound, how, _teller(form, sound.seconds))
        _remark(file, transcript, how.language)
        found.append({"file": file, **asdict(transcript)})
    answer({"model": model, "files": found}, lambda screen: None)


def _form(timestamps: bool, srt: bool, vtt: bool) -> Literal["text", "times", "srt", "vtt"]:
    if timestamps + srt + vtt + (wants_json() and (srt or vtt)) > 1:
        raise Mistake("cli_transcribe.one_form")
    return "srt" if srt else "vtt" if vtt else "times" if timestamps else "text"


def _opened(file: str) -> Sound:
    from regard.inputs import sound

    if file != STDIN:
        return sound.opened(file)
    return sound.decoded(sys.stdin.buffer.read(MOST), "stdin")


def _teller(form: str, seconds: float) -> Heard:
    """Prints each piece as it is heard; under --json nothing but, on a terminal, how far it is."""
    lines = _lines(form)

    def told(piece: Piece) -> None:
        if not wants_json():
            click.echo(lines(piece), nl=False)
            sys.stdout.flush()
        if sys.stderr.isatty() and not sys.stdout.isatty():
            click.echo(f"\r{piece.end:.0f} / {seconds:.0f} s ", nl=False, err=True)

    if form == "vtt" and not wants_json():
        click.echo("WEBVTT\n")
    return told


def _lines(form: str) -> Callable[[Piece], str]:
    from regard.generate import subtitles

    number = count(1)
    if form == "srt":
        return lambda piece: next(subtitles.srt_lines([piece], next(number)))
    if form == "vtt":
        return lambda piece: next(subtitles.vtt_lines([piece]))
    if form == "times":
        return lambda piece: f"[{subtitles.clock(piece.start)} - {subtitles.clock(piece.end)}] {piece.text.strip()}\n"
    return lambda piece: piece.text.strip() + "\n"


def _remark(file: str, transcript: Transcript, asked: str | None) -> None:
    if transcript.language is not None and asked is None:
        notes().print(
            say("cli_transcribe.heard_language", file=file, code=transcript.language),
            style="dim",
            markup=False,
            soft_wrap=True,
        )
    if not transcript.pieces:
        notes().print(say("cli_transcribe.nothing", file=file), style="dim", markup=False, soft_wrap=True)
