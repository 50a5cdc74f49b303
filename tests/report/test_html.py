"""The page: no text breaks out of it, nothing is fetched, both languages are there, the arrays are the arrays."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib import resources

import numpy as np
import pytest

from regard.report import html
from regard.report.sections import Attention, Curve, Curves, Head, Lens, Method, Report, Saliency, Table, Text, message
from regard.words import LANGUAGES, set_language

SHOUT = "document.title = 'BROKEN OUT'"
HOSTILE = {
    "script": f"</script><script>{SHOUT}</script>",
    "script end": "</script x>a</ScRiPt/><b>",
    "comment": f"<!--<script>{SHOUT}//-->",
    "markup": f'"><img src=x onerror="{SHOUT}"><svg onload="{SHOUT}">',
    "style": f"</style><style>*{{display:none}}</style><script>{SHOUT}</script>",
    "cdata": f"]]><script>{SHOUT}</script>",
    "json": '\\"}</script>\\u003cscript>"\\',
    "lines": "a\u2028b\u2029c\r\nd\x0be",
    "bidi": "a\u202e\u2066drawkcab\u200f",
    "zero": "a\x00b\x1b[31m\x7f\x85",
    "surrogate": "a\ud800b\udc00",
    "entities": "&lt;script&gt;&amp;&#60;",
    "template": "{data}{0}${1+1}%s{{",
    "noncharacters": "\ufffe\uffff\U0010ffff",
}
ELEMENTS = [
    "html",
    "head",
    "meta",
    "meta",
    "meta",
    "meta",
    "meta",
    "title",
    "style",
    "body",
    "noscript",
    "script",
    "script",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_text_stays_text(everything, page, name):
    document = html.build(everything(HOSTILE[name]))
    document.encode("utf-8")
    found = page(document)
    assert [tag for tag, _ in found.tags] == ELEMENTS
    embedded = document.split('id="report">')[1].split("\n<script>")[0].removesuffix("</script>")
    assert not set("<>&\u2028\u2029") & set(embedded)
    arrived = HOSTILE[name].replace("\ud800", "⟨U+D800⟩").replace("\udc00", "⟨U+DC00⟩")
    assert found.data["title"] == arrived
    assert found.data["sections"][3]["keys"][2] == arrived


def test_text_stays_text_in_a_browser(everything, page, browser, tmp_path):
    target = html.write(everything(" ".join(HOSTILE.values())), tmp_path / "hostile.html")
    body = re.sub(r"(?s)<script.*?</script>", "", browser(target).split("<body", 1)[1])
    elements = page(body)
    assert "kind-attention" in body
    assert not {"img", "script", "style", "iframe"} & {tag for tag, _ in elements.tags}
    for tag, attributes in elements.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)


def test_a_script_that_is_not_ours_does_not_run(everything, browser, tmp_path):
    """Even if a text did become markup: the policy allows one script, by its hash."""
    target = tmp_path / "page.html"
    document = html.build(everything("a"))
    target.write_text(document.replace("</body>", f"<script>{SHOUT}</script></body>"), encoding="utf-8")
    assert "<title>a</title>" in browser(target)
    target.write_text(
        document.replace("Content-Security-Policy", "x").replace(
            "</body>", f"<script>setTimeout(() => {{{SHOUT}}}, 500)</script></body>"
        ),
        encoding="utf-8",
    )
    assert "<title>BROKEN OUT</title>" in browser(target)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_section_is_drawn(everything, browser, tmp_path, language):
    target = html.write(everything("词 word"), tmp_path / "page.html")
    shown = browser(target, f"lang={language}&theme=dark", width=400)
    body = re.sub(r"(?s)<script.*?</script>", "", shown)
    for kind in (
        "text",
        "note",
        "chapter",
        "numbers",
        "table",
        "curves",
        "bars",
        "samples",
        "attention",
        "lens",
        "saliency",
    ):
        assert f"kind-{kind}" in body, kind
    assert "note bad" not in body  # a figure that failed says so
    assert ("权重不等于重要性" in body) == (language == "zh")
    assert ("A weight is not importance" in body) == (language == "en")
    assert '<path class="line c0"' in body


def test_a_table_shows_the_digits_that_were_measured(browser, tmp_path):
    """A column's numbers have as many as the longest of them needs, three or four at most."""
    table = Table(columns=["a", "b", "c"], rows=[[43.4, 3.5, 1 / 3], [17.4, 4.22, 2 / 3]])
    body = browser(html.write(Report(title="t", sections=[table]), tmp_path / "page.html"))
    cells = re.findall(r'<td class="number"[^>]*>(?:<[^>]*>)*([\d.]+)', body)
    assert cells == ["43.4", "3.50", "0.333", "17.4", "4.22", "0.667"]


def test_nothing_is_fetched(everything, page):
    found = page(html.build(everything("a")))
    for _, attributes in found.tags:
        assert not {"src", "href", "srcset", "action", "data"} & set(attributes)
    for name in [*html.SCRIPTS, "page.css"]:
        text = (resources.files("regard") / "report" / name).read_text(encoding="utf-8")
        text = text.replace('"http://www.w3.org/2000/svg"', "")  # the name of a vocabulary, not an address
        assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|fetch\(|XMLHttpRequest|WebSocket|import\(", text), name
        assert not re.search(
            r"innerHTML|outerHTML\s*=|insertAdjacentHTML|document\.write|\beval\(|new Function", text
        ), name


def test_the_policy_allows_only_what_is_in_the_page(everything, page):
    found = page(html.build(everything("a")))
    policy = next(attrs["content"] for _, attrs in found.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy

    def allowed(tag: str) -> str:
        text = [found.texts[i] for i, (name, attrs) in enumerate(found.tags) if name == tag and "id" not in attrs][-1]
        return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    assert f"script-src '{allowed('script')}'" in policy
    assert f"style-src '{allowed('style')}'" in policy


def test_both_languages_are_in_the_page_whichever_is_spoken(page):
    report = Report(title=message("report.page.print"), sections=[Text(paragraphs=[message("report.page.contents")])])
    found = []
    for language in LANGUAGES:
        set_language(language)
        try:
            found.append(page(html.build(report)).data)
        finally:
            set_language(None)
    assert [each.pop("language") for each in found] == list(LANGUAGES)
    assert found[0] == found[1]
    assert found[0]["title"] == {"en": "Print", "zh": "打印"}
    for name, said in found[0]["words"].items():
        assert set(said) == set(LANGUAGES) and all(said.values()), name


def test_every_word_that_the_scripts_use_is_there_and_used(page):
    words = page(html.build(Report(title="", sections=[]))).data["words"]
    scripts = "".join(
        (resources.files("regard") / "report" / name).read_text(encoding="utf-8") for name in html.SCRIPTS
    )
    used = set(re.findall(r'word\("(\w+)"[,)]', scripts)) | {"given", "made", "expected"}
    used |= {f"theme_{theme}" for theme in ("auto", "light", "dark")}
    assert used == set(words)


def unpacked(packed) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["f32"]), dtype="<f4").reshape(packed["shape"])


def test_arrays_arrive_bit_for_bit(page):
    values = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    values[1, 2] = np.inf
    head = Head(layer=2, head=1, weights=values, effect=0.125)
    attention = Attention(queries=list("abc"), keys=list("vwxyz"), heads=[head])
    curves = Curves(curves=[Curve(name="a", x=[1, 2], y=[0.1, float("nan")])])
    found = page(html.build(Report(title="", sections=[attention, curves]))).data["sections"]
    arrived = unpacked(found[0]["heads"][0]["weights"])
    assert np.isnan(arrived[1, 2])
    values[1, 2] = np.nan
    np.testing.assert_array_equal(arrived, values)
    assert found[0]["heads"][0]["effect"] == {"n": 0.125, "whole": False}
    np.testing.assert_array_equal(unpacked(found[1]["curves"][0]["y"]), np.array([0.1, np.nan], dtype=np.float32))


@pytest.mark.parametrize(
    "section",
    [
        Table(columns=["a", "b"], rows=[["c"]]),
        Curves(curves=[Curve(name="a", x=[1, 2], y=[1])]),
        Attention(queries=["a"], keys=["b", "c"], heads=[Head(layer=0, head=0, weights=np.ones((2, 1)))]),
        Lens(tokens=["a"], layers=["x", "y"], best=[[["b"]]], probabilities=np.ones((1, 1, 1))),
        Saliency(tokens=["a", "b"], methods=[Method(name="m", values=[1.0])]),
    ],
)
def test_what_does_not_fit_together_is_refused(section):
    with pytest.raises(ValueError, match=r"."):
        html.build(Report(title="", sections=[section]))


def test_a_page_is_written_whole_or_not_at_all(tmp_path, everything):
    target = tmp_path / "deep" / "page.html"
    html.write(everything("first"), target)
    before = target.read_bytes()
    with pytest.raises(ValueError, match="cells"):
        html.write(Report(title="", sections=[Table(columns=["a"], rows=[[]])]), target)
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == ["page.html"]


def test_an_empty_report_is_a_page(page):
    assert page(html.build(Report(title="t", sections=[]))).data["sections"] == []
