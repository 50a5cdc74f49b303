"""A report with every kind of section, and a browser where there is one."""

from __future__ import annotations

import html.parser
import json
import os
import shutil
import subprocess

import numpy as np
import pytest

from regard.report.sections import (
    Attention,
    Bar,
    Bars,
    Chapter,
    Curve,
    Curves,
    Example,
    Head,
    Lens,
    Level,
    Method,
    Note,
    Number,
    Numbers,
    Pattern,
    Report,
    Saliency,
    Samples,
    Table,
    Text,
)


@pytest.fixture(scope="session")
def everything():
    """everything("words") -> a report in which that text stands at every place where text can stand."""

    def made(x: str) -> Report:
        generator = np.random.default_rng(7)
        weights = generator.dirichlet(np.ones(3), size=(2, 3))
        heads = [
            Head(layer=0, head=h, weights=weights[h], scores={"p": 0.5}, pattern="p" if h else None, effect=-0.5 * h)
            for h in range(2)
        ]
        pattern = Pattern(name="p", label=x, about=x)
        attention = Attention(
            title=x, queries=[x, "b", x], keys=[x, "b", x], heads=heads, patterns=[pattern], effect=x,
            rollout=weights[0], note=x,
        )  # fmt: skip
        lens = Lens(
            title=x, tokens=[x, "b"], layers=[x, x, x], best=[[[x, "b", x]] * 2] * 3,
            probabilities=generator.dirichlet(np.ones(3), size=(3, 2)), note=x,
        )  # fmt: skip
        method = Method(name=x, values=[0.25, -0.5], about=x, check=x)
        saliency = Saliency(title=x, tokens=[x, "b"], methods=[method], answer=x, note=x)
        curve = Curve(name=x, x=[1, 2, 3], y=[3.0, float("nan"), 1.0], low=[2.5, 1.0, 0.5], high=[3.5, 2.0, 1.5])
        return Report(
            title=x,
            about=x,
            facts=[(x, x), (x, 5)],
            sections=[
                Text(title=x, paragraphs=[x, x]),
                Note(text=x, kind="caution"),
                Chapter(
                    title=x,
                    about=x,
                    sections=[
                        Numbers(
                            title=x, numbers=[Number(label=x, value=2.5, unit=x, about=x), Number(label=x, value=x)]
                        ),
                        Table(title=x, columns=[x, "n"], rows=[[x, 0.1234], [x, None], [x, 7]], marked=[1], note=x),
                        Curves(title=x, curves=[curve], levels=[Level(name=x, value=2.0)], x=x, y=x, note=x),
                        Bars(title=x, bars=[Bar(name=x, value=0.7, low=0.6, high=0.8, marked=True)], unit=x, note=x),
                        Samples(
                            title=x, samples=[Example(given=x, made=x, expected=x, remark=x, verdict="good")], note=x
                        ),
                    ],
                ),
                attention,
                lens,
                saliency,
            ],
        )

    return made


class Page(html.parser.HTMLParser):
    """The elements of a document with their texts, and the JSON in it, as a parser sees them."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[int, str] = {}
        self.inside = -1
        self.feed(document)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = len(self.tags) - 1

    def handle_endtag(self, tag):
        self.inside = -1

    def handle_data(self, data):
        self.texts[self.inside] = self.texts.get(self.inside, "") + data

    @property
    def data(self):
        return json.loads(next(self.texts[i] for i, (_, attrs) in enumerate(self.tags) if attrs.get("id") == "report"))


@pytest.fixture(scope="session")
def page():
    return Page


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """browser(path, "lang=zh") -> the document after its scripts have run. Skipped where there is no browser."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if program is None and os.environ.get("CI"):
        pytest.fail("no chromium: `make test` installs it on Debian; elsewhere install it by hand")
    if program is None:
        pytest.skip("no chromium on this machine: what only a browser can show is not shown")
    profile = tmp_path_factory.mktemp("profile")

    def shown(path, query="", width=1000):
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        command += [f"--window-size={width},1500", "--virtual-time-budget=3000", "--dump-dom", f"file://{path}?{query}"]
        done = subprocess.run(command, capture_output=True, timeout=120, check=True)
        return done.stdout.decode("utf-8", "replace")

    return shown
