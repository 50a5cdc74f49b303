"""JSON, TOML and recipes: deep, doubled, endless, not text. In a process of their own, by size and by time."""

from __future__ import annotations

from pathlib import Path

import pytest
import trial

from regard import limits
from regard.errors import BadFileError
from regard.limits import MIB

MB = 1_000_000

JSON: dict[str, bytes] = {
    "depth of 66": b"[" * 66 + b"]" * 66,
    "depth of 100,000": b"[" * 100_000 + b"]" * 100_000,
    "depth of tables": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "never closed": b"[" * MB,
    "key twice": b'{"a": 1, "a": 2}',
    "key twice, spelled otherwise": b'{"a": 1, "\\u0061": 2}',
    "key twice, deep": b'{"b": [{"a": 1, "a": 1}]}',
    "NaN": b"[NaN]",
    "Infinity": b'{"a": -Infinity}',
    "1e999": b"[1e999]",
    "-1e999": b"[-1e999]",
    "5000 digits": b"9" * 5000,
    "a million digits": b"9" * MB,
    "a million digits after the point, and no number": b"0." + b"9" * MB + b"e",
    "lone high surrogate": b'"\\ud83d"',
    "lone low surrogate as a key": b'{"\\ude00": 1}',
    "surrogates the wrong way round": b'"\\ude00\\ud83d"',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32"),
    "bad UTF-8": b'{"a": "\xc3"}',
    "overlong UTF-8": b'"\xc0\xaf"',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "a NUL": b'{"a": 1}\0',
    "two BOMs": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "two documents": b"{}{}",
    "empty": b"",
    "only spaces": b" " * MB,
    "a million empty tables": b"[" + b"{}," * 333_000 + b"{}]",
    "a text never ended": b'"' + b"a" * MB,
    "a control character": b'"\x01"',
    "a bad escape": b'"\\x41"',
    "single quotes": b"{'a': 1}",
    "a comment": b"{} // x",
    "a trailing comma": b"[1,]",
    "leading zero": b"[01]",
    "plus": b"[+1]",
    "hexadecimal": b"[0x10]",
}
TOML: dict[str, bytes] = {
    "a key of 500,000 parts": b"a" + b".a" * 500_000 + b" = 1",
    "a table of 500,000 parts": b"[a" + b".a" * 500_000 + b"]",
    "quoted parts": b'"a"' + b'. "a"' * 200_000 + b" = 1",
    "parts within a table": b"x = {a" + b".a" * 100_000 + b" = 1}",
    "nested lists": b"a = " + b"[" * 100_000,
    "nested lists, closed": b"a = " + b"[" * 300 + b"]" * 300,
    "nested tables": b"a = " + b"{a = " * 10_000 + b"1" + b"}" * 10_000,
    "a million hexadecimal digits": b"a = 0x" + b"f" * MB,
    "a million digits": b"a = " + b"9" * MB,
    "infinity": b"a = inf",
    "not a number": b"a = [nan]",
    "1e999": b"a = 1e999",
    "key twice": b"a = 1\na = 2",
    "table twice": b"[a]\n[a]",
    "table over a value": b"a = 1\n[a.b]",
    "the 31st of February": b"a = 2024-02-31",
    "the hour 25": b"a = 25:00:00",
    "bad UTF-8": b"a = '\xff'",
    "a NUL": b"a = 1\0",
    "over the cap": b"# " + b"a" * MIB,
    "a text never ended": b'a = """' + b"a" * 900_000,
    "a bare carriage return": b"a = 1\rb = 2",
    "a lone surrogate": b'a = "\\ud800"',
    "past the last character": b'a = "\\U00110000"',
    "no value": b"a =",
    "600,000 quotes": b'"' * 600_000,
}
RECIPES: dict[str, str] = {
    "empty": "",
    "no task": '[model]\nfamily = "gpt2"\n',
    "a task of text": 'task = "causal-lm"\n',
    "a task of a number": "[task]\nname = 5\n",
    "an unknown task": '[task]\nname = "fly"\n[model]\nfamily = "gpt2"\n',
    "an unknown key": '[task]\nname = "causal-lm"\n[model]\nfamily = "gpt2"\n[train]\nstep = 5\n',
    "a negative number": '[task]\nname = "causal-lm"\n[model]\nfamily = "gpt2"\n[train]\nsteps = -5\n',
    "a number of text": '[task]\nname = "causal-lm"\n[model]\nfamily = "gpt2"\n[train]\nsteps = "5"\n',
    "true for a number": '[task]\nname = "causal-lm"\n[model]\nfamily = "gpt2"\n[train]\nsteps = true\n',
    "a section of text": '[task]\nname = "causal-lm"\n[model]\nfamily = "gpt2"\n[data]\naugment = "x"\n',
    "a date": '[task]\nname = "causal-lm"\n[model]\nfamily = "gpt2"\n[train]\nsteps = 2024-01-01\n',
    "three betas": '[task]\nname = "causal-lm"\n[model]\nfamily = "gpt2"\n[train.optimizer]\nbetas = [0.9, 0.9, 0.9]\n',
    "a million labels": '[task]\nname = 1\n[model]\nlabels = [' + '"a", ' * 100_000 + "]\n",
}  # fmt: skip


def refused(folder: Path, reader: str, suffix: str, contents: dict[str, bytes]) -> tuple[str, list[trial.Outcome]]:
    cases = []
    for number, content in enumerate(contents.values()):
        path = folder / f"{number}.{suffix}"
        path.write_bytes(content)
        cases.append((reader, path))
    outcomes = trial.run(cases)
    for name, one in zip(contents, outcomes, strict=True):
        assert one.refused, (name, one)
        assert len(one.message) < 600, (name, one.message)
    return trial.holds(outcomes), outcomes


def test_bad_json_is_refused(tmp_path, capsys):
    figures, _ = refused(tmp_path, "json", "json", JSON)
    with capsys.disabled():
        print(f"\nJSON: {figures}")


def test_bad_toml_is_refused(tmp_path, capsys):
    figures, _ = refused(tmp_path, "toml", "toml", TOML)
    with capsys.disabled():
        print(f"\nTOML: {figures}")


def test_bad_recipes_are_refused(tmp_path, capsys):
    figures, _ = refused(tmp_path, "recipe", "toml", {name: text.encode() for name, text in RECIPES.items()})
    with capsys.disabled():
        print(f"\nrecipes: {figures}")


@pytest.mark.parametrize("raw", [b"[[],[],[],", b'["ab","ab",', b"[1.5,1.5,", b'[{"":0},{"":0},'])
def test_many_values_take_little_memory(raw, tmp_path):
    """What is small on disk and large in memory: within the file's size and 64 MB, or refused."""
    path = tmp_path / "many.json"
    unit = raw[1:]
    for size in (MB, 8 * MB, 40 * MB):
        path.write_bytes(raw + unit * (size // len(unit)) + unit.rstrip(b",") + b"]")
        (one,) = trial.run([("json", path)])
        assert one.refused or one.kind == "read", one
        assert one.grown <= path.stat().st_size * 2 + trial.ROOM, one  # the bytes, and the text that they are


def test_what_must_be_read_is(tmp_path):
    path = tmp_path / "good.toml"
    text = 'x = "a.b.c' + ".d" * 200 + '"\n' + "[a" + ".a" * 60 + "]\ny = [1,\n2]\n"
    path.write_text(text)
    assert limits.read_toml(path)["x"].endswith(".d")


def test_a_format_that_is_not_known_is_refused_by_name():
    limits.check_format(1, 1, "run.json")
    limits.check_format(1, 3, "run.json")
    for found in (2, 0, -1, "1", 1.0, True, None, [1], 10**30):
        with pytest.raises(BadFileError, match=r"run\.json.*format"):
            limits.check_format(found, 1, "run.json")
