"""Puts the table of a finished demo, or that of the families, into both READMEs, between their markers.

python tools/readme.py demo-run
python tools/readme.py families                 # runs the tests of the families (minutes)
python tools/readme.py families results.json    # what a run with REGARD_FAMILIES_OUT=results.json left
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HEADS = {
    "README.md": ("what", "measure (held out)", "regard, trained here", "beside it"),
    "README.zh.md": ("做什么", "指标（留出数据）", "regard，当场训练", "对照"),
}
WORDS = {
    "README.md": {
        "poems": "GPT on Tang poems",
        "reviews": "MiniLM on 400 film reviews",
        "translation": "the 2017 Transformer, English to Chinese",
        "bits_per_character": "bits per character, lower is better",
        "accuracy": "accuracy",
        "exact_match": "exactly right",
        "chrf": "chrF",
        "unigram": "character frequencies",
        "5-gram": "interpolated 5-gram",
        "naive_bayes": "naive Bayes",
        "logistic_regression": "logistic regression",
        "majority": "majority",
        "scratch": "random weights",
        "neighbour": "nearest-neighbour memory",
        "copy": "copying",
    },
    "README.zh.md": {
        "poems": "唐诗上的 GPT",
        "reviews": "MiniLM，400 条影评",
        "translation": "2017 年的 Transformer，英译中",
        "bits_per_character": "每字符比特，越低越好",
        "accuracy": "准确率",
        "exact_match": "完全正确",
        "chrf": "chrF",
        "unigram": "字频",
        "bigram": "二元语法",
        "5-gram": "插值 5 元语法",
        "naive_bayes": "朴素贝叶斯",
        "logistic_regression": "逻辑回归",
        "majority": "多数类",
        "scratch": "随机权重",
        "neighbour": "最近邻记忆",
        "copy": "照抄",
    },
}
DIGITS = {"bits_per_character": 2, "accuracy": 3, "chrf": 1, "exact_match": 3}
MEASURES = {"poems": ("bits_per_character",), "reviews": ("accuracy",), "translation": ("chrf", "exact_match")}


# What each test of tests/families/test_every_family.py shows, in the order of the columns.
SHOWN = {
    "outputs": ("outputs", "输出"),
    "hidden_states": ("every layer", "每一层"),
    "loss": ("loss", "损失"),
    "generation": ("greedy and beams", "贪心与束搜索"),
    "back": ("written back", "写回"),
    "padding": ("padding", "填充"),
    "cache": ("cache", "缓存"),
    "future": ("no future", "不看未来"),
}
TESTED = (
    "every_family",
    "captions",
    "image_text",
    "every_image_family",
    "reformer",
    "wave_families",
    "speech_families",
    "speaking",
)
FAMILY_HEADS = {"README.md": ("`model_type`", "file", 0), "README.zh.md": ("`model_type`", "文件", 1)}


def main(folder: Path) -> None:
    for page, words in WORDS.items():
        put(page, "demo-table", [row(HEADS[page]), row(("---",) * 4), *rows(folder, words)])


def families(results: Path | None) -> None:
    held = json.loads((results or tested()).read_text(encoding="utf-8"))
    from regard import models

    for page, (name, file, language) in FAMILY_HEADS.items():
        shown = [words[language] for words in SHOWN.values()]
        table = [row((name, file, *shown)), row(("---",) * (2 + len(shown)))]
        for kind in sorted(held, key=lambda kind: (models.of_type(kind) or "", kind)):
            link = f"[{models.of_type(kind)}.py](src/regard/models/{models.of_type(kind)}.py)"
            marks = [{True: "✓", False: "✗", None: ""}[held[kind].get(test)] for test in SHOWN]
            table.append(row((f"`{kind}`", link, *marks)))
        put(page, "family-table", table)


def tested() -> Path:
    """Runs the tests of the families; what held of each model type."""
    out = Path(tempfile.mkdtemp()) / "families.json"
    command = [sys.executable, "-m", "pytest", *(f"tests/families/test_{name}.py" for name in TESTED)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"REGARD_FAMILIES_OUT": str(out)}, check=False)
    return out


def put(page: str, marker: str, table: list[str]) -> None:
    path = ROOT / page
    text = path.read_text(encoding="utf-8")
    opening, closing = f"<!-- {marker} -->", f"<!-- /{marker} -->"
    before, found, rest = text.partition(opening)
    if not found:
        sys.exit(f"{page} has no {opening}")
    marked = "\n".join([opening, *table, closing])
    path.write_text(before + marked + rest.partition(closing)[2], encoding="utf-8")


def rows(folder: Path, words: dict[str, str]) -> list[str]:
    made = []
    for stage, measures in MEASURES.items():
        found = json.loads((folder / "results" / f"{stage}.json").read_text(encoding="utf-8"))
        model = found.get("model") or found[stage]
        others = [(one["name"], one) for one in found["baselines"]]
        others += [("scratch", found["reviews-scratch"]["result"])] if stage == "reviews" else []
        for measure in measures:
            beside = ", ".join(f"{words.get(name, name)} {value(one, measure)}" for name, one in others)
            made.append(row((words[stage], words[measure], f"**{value(model['result'], measure)}**", beside)))
    return made


def value(result: dict[str, Any], measure: str) -> str:
    return f"{result['scores'][measure]['value']:.{DIGITS[measure]}f}"


def row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    if sys.argv[1] == "families":
        families(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    else:
        main(Path(sys.argv[1]))
