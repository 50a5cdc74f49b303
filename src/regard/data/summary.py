"""What a survey found, as lines for a terminal."""

from __future__ import annotations

from regard.data.check import EXAMPLES, Lengths, Odd, Truncation
from regard.data.content import visible
from regard.data.remarks import remarks
from regard.data.rewrite import Rewritten
from regard.data.survey import Pairs, Survey
from regard.words import language, say

_BLOCKS = " ▏▎▍▌▋▊▉█"
_WIDTH = 32
_LABELS = 20  # that are listed
_MARKS = {"bad": "✗", "caution": "!", "good": "✓"}


def summary(found: Survey) -> str:
    """The survey as text: every line a finding, examples by file:line, what to do about it at the end."""
    lines = [
        say("data.summary.rows", name=found.name, rows=f"{found.rows:,}", columns=", ".join(found.columns)),
        say("data.summary.fingerprint", fingerprint=found.fingerprint),
    ]
    for unit, measured in (("characters", found.characters), ("tokens", found.tokens)):
        for role, lengths in measured.items():
            lines += ["", *_lengths(role, unit, lengths)]
    for role, cut in found.truncation.items():
        lines.append(_truncation(role, cut))
    if found.labels:
        lines += ["", *_labels(found.labels)]
    lines += ["", *(_languages(role, languages) for role, languages in found.languages.items()), ""]
    lines += _unreadable(found)
    for reason, odd in found.dropped.items():
        lines += _odd(say(f"data.reason.{reason}"), odd)
    lines += _pairs(say("data.summary.near", likeness=f"{found.likeness:g}"), found.near)
    lines += _pairs(say("data.summary.near_conflicts"), found.near_conflicts)
    if found.shared is not None:
        lines += _odd(say("data.summary.shared"), found.shared)
    lines += _pairs(say("data.summary.near_shared"), found.near_shared or Pairs())
    for name, odd in found.odd.items():
        if name not in found.dropped:
            lines += _odd(say(f"data.odd.{name}"), odd)
    for kind, odd in found.personal.items():
        lines += _odd(say(f"data.kind.{kind}"), odd)
    said = [f"  {_MARKS[kind]} {sentence.spoken(language())}" for kind, sentence in remarks(found)]
    return "\n".join([*lines, *([""] if lines[-1] else []), say("data.summary.remarks"), *said])


def cleaned(found: Rewritten, removed: str | None) -> str:
    """What was written and what was left out, as text."""
    counts = {"kept": f"{found.kept:,}", "rows": f"{found.rows:,}", "dropped": f"{found.rows - found.kept:,}"}
    lines = [
        say("data.cleaned.wrote", out=found.out, **counts),
        say("data.cleaned.fingerprint", sha256=found.sha256),
    ]
    unreadable = Odd(count=found.unreadable.count, examples=found.unreadable.examples[:EXAMPLES])
    lines += _odd(say("data.cleaned.unreadable"), unreadable)
    for reason, odd in found.dropped.items():
        lines += _odd(say(f"data.reason.{reason}"), odd)
    if found.masked:
        kinds = ", ".join(f"{say(f'data.kind.{kind}')} {count:,}" for kind, count in found.masked.items())
        places = f"{sum(found.masked.values()):,}"
        lines.append(say("data.cleaned.masked", places=places, rows=f"{found.masked_rows:,}", kinds=kinds))
    if removed is not None:
        lines.append(say("data.cleaned.removed", where=removed))
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


def _languages(role: str, languages: dict[str, Odd]) -> str:
    total = sum(odd.count for odd in languages.values())
    named = [(say(f"data.language.{name.replace('-', '_')}"), odd.count) for name, odd in languages.items()]
    shown = " · ".join(f"{name} {count:,} ({count / total:.1%})" for name, count in named)
    return say("data.summary.languages", role=role, languages=shown)


def _unreadable(found: Survey) -> list[str]:
    unreadable = found.unreadable
    lines = _odd(say("data.summary.unreadable"), Odd(count=unreadable.count, examples=unreadable.examples))
    if unreadable.encodings:
        named = ", ".join(f"{name} {count:,}" for name, count in unreadable.encodings.items())
        lines.append(f"{'':>11}{say('data.summary.encodings', encodings=named)}")
    return lines


def _odd(what: str, odd: Odd) -> list[str]:
    if not odd.count:
        return []
    lines = [f"{odd.count:>9,}  {what}"]
    lines += [f"{'':>11}{where}  {snippet}" for where, snippet in odd.examples]
    if odd.count > len(odd.examples):
        lines.append(f"{'':>11}…")
    return lines


def _pairs(what: str, pairs: Pairs) -> list[str]:
    if not pairs.count:
        return []
    lines = [f"{pairs.count:>9,}  {what}"]
    for pair in pairs.examples:
        one, other = (f"[{visible(label)}] " for label in pair.labels) if pair.labels else ("", "")
        lines.append(f"{'':>11}{pair.where}  {one}{pair.text}")
        lines.append(f"{'':>11}  {pair.likeness:.0%}  {pair.of}  {other}{pair.of_text}")
    if pairs.count > len(pairs.examples):
        lines.append(f"{'':>11}…")
    return lines
