"""The frame of the command line: what it says of itself, of mistakes, and of what goes wrong."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from regard.cli import main as frame
from regard.cli.command import Verb, answer, argument, console, group, option, verb
from regard.cli.help import cells, rows, wrap
from regard.cli.main import ROOT, VERBS, run
from regard.errors import ConfigError, RegardError
from regard.words import LANGUAGES, say, speaking


def spoken(capsys, *arguments: str) -> tuple[int, str, str]:
    code = run(arguments)
    found = capsys.readouterr()
    return code, found.out, found.err


@pytest.fixture
def raising(monkeypatch):
    """Makes `regard fail` raise what it is given."""

    def install(error: BaseException) -> None:
        @verb("fail")
        def command() -> None:
            raise error

        real = frame.Root.get_command
        monkeypatch.setattr(
            frame.Root, "get_command", lambda self, ctx, name: command if name == "fail" else real(self, ctx, name)
        )

    return install


def test_alone_it_says_what_is_here_and_three_commands(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = spoken(capsys)
    assert code == 0 and not err
    listed = ROOT.list_commands(click.Context(ROOT))
    assert all(f"\n  {name} " in out for name in listed)
    assert len([line for line in out.split("Go on with:")[1].splitlines() if line.startswith("  regard ")]) == 3


def test_alone_in_a_folder_with_a_run_it_goes_on_with_that(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("old", "new"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "recipe.toml").touch()
    os.utime(tmp_path / "runs" / "old" / "recipe.toml", (1, 1))
    assert "regard eval runs/new" in spoken(capsys)[1]
    assert json.loads(spoken(capsys, "--json")[1])["next"][0] == "regard runs"


def test_the_three_commands_are_ones_there_are(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    document = json.loads(spoken(capsys, "--json")[1])
    assert set(document["verbs"]) <= set(VERBS)
    for line in document["next"]:
        program, name, *_ = line.split()
        assert program == "regard"
        if name in document["verbs"]:
            assert spoken(capsys, name, "--help")[0] == 0


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", [name for name in VERBS if name in ROOT.list_commands(click.Context(ROOT))])
def test_every_help_page_fits_and_is_in_its_language(capsys, language, name):
    command = ROOT.get_command(click.Context(ROOT), name)
    for below in [[], *([each] for each in getattr(command, "commands", {}))]:
        code, out, err = spoken(capsys, name, *below, "--help", "--lang", language)
        assert code == 0 and not err
        assert out.startswith(say("cli.page.usage", line="regard") if language == "en" else "用法：regard")
        for line in out.splitlines():
            assert cells(line) <= 100 or line.startswith("  "), line
        english = ("Options", "Arguments", "Show this", "[default", "required", "INTEGER")
        assert language == "en" or not any(word in out.replace("--", "") for word in english)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_list_of_verbs_says_whole_sentences(language):
    with speaking(language):
        for name in ROOT.list_commands(click.Context(ROOT)):
            assert say(f"cli_{name}.help").split("\n")[0].endswith((".", "。")), name


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["tokenzier"], ["no verb 'tokenzier'", "Did you mean tokenizer?", "regard --help"]),
        (["xyzzy"], ["no verb 'xyzzy'", "There are: "]),
        (["tokenizer", "tran"], ["Did you mean train?", "regard tokenizer --help"]),
        (["tokenizer", "train"], ["SOURCE is missing", "regard tokenizer train --help"]),
        (["tokenizer", "train", "x", "y", "z"], ["too many: y z"]),
        (["tokenizer", "train", "x", "--vocba", "3"], ["no option --vocba", "Did you mean --vocab?"]),
        (["tokenizer", "train", "x", "--qqqqqq"], ["no option --qqqqqq"]),
        (["tokenizer", "train", "x", "--vocab"], ["--vocab needs a value"]),
        (["tokenizer", "train", "x", "--json=1"], ["--json takes no value"]),
        (["tokenizer", "train", "x", "--vocab", "many"], ["--vocab is 'many'", "whole number of at least 1"]),
        (["tokenizer", "train", "x", "--vocab", "0"], ["--vocab is '0'", "at least 1"]),
        (["tokenizer", "train", "x", "--kind", "bp"], ["--kind cannot be 'bp'", "Did you mean bpe?", "wordpiece"]),
        (["--lang", "fr"], ["--lang cannot be 'fr'", "en, zh"]),
    ],
)
def test_a_mistake_is_one_sentence_with_what_would_be_right(capsys, arguments, parts):
    code, out, err = spoken(capsys, *arguments)
    assert code == 2 and not out
    assert err.startswith("error: ") and err.count("\n") == 1
    assert all(part in err for part in parts), err
    if "--lang" not in arguments:
        code, _, err = spoken(capsys, *arguments, "--lang", "zh")
        assert code == 2 and err.startswith("错误：")
        assert not any(word in err for word in (" is ", "must", "There", "option ", "Error", "Did you")), err


def test_numbers_and_paths_are_named_as_what_they_must_be(capsys, monkeypatch, tmp_path):
    @verb("fail")
    @argument("place", type=click.Path(exists=True, dir_okay=False))
    @option("--rate", type=float)
    @option("--part", type=click.FloatRange(0, 1))
    @option("--most", type=click.IntRange(max=7))
    @option("--open", type=click.FloatRange(0, min_open=True))
    def command(**_) -> None:
        """Takes all kinds."""

    monkeypatch.setattr(frame.Root, "get_command", lambda self, ctx, name: command)
    there = tmp_path / "there"
    there.touch()
    for arguments, part in [
        ([str(tmp_path / "none")], "does not exist"),
        ([str(tmp_path)], "of the wrong kind"),
        ([str(there), "--rate", "fast"], "must be a number."),
        ([str(there), "--part", "2"], "a number from 0 to 1"),
        ([str(there), "--most", "8"], "of at most 7"),
        ([str(there), "--open", "0"], "above 0"),
    ]:
        code, _, err = spoken(capsys, "fail", *arguments)
        assert code == 2 and part in err, err


@pytest.mark.parametrize(
    ("error", "code", "part"),
    [
        (RegardError("limits.missing", where="x"), 1, "x does not exist"),
        (ConfigError("limits.missing", where="x"), 2, "x does not exist"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (EOFError(), 130, "Interrupted"),
        (MemoryError(), 1, "Out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9"), 1, "Out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "big.bin"), 1, "The disk is full (writing big.bin)"),
        (PermissionError(errno.EACCES, "Permission denied", "locked"), 1, "Not permitted: locked"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "gone"),
            1,
            "gone: the system says: No such file",
        ),
        (ZeroDivisionError("oh"), 70, "our bug, not yours (ZeroDivisionError: oh)"),
        (OSError("no number"), 70, "our bug"),
        (click.UsageError("plain words"), 2, "plain words"),
        (SystemExit(3), 3, ""),
    ],
)
def test_whatever_goes_wrong_is_one_sentence_and_a_code(capsys, raising, error, code, part):
    raising(error)
    found, out, err = spoken(capsys, "fail")
    assert found == code and not out
    assert part in err and "Traceback" not in err and err.count("\n") <= 1


def test_debug_shows_where_a_bug_is(capsys, raising):
    raising(ZeroDivisionError("oh"))
    code, _, err = spoken(capsys, "fail", "--debug")
    assert code == 70 and "Traceback" in err and "raise error" in err


def test_json_is_one_document_of_what_json_can_hold(capsys, monkeypatch):
    @verb("fail")
    def command() -> None:
        numbers = [1.5, float("nan"), float("inf")]
        answer(
            {"numbers": numbers, "path": Path("a"), "text": "明", 3: (True, None)}, lambda screen: screen.print("明")
        )

    monkeypatch.setattr(frame.Root, "get_command", lambda self, ctx, name: command)
    for arguments in (["--json", "fail"], ["fail", "--json"]):
        code, out, _ = spoken(capsys, *arguments)
        assert code == 0
        assert json.loads(out) == {"numbers": [1.5, None, None], "path": "a", "text": "明", "3": [True, None]}
    assert spoken(capsys, "fail")[1] == "明\n"


def test_a_group_alone_shows_its_help(capsys, monkeypatch):
    @group("tokenizer")
    def command() -> None:
        """Its texts are those of the real one."""

    @command.verb("train")
    def train() -> None:
        console().print("trained")

    monkeypatch.setattr(frame.Root, "get_command", lambda self, ctx, name: command)
    code, out, _ = spoken(capsys, "tokenizer")
    assert code == 0 and out.startswith("Usage: regard tokenizer") and "  train " in out
    assert spoken(capsys, "tokenizer", "train")[1] == "trained\n"
    assert isinstance(train, Verb)


def test_a_help_page_needs_no_terminal_to_know_chinese_is_wide():
    assert cells("明a\u0301") == 3
    assert wrap("明月几时有，把酒问青天。", 10) == ["明月几时", "有，把酒问", "青天。"]
    assert wrap("two words and-a-long-one", 5) == ["two", "words", "and-a-long-one"]
    assert wrap("", 10) == []
    assert rows([("a", "x y z"), ("明", "b")], width=40).splitlines() == ["  a   x y z", "  明  b"]


def started(*arguments: str, **settings) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **settings.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "regard", *arguments], capture_output=True, env=environment, check=False, **settings
    )


def test_version_and_language_of_the_environment():
    assert started("--version").stdout.decode().startswith("regard 0.")
    assert "接下来可以" in started(env={"REGARD_LANG": "zh"}).stdout.decode("utf-8")
    assert "Go on with" in started("--lang", "en", env={"REGARD_LANG": "zh"}).stdout.decode("utf-8")


def test_output_into_a_pipe_is_utf8_whatever_the_locale_says():
    found = started("--lang", "zh", env={"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"})
    assert found.returncode == 0 and "接下来可以" in found.stdout.decode("utf-8")


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell")
def test_a_closed_pipe_is_no_error_on_the_screen():
    line = f"{sys.executable} -m regard --help; echo code $? >&2"
    found = subprocess.run(["sh", "-c", f"({line}) | true"], capture_output=True, check=False)
    # Whether the page was written before the reader went depends on the moment: both ends are clean.
    assert found.stderr.decode().strip() in ("code 141", "code 0")


def test_exit_codes_are_documented(capsys):
    page = " ".join(spoken(capsys, "--help")[1].split())
    for code in (frame.FAILED, frame.MISUSED, frame.BUG, frame.INTERRUPTED, frame.PIPE_CLOSED):
        assert f"{code} " in page.split("Exit codes:")[1]
