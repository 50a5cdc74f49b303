"""Prints the table of promises from a test run, and puts it into both READMEs between their markers.

    python tools/promises.py                    # make promises
    python tools/promises.py --only kill        # make promises ONLY=kill: one of them, printed and not written
    python tools/promises.py --keep part.json   # what stands there of this commit is not run again: a run in parts

The promises stand in tests/promises.toml, each with the tests that hold it. A test tells figures by `record_property`;
the sentence of a proof names them in braces, and they are added up over its tests. A promise that a test breaks is
printed as broken and nothing is written.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "en", "README.zh.md": "zh"}
HEADS = {"en": ("promise", "proof", "tests", "elsewhere"), "zh": ("承诺", "证明", "测试", "别处")}
ROW = {
    "en": "{files}: {tests} in {seconds:.0f} s, `make promises ONLY={name}`",
    "zh": "{files}：{tests} 个，{seconds:.0f} 秒，`make promises ONLY={name}`",
}
FOOT = {
    "en": "{tests} tests, {passed} passed, in {seconds:.0f} s at commit {commit}; `make promises` prints this table.",
    "zh": "{tests} 个测试，{passed} 个通过，用时 {seconds:.0f} 秒，提交 {commit}；`make promises` 打印此表。",
}


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What is promised, how its proof reads, and what others do, each in both languages; the tests that hold it."""

    name: str
    says: dict[str, str]
    proof: dict[str, str]
    others: dict[str, str]
    tests: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the tests of a promise came to; `figures` are the sums of what they recorded."""

    tests: int
    passed: int
    seconds: float
    figures: dict[str, int]

    @property
    def kept(self) -> bool:
        return 0 < self.tests == self.passed


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the table of promises from a test run.")
    parser.add_argument("--only", help="the name of one promise")
    parser.add_argument("--keep", type=Path, help="a file of outcomes to go on from")
    options = parser.parse_args()
    promises = [one for one in read() if options.only in (None, one.name)]
    if not promises:
        print(f"no promise is called {options.only}; there are: {', '.join(one.name for one in read())}")
        return 2
    outcomes = kept(promises, options.keep) if options.keep else [run(one) for one in promises]
    for language in HEADS:
        print(table(promises, outcomes, language) + "\n")
    broken = [promise.name for promise, outcome in zip(promises, outcomes, strict=True) if not outcome.kept]
    if broken:
        print(f"broken: {', '.join(broken)}")
        return 1
    if options.only is None:
        for page, language in PAGES.items():
            put(ROOT / page, table(promises, outcomes, language))
    return 0


def read() -> list[Promise]:
    entries = tomllib.loads((ROOT / "tests" / "promises.toml").read_text(encoding="utf-8"))["promise"]
    return [Promise(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


def kept(promises: Sequence[Promise], file: Path) -> list[Outcome]:
    """The outcomes of all of them; what the file has of this commit and was kept is taken from there."""
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    done = {name: Outcome(**values) for name, values in found.get(commit(), {}).items()}
    for promise in promises:
        if promise.name not in done or not done[promise.name].kept:
            done[promise.name] = outcome = run(promise)
            print(f"{promise.name}: {outcome.passed} of {outcome.tests} in {outcome.seconds:.0f} s", flush=True)
            values = {name: vars(each) for name, each in done.items()}
            file.write_text(json.dumps({commit(): values}), encoding="utf-8")
    return [done[promise.name] for promise in promises]


def run(promise: Promise) -> Outcome:
    """The tests of one promise, in a process of their own."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options = ["-q", f"--junitxml={report}", "-o", "junit_family=xunit1"]  # which has properties
        command = [sys.executable, "-m", "pytest", *options, *promise.tests]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if not report.exists():
            sys.exit(done.stdout + done.stderr)
        outcome = judge(ElementTree.parse(report).getroot())  # noqa: S314, pytest wrote it a moment ago
    if not outcome.kept:
        print(done.stdout[-4000:])
    return outcome


def judge(report: ElementTree.Element) -> Outcome:
    """A JUnit report as an outcome. A skipped test has not passed."""
    figures: Counter[str] = Counter()
    cases = list(report.iter("testcase"))
    for case in cases:
        for entry in case.iter("property"):
            figures[entry.get("name", "")] += int(entry.get("value", "0"))
    failed = sum(1 for case in cases if any(case.find(tag) is not None for tag in ("failure", "error", "skipped")))
    seconds = sum(float(case.get("time", "0")) for case in cases)
    return Outcome(tests=len(cases), passed=len(cases) - failed, seconds=seconds, figures=dict(figures))


def table(promises: Sequence[Promise], outcomes: Sequence[Outcome], language: str) -> str:
    head = HEADS[language]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for promise, outcome in zip(promises, outcomes, strict=True):
        proof = promise.proof[language].format(**outcome.figures) if outcome.kept else "✗"
        held = {"files": links(promise.tests), "tests": outcome.tests, "seconds": outcome.seconds}
        shown = ROW[language].format(name=promise.name, **held)
        cells = (promise.says[language], proof, shown, promise.others[language])
        lines.append(f"| {' | '.join(cells)} |")
    total = {"tests": sum(one.tests for one in outcomes), "passed": sum(one.passed for one in outcomes)}
    seconds = sum(one.seconds for one in outcomes)
    lines += ["", FOOT[language].format(**total, seconds=seconds, commit=commit())]
    return "\n".join(lines)


def links(tests: Sequence[str]) -> str:
    """The files that the tests stand in, each once."""
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    return ", ".join(f"[{file.rpartition('/')[2]}]({file})" for file in files)


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def put(page: Path, text: str) -> None:
    """Between the page's markers."""
    start, end = "<!-- promises -->", "<!-- /promises -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(start)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
