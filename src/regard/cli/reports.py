"""A report as a verb gives it out: on the terminal, and where it was asked for as a page and as a picture."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from regard.cli.command import notes
from regard.words import language

if TYPE_CHECKING:
    from rich.console import Console

    from regard.report.sections import Chapter, Curves, Report, Section


def write(report: Report, html: str | None, png: str | None) -> None:
    """The page and the picture, if they were asked for."""
    if html is not None:
        from regard.report import html as pages

        pages.write(report, html)
    if png is not None:
        from regard.report import png as pictures

        lacking = pictures.write(report, png)
        if lacking:
            notes().print(lacking, markup=False, soft_wrap=True)


def show(report: Report, screen: Console) -> None:
    """The report in a terminal: curves with axes; bars only repeat what the tables say and are left out."""
    from regard.report import terminal

    terminal.show(replace(report, sections=()), screen)
    for section in report.sections:
        _section(section, screen)


def _section(section: Chapter | Section, screen: Console) -> None:
    from regard.report import terminal
    from regard.report.sections import Bars, Chapter, Curves

    if isinstance(section, Bars):
        return
    screen.print()
    if isinstance(section, Chapter):
        screen.print(terminal.rendered(replace(section, sections=())))
        for each in section.sections:
            _section(each, screen)
    elif isinstance(section, Curves):
        _curves(section, screen)
    else:
        screen.print(terminal.rendered(section))


def _curves(section: Curves, screen: Console) -> None:
    from rich.text import Text

    from regard.report import plot
    from regard.report.sections import readable, spoken

    def said(label: object) -> str:
        return readable(str(spoken(label, language())))

    screen.print(Text(said(section.title), style="bold"))
    if section.y:
        screen.print(Text(said(section.y), style="dim"))
    curves = section.curves
    if len(curves) > 1:  # their bands would run through each other
        curves = [replace(one, low=None, high=None) for one in curves]
    screen.print(plot.chart(curves, width=min(screen.width, 100)))
    screen.print(Text(said(section.x), style="dim"))
    if len(section.curves) > 1:
        screen.print(plot.legend(section.curves, [said(one.name) for one in section.curves]))
    if section.note:
        screen.print(Text(said(section.note), style="dim"))
