"""Step 5: everything in one page, with what goes on inside two of the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regard.bundle import Bundle
from regard.errors import MissingPackage
from regard.explain import Explanation, explain
from regard.journey import data, poems, reviews, translation
from regard.journey.walk import Walk
from regard.report import html, png
from regard.report.sections import Chapter, Label, Note, Report, Section, Table, Text, message, visible
from regard.words import say


def work(walk: Walk, results: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Writes report.html, and report.png where matplotlib is installed; what was written."""
    stage = walk.stage("page", say("journey.page.looking"))
    inside: list[Section] = []
    for title, bundle, text in _questions(walk, results):
        inside += _inside(title, explain(bundle, text, progress=lambda done, of: walk.stop.poll()))
        stage.at()
    stage.at(say("journey.page.writing"))
    whole = report(walk, results, inside)
    html.write(whole, walk.folder.page)
    return {"page": walk.folder.page.as_posix(), "picture": _picture(walk, whole)}


def report(walk: Walk, results: Mapping[str, dict[str, Any]], inside: Sequence[Section]) -> Report:
    """The whole demo."""
    made = {
        "data": data.sections(results["data"]),
        "poems": poems.sections(results["poems"]),
        "reviews": reviews.sections(results["reviews"]),
        "translation": translation.sections(results["translation"]),
        "inside": list(inside),
    }
    chapters = [
        Chapter(title=message(f"journey.{name}.title"), about=message(f"journey.{name}.chapter"), sections=sections)
        for name, sections in made.items()
    ]
    facts: list[tuple[Label, Any]] = [
        (message("journey.page.plan"), message(f"journey.plan.{walk.plan.name}")),
        (message("journey.page.threads"), walk.machine.threads),
        (message("journey.page.device"), walk.machine.device),
    ]
    title, about = message("journey.page.report"), message("journey.page.about")
    return Report(title=title, about=about, facts=facts, sections=chapters)


def _questions(walk: Walk, results: Mapping[str, dict[str, Any]]) -> list[tuple[Label, Bundle, str]]:
    """What is asked of which model: the poem's next character, and why a held-out review is good or bad."""
    verse = results["poems"]["verses"][0].strip()
    begun = results["poems"]["prompt"] or verse[:2] or "明月"
    asked: list[tuple[Label, Bundle, str]] = [
        (message("journey.page.verse", text=visible(begun)), walk.bundle(poems.NAME), begun)
    ]
    if results["reviews"]["encoder"] is not None:
        review = results["reviews"]["examples"][0]
        asked.append((message("journey.page.review", text=visible(review)), walk.bundle(reviews.NAME), review))
    return asked


def _inside(title: Label, found: Explanation) -> list[Section]:
    answer = found.answers[0]
    said = message("explain.answer", answer=answer.answer, probability=f"{answer.probability:.4f}", rank=answer.rank)
    caution = Note(text=message("explain.page.not_importance"), kind="caution")
    return [Text(title=title, paragraphs=[said]), *found.saliency, found.lens, caution, *found.attention.values()]


def _picture(walk: Walk, whole: Report) -> str | None:
    """The figures as a picture, where there is matplotlib to draw them; the page has them all anyway."""
    try:
        png.write(whole, walk.folder.picture)
    except MissingPackage:
        return None
    return walk.folder.picture.as_posix()


def brief(found: dict[str, Any]) -> list[Section]:
    """For the screen: where everything is."""
    rows = [(message("journey.page.wrote"),), (f"  {found['page']}",)]
    if found["picture"]:
        rows += [(message("journey.page.drew"),), (f"  {found['picture']}",)]
    return [Table(columns=("",), rows=rows)]
