"""One HTML document that holds a whole report: opens from a file, offline, in Chinese and English, light and dark.

Nothing is fetched: style, script and numbers stand in the document, and its content policy allows only that one style
and that one script, by their hashes. What a user or a model wrote enters as JSON and reaches the page as text nodes
alone, so no text can become markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

from regard import words
from regard.report import figures
from regard.report.sections import Message, Report, message

SCRIPTS = ("page.js", "tables.js", "curves.js", "attention.js", "tokens.js")


def build(report: Report) -> str:
    """The document as one string."""
    style = _packaged("page.css")
    script = "\n".join(_packaged(name) for name in SCRIPTS)
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return _DOCUMENT.format(
        language={"en": "en", "zh": "zh-Hans"}[words.language()],
        policy=policy,
        style=style,
        script=script,
        data=_embedded(_document(report)),
        without_script=" ".join(_escaped(text) for text in figures.label(message("report.page.needs_script")).values()),
    )


def write(report: Report, path: str | Path) -> Path:
    """Write the document to `path`, whole or not at all."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=target.parent, prefix=target.name + ".", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(build(report))
        os.chmod(beside, 0o644)
        os.replace(beside, target)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return target


def _document(report: Report) -> dict[str, Any]:
    return {
        "language": words.language(),
        "title": figures.label(report.title),
        "about": figures.label(report.about),
        "facts": [[figures.label(name), figures.cell(value)] for name, value in report.facts],
        "sections": [figures.payload(section) for section in report.sections],
        "words": {short: figures.label(said) for short, said in _page_words().items()},
    }


def _embedded(value: Any) -> str:
    """JSON that cannot end its script element: <, > and & and the two line separators as escapes. A lone surrogate,
    which is no character and which UTF-8 cannot hold, is written out."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return re.sub("[\ud800-\udfff]", lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _packaged(name: str) -> str:
    # Newlines as the browser will read them: the hash in the policy is taken over the text after its normalisation.
    text = (resources.files("regard") / "report" / name).read_text(encoding="utf-8")
    return "\n" + text.replace("\r\n", "\n").replace("\r", "\n")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


_DOCUMENT = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="regard">
<title>regard</title>
<style>{style}</style>
</head>
<body>
<noscript>{without_script}</noscript>
<script type="application/json" id="report">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _page_words() -> dict[str, Message]:
    """The words of the page itself, by the short names that its scripts use."""
    return {
        "language": message("report.page.language"),
        "theme": message("report.page.theme"),
        "theme_auto": message("report.page.theme_auto"),
        "theme_light": message("report.page.theme_light"),
        "theme_dark": message("report.page.theme_dark"),
        "print": message("report.page.print"),
        "contents": message("report.page.contents"),
        "broken": message("report.page.broken", reason="<reason>"),
        "given": message("report.page.given"),
        "made": message("report.page.made"),
        "expected": message("report.page.expected"),
        "layer": message("report.page.layer", layer="<layer>"),
        "layer_head": message("report.page.layer_head", layer="<layer>", head="<head>"),
        "mean": message("report.page.mean", layer="<layer>"),
        "mean_about": message("report.page.mean_about"),
        "rollout": message("report.page.rollout"),
        "rollout_about": message("report.page.rollout_about"),
        "all_patterns": message("report.page.all_patterns"),
        "no_pattern": message("report.page.no_pattern"),
        "from": message("report.page.from"),
        "to": message("report.page.to"),
        "not_kept": message("report.page.not_kept"),
        "effect_none": message("report.page.effect_none"),
        "not_importance": message("report.page.not_importance"),
        "spread": message("report.page.spread"),
        "hint_map": message("report.page.hint_map"),
        "hint_chips": message("report.page.hint_chips"),
        "hint_lens": message("report.page.hint_lens"),
        "hint_curves": message("report.page.hint_curves"),
        "scale": message("report.page.scale"),
        "log_axis": message("report.page.log_axis"),
        "against": message("report.page.against"),
        "for": message("report.page.for"),
        "answer": message("report.page.answer"),
        "joined": message("report.page.joined"),
        "made_by": message("report.page.made_by"),
    }
