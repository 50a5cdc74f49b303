"""The message table: complete, in step in both languages, and nothing in it that nobody says."""

from __future__ import annotations

import ast
import re
import unicodedata

import click
import pytest
from house import PACKAGE, dotted, modules, placeholders

from regard import words
from regard.cli.main import ROOT
from regard.errors import MissingPackage, RegardError, need
from regard.words import LANGUAGES, has, language, say, set_language, speaking, table

SPEAKERS = re.compile(r"(^|\.)(say|\w*Error|Mistake|MissingPackage)$")


def entries() -> dict[str, dict[str, str]]:
    found = {}

    def walk(key: str, node: dict) -> None:
        if any(language in node for language in LANGUAGES) and all(isinstance(each, str) for each in node.values()):
            found[key] = node
            return
        for name, below in node.items():
            assert isinstance(below, dict), f"{key}.{name} is no entry"
            walk(f"{key}.{name}", below)

    for path in sorted((PACKAGE / "words").glob("*.toml")):
        walk(path.stem, table(path.stem))
    return found


def verbs() -> list[click.Command]:
    found: list[click.Command] = [ROOT]
    for name in ROOT.list_commands(click.Context(ROOT)):
        verb = ROOT.get_command(click.Context(ROOT), name)
        found += [verb, *getattr(verb, "commands", {}).values()]
    return found


def test_every_entry_has_both_languages_with_the_same_placeholders():
    for key, entry in entries().items():
        assert set(entry) == set(LANGUAGES), key
        assert placeholders(entry["en"]) == placeholders(entry["zh"]), key
        assert all(text.strip() for text in entry.values()), key


def test_chinese_is_chinese_and_english_is_not():
    chinese = re.compile("[\u4e00-\u9fff]")
    plain = {key for key, entry in entries().items() if not chinese.search(entry["zh"])}

    def bare(text: str) -> str:
        return "".join(unicodedata.normalize("NFKC", text).split())  # ： is : and a space

    # A name, a unit: the same in both but for punctuation.
    assert {key for key in plain if bare(entries()[key]["zh"]) != bare(entries()[key]["en"])} == set()


def test_every_key_said_exists_and_gets_its_placeholders():
    known, faults = entries(), []
    for name, tree in modules().items():
        for call in ast.walk(tree):
            if not (isinstance(call, ast.Call) and SPEAKERS.search(dotted(call.func)) and call.args):
                continue
            first = call.args[0]
            options = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
            keys = [each.value for each in options if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            for key in keys:
                if not re.fullmatch(r"\w+(\.\w+)+", key):
                    continue
                given = {keyword.arg for keyword in call.keywords}
                if key not in known:
                    faults.append(f"{name}:{call.lineno} {key} is not in the table")
                elif None not in given and not placeholders(known[key]["en"]) <= given:
                    faults.append(f"{name}:{call.lineno} {key} lacks {placeholders(known[key]['en']) - given}")
    assert not faults


def test_every_verb_argument_and_option_has_its_text():
    missing = []
    for verb in verbs():
        missing += [f"{verb.table}.help"] if not has(f"{verb.table}.help") else []
        for param in verb.params:
            if not (has(f"{verb.table}.{param.name}") or has(f"cli.common.{param.name}")):
                missing.append(f"{verb.table}.{param.name}")
    assert not missing


def test_no_entry_is_unused():
    said: set[str] = set()
    patterns = []
    for tree in modules().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                # f"cli.next_fresh.{name}" says every key of that shape; one that starts with a variable says none.
                first = node.values[0]
                if isinstance(first, ast.Constant) and "." in str(first.value):
                    parts = [re.escape(str(v.value)) if isinstance(v, ast.Constant) else r"[\w-]+" for v in node.values]
                    patterns.append(re.compile("".join(parts)))
    for verb in verbs():
        said |= {f"{verb.table}.help", f"{verb.table}.epilog", "cli.common.help"}
        said |= {f"{verb.table}.{param.name}" for param in verb.params}
        said |= {f"cli.common.{p.name}" for p in verb.params if not has(f"{verb.table}.{p.name}")}
    unused = [key for key in entries() if key not in said and not any(each.fullmatch(key) for each in patterns)]
    assert not unused


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "REGARD_LANG": "zh"}, "zh"),
        ({"LC_ALL": "zh_TW.UTF-8", "REGARD_LANG": "en"}, "en"),
        ({"LC_ALL": "zh_TW.UTF-8", "REGARD_LANG": "klingon"}, "zh"),
    ],
)
def test_language_comes_from_the_environment(monkeypatch, environment, expected):
    for name in ("REGARD_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(words.locale, "getlocale", lambda: (None, None))
    with speaking(None):
        set_language(None)
        assert language() == expected


def test_windows_names_its_languages_in_words(monkeypatch):
    for name in ("REGARD_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(words.locale, "getlocale", lambda: ("Chinese (Simplified)_China", "936"))
    with speaking(None):
        set_language(None)
        assert language() == "zh"


def test_an_error_is_a_sentence_in_the_language_in_use():
    error = RegardError("limits.missing", where="poems.txt")
    with speaking("en"):
        assert str(error) == "poems.txt does not exist. Check the name and the folder you are in."
    with speaking("zh"):
        assert "poems.txt 不存在" in str(error)


def test_a_hole_in_the_table_does_not_hide_the_error():
    assert say("nowhere.at_all", path="x") == "nowhere.at_all path='x'"
    assert say("limits.nothing") == "limits.nothing"


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="fr"):
        set_language("fr")


def test_a_missing_package_is_named_with_its_remedy():
    with pytest.raises(MissingPackage) as caught, speaking("en"):
        need("surely_not_installed", extra="text")
    with speaking("en"):
        assert 'pip install "regard[text]"' in str(caught.value)
    assert need("json", extra="text").loads("1") == 1
