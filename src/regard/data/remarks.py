"""What a reader of a survey should do about it: one sentence a finding, the gravest first."""

from __future__ import annotations

from typing import Literal

from regard.data.survey import Survey
from regard.report.sections import Message, message

Kind = Literal["bad", "caution", "good"]

_UNEVEN = 10  # the largest class to the smallest
_RARE = 0.02  # of the rows: a language of fewer is remarked on
_CUT = 0.01  # of the tokens


def remarks(found: Survey) -> list[tuple[Kind, Message]]:
    """`bad` makes a score or a model wrong, `caution` may; one `good` where there is nothing to say."""
    said = [*_bad(found), *_cautions(found)]
    return said or [("good", message("data.remark.good"))]


def _bad(found: Survey) -> list[tuple[Kind, Message]]:
    said: list[tuple[Kind, Message]] = []
    if found.unreadable.count:
        said.append(("bad", message("data.remark.unreadable", count=f"{found.unreadable.count:,}")))
    if found.shared and found.shared.count:
        said.append(("bad", message("data.remark.shared", count=f"{found.shared.count:,}")))
    if count := found.dropped["two_classes"].count:
        said.append(("bad", message("data.remark.two_classes", count=f"{count:,}")))
    if count := sum(found.dropped[reason].count for reason in ("empty", "damaged")):
        said.append(("bad", message("data.remark.damaged", count=f"{count:,}")))
    if garbled := found.odd.get("garbled"):
        said.append(("bad", message("data.remark.garbled", count=f"{garbled.count:,}")))
    return said


def _cautions(found: Survey) -> list[tuple[Kind, Message]]:
    said: list[tuple[Kind, Message]] = []
    if count := found.dropped["duplicate"].count:
        said.append(
            ("caution", message("data.remark.duplicate", count=f"{count:,}", share=f"{count / found.rows:.1%}"))
        )
    for name in ("near_shared", "near", "near_conflicts"):
        pairs = getattr(found, name)
        if pairs and pairs.count:
            said.append(("caution", message(f"data.remark.{name}", count=f"{pairs.count:,}")))
    if found.personal:
        counts = {"places": f"{sum(found.findings.values()):,}", "rows": f"{found.personal_rows:,}"}
        said.append(("caution", message("data.remark.personal", **counts)))
    for cut in found.truncation.values():
        if cut.share > _CUT:
            values = {"rows": f"{cut.rows:,}", "share": f"{cut.share:.1%}", "context": f"{cut.context:,}"}
            said.append(("caution", message("data.remark.truncation", **values)))
    if len(found.labels) > 1 and max(found.labels.values()) > _UNEVEN * min(found.labels.values()):
        times = max(found.labels.values()) / min(found.labels.values())
        said.append(("caution", message("data.remark.uneven", times=f"{times:,.0f}")))
    for languages in found.languages.values():
        named = {name: odd for name, odd in languages.items() if name not in ("none", "latin", "mixed", "zh")}
        rare = [odd.count for odd in named.values() if odd.count < _RARE * found.rows]
        if len(named) > 1 and sum(rare) > 1:
            said.append(("caution", message("data.remark.languages", count=f"{sum(rare):,}")))
    return said
