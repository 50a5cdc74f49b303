"""Puts the table of a finished demo into both READMEs, between their markers.

python tools/readme.py demo-run
"""

from __future__ import annotations

import json
import sys
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


def main(folder: Path) -> None:
    for page, words in WORDS.items():
        path = ROOT / page
        table = "\n".join([row(HEADS[page]), row(("---",) * 4), *rows(folder, words)])
        marked = f"<!-- demo-table -->\n{table}\n<!-- /demo-table -->"
        text = path.read_text(encoding="utf-8")
        before, _, rest = text.partition("<!-- demo-table -->")
        path.write_text(before + marked + rest.partition("<!-- /demo-table -->")[2], encoding="utf-8")


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
    main(Path(sys.argv[1]))
