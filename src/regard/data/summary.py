"""What `check` found, as lines for a terminal."""

from __future__ import annotations

from regard.data.check import Lengths, Odd, Report, Truncation
from regard.data.content import visible
from regard.words import say

_BLOCKS = " ▏▎▍▌▋▊▉█"
_WIDTH = 32
_LABELS = 20  # that are listed


def summary(report: Report) -> str:
    """The report as text: every line a finding, examples by file:line."""
    lines = [
        say("data.summary.rows", name=report.name, rows=f"{report.rows:,}", columns=", ".join(report.columns)),
        say("data.summary.fingerprint", fingerprint=report.fingerprint),
    ]
    for unit, measured in (("characters", report.characters), ("tokens", report.tokens)):
        for role, found in measured.items():
            lines += ["", *_lengths(role, unit, found)]
    for role, cut in report.truncation.items():
        lines.append(_truncation(role, cut))
    if report.labels:
        lines += ["", *_labels(report.labels)]
    lines.append("")
    for reason, odd in report.dropped.items():
        lines += _odd(say(f"data.reason.{reason}"), odd)
    if report.shared is not None:
        lines += _odd(say("data.summary.shared"), report.shared)
    for name, odd in report.odd.items():
        if name not in report.dropped:
            lines += _odd(say(f"data.odd.{name}"), odd)
    if not any(odd.count for odd in (*report.dropped.values(), *report.odd.values())):
        lines.append(say("data.summary.clean"))
    return "\n".join(lines)


def bar(share: float, width: int = _WIDTH) -> str:
    """A bar of `share` of `width` cells, in eighths of a cell."""
    whole, eighth = divmod(round(max(0.0, min(share, 1.0)) * width * 8), 8)
    return "█" * whole + (_BLOCKS[eighth] if eighth else "")


def _lengths(role: str, unit: str, found: Lengths) -> list[str]:
    lines = [
        say(
            "data.summary.lengths",
            role=role,
            unit=say(f"data.unit.{unit}"),
            total=f"{found.total:,}",
            mean=f"{found.mean:.1f}",
            least=f"{found.least:,}",
            most=f"{found.most:,}",
        ),
        "  " + "  ".join(f"{point} %: {value:,.0f}" for point, value in found.percentiles.items()),
    ]
    tallest = max(found.counts)
    for index, count in enumerate(found.counts):
        last = index + 1 == len(found.counts)
        upper = found.most if last else found.edges[index + 1] - 1
        lines.append(f"  {found.edges[index]:>9,} – {upper:<9,} {bar(count / tallest)} {count:,}")
    return lines


def _truncation(role: str, cut: Truncation) -> str:
    return say(
        "data.summary.truncation",
        role=role,
        context=f"{cut.context:,}",
        rows=f"{cut.rows:,}",
        tokens=f"{cut.tokens:,}",
        share=f"{cut.share:.1%}",
    )


def _labels(labels: dict[str, int]) -> list[str]:
    total, largest = sum(labels.values()), max(labels.values())
    lines = [say("data.summary.labels", count=f"{len(labels):,}", share=f"{largest / total:.1%}")]
    for label, count in list(labels.items())[:_LABELS]:
        lines.append(f"  {visible(label)[:24]:<24} {bar(count / largest)} {count:,}")
    if len(labels) > _LABELS:
        lines.append(say("data.summary.more_labels", count=f"{len(labels) - _LABELS:,}"))
    return lines


def _odd(what: str, odd: Odd) -> list[str]:
    if not odd.count:
        return []
    lines = [f"{odd.count:>9,}  {what}"]
    lines += [f"{'':>11}{where}  {snippet}" for where, snippet in odd.examples]
    if odd.count > len(odd.examples):
        lines.append(f"{'':>11}…")
    return lines
