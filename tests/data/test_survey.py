"""The report one would send to a colleague: what was put into the data stands in it, and nothing that must not."""

from __future__ import annotations

import json
import re

import pytest

from regard.cli.main import run
from regard.data import page, sources
from regard.data.faults import Faults
from regard.data.personal import KINDS, find
from regard.data.remarks import remarks
from regard.data.summary import summary
from regard.data.survey import survey
from regard.report import html
from regard.words import speaking

SECRET = "13912345678"


def lines() -> list[dict[str, str]]:
    words = [
        "weather",
        "town",
        "river",
        "bridge",
        "winter",
        "summer",
        "market",
        "garden",
        "window",
        "hill",
        "sea",
        "sun",
    ]
    found = [
        {"text": " ".join(f"{words[(n * k) % 12]}{n * k % 31}" for k in range(1, 14)), "label": "ab"[n % 2]}
        for n in range(1, 61)
    ]
    found[4]["text"], found[4]["label"] = found[2]["text"], found[2]["label"]  # line 5 says what line 3 says
    found[6]["text"] = found[7]["text"]  # lines 7 and 8, of two labels
    found[10]["text"] = found[8]["text"].replace("river", "RIVER") + "!"  # line 11 nearly says what line 9 says
    found[13]["text"] = found[9 + 1 - 1]["text"] + " etc"  # line 14, line 10
    found[20]["text"] = f"请打电话 {SECRET} 给张三，或写信到 zhang@example.com，谢谢，再见。"
    found[22]["text"] = "Le temps est beau et nous allons à la mer avec elle dans une petite voiture."
    return found


@pytest.fixture
def data(tmp_path):
    raw = [json.dumps(line, ensure_ascii=False).encode() for line in lines()]
    raw[30] = b'{"text": "broken'
    raw[31] = '{"text": "另一种编码的一行", "label": "a"}'.encode("gb18030")
    raw[32] = b'{"label": "a"}'
    raw[33] = b'{"text": "nul \\u0000", "label": "a", "label": "b"}'
    (tmp_path / "data.jsonl").write_bytes(b"\n".join(raw) + b"\n")
    kept = [
        lines()[40],
        {**lines()[41], "text": lines()[41]["text"] + "?!"},
        {"text": "nowhere else at all", "label": "a"},
    ]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(each) + "\n" for each in kept), encoding="utf-8")
    return tmp_path


def examined(data):
    passed = Faults()
    rows = sources.open(data / "data.jsonl", passed=passed)
    return survey(rows, held_out=sources.open(data / "held.jsonl"), passed=passed)


def line(where: str) -> int:
    return int(where.rpartition(":")[2])


def test_everything_planted_is_in_the_report_at_its_place(data):
    found = examined(data)
    assert found.rows == 56 and found.unreadable.count == 4 and found.unreadable.encodings == {"GB18030": 1}
    assert [re.search(r"data\.jsonl:(\d+)", why)[1] for why, _ in found.unreadable.examples] == ["31", "32", "33", "34"]
    assert [line(where) for where, _ in found.dropped["duplicate"].examples] == [5]
    assert [(line(pair.where), line(pair.of), pair.labels) for pair in found.conflicts.examples] == [(7, 8, ("b", "a"))]
    near = {(line(pair.where), line(pair.of)) for pair in found.near.examples + found.near_conflicts.examples}
    assert near == {(11, 9), (14, 10)} and found.near.count + found.near_conflicts.count == 2
    assert found.shared is not None and [line(where) for where, _ in found.shared.examples] == [41]
    assert found.near_shared is not None
    assert [(line(pair.where), line(pair.of)) for pair in found.near_shared.examples] == [(42, 2)]
    assert found.repeated[0][0] == 2 and set(found.personal) == {"phone", "mail"} and found.personal_rows == 1
    assert found.languages["text"]["fr"].count == 1 and sum(o.count for o in found.languages["text"].values()) == 56
    assert sum(found.scripts["text"].values()) == found.characters["text"].total
    assert json.loads(json.dumps(found.plain()))["near"]["count"] == found.near.count


def test_the_report_is_the_same_twice(data):
    assert json.dumps(examined(data).plain()) == json.dumps(examined(data).plain())


def test_no_personal_data_stand_in_any_form_of_the_report(data, capsys):
    found = examined(data)
    forms = [json.dumps(found.plain(), ensure_ascii=False), summary(found), html.build(page.report(found))]
    for form in forms:
        assert SECRET not in form and "zhang@example.com" not in form and "[PHONE]" in form
    assert all(not find(text) for odd in found.personal.values() for _, text in odd.examples)


def test_both_languages_say_all_of_it(data):
    found = examined(data)
    for language in ("en", "zh"):
        with speaking(language):
            said = summary(found)
            assert not re.search(r"\b(data|cli_data|report)\.[a-z_]+\.[a-z_]+", said)
    whole = html.build(page.report(found))
    assert not re.search(r'"data\.[a-z_]+\.', whole)
    assert "Content-Security-Policy" in whole and "http" not in whole.split("<style>")[0].replace("http-equiv", "")


def test_remarks_tell_the_gravest_first_and_are_glad_of_clean_data(data, tmp_path):
    kinds = [kind for kind, _ in remarks(examined(data))]
    assert kinds == sorted(kinds, key=["bad", "caution", "good"].index) and {"bad", "caution"} == set(kinds)
    path = tmp_path / "clean.txt"
    path.write_text("明月几时有，把酒问青天。\n春眠不觉晓，处处闻啼鸟。\n", encoding="utf-8")
    assert [kind for kind, _ in remarks(survey(sources.open(path)))] == ["good"]


def test_every_kind_and_language_and_script_has_its_words():
    from regard.data.scripts import _OF_SCRIPT, _WORDS, SCRIPTS
    from regard.words import has

    assert all(has(f"data.kind.{kind}") for kind in KINDS) and all(has(f"data.script.{name}") for name in SCRIPTS)
    guesses = {*_WORDS, *_OF_SCRIPT.values(), *SCRIPTS[1:], "zh", "zh_hans", "zh_hant", "ja", "mixed", "none", "latin"}
    asked = guesses - {"han", "kana", "hangul", "greek", "hebrew", "thai", "emoji", "sign"}
    assert all(has(f"data.language.{name}") for name in asked)


def test_the_command_writes_page_and_json_and_tells_by_its_status(data, capsys):
    path, out = str(data / "data.jsonl"), data / "report.html"
    assert run(["data", "check", path, "--html", str(out), "--clean", str(data / "clean.jsonl")]) == 1
    shown = capsys.readouterr().out
    assert f"{path}:41" in run_json(["data", "check", path, "--held-out", str(data / "held.jsonl")], capsys)[1]
    assert str(out) in shown and "clean.jsonl: 53 of 56 rows written" in shown
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    (data / "good.txt").write_text("one line\nanother one\n", encoding="utf-8")
    assert run(["data", "check", str(data / "good.txt")]) == 0


def run_json(arguments, capsys):
    status = run([*arguments, "--json"])
    shown = capsys.readouterr().out
    assert json.loads(shown)
    return status, shown


def test_a_text_in_another_encoding_altogether_is_refused_with_its_name(tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes("第一行\n第二行\n".encode("gb18030"))
    assert run(["data", "check", str(tmp_path / "a.txt")]) == 1
    assert "iconv -f GB18030" in capsys.readouterr().err


def test_pairs_are_compared_as_pairs_and_leak_by_their_source(tmp_path):
    strings = "保存当前文档并关闭窗口然后返回主界面", "在右侧窗格中选择要显示的工具栏按钮名称"
    rows = [
        ("Save the document and close the window", strings[0]),
        ("Save the document and close the window", strings[1]),
    ]
    (tmp_path / "a.tsv").write_text("source\ttarget\n" + "".join(f"{a}\t{b}\n" for a, b in rows), encoding="utf-8")
    (tmp_path / "b.tsv").write_text("source\ttarget\nSave the document and close the window!\t别的\n", encoding="utf-8")
    found = survey(sources.open(tmp_path / "a.tsv"), held_out=sources.open(tmp_path / "b.tsv"))
    assert found.near.count == 0 and found.near_shared is not None and found.near_shared.count == 2
    assert list(found.languages["source"]) == ["en"] and list(found.languages["target"]) == ["zh-hans"]
