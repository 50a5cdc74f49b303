"""`regard import`: a named model, fetched once."""

from __future__ import annotations

from regard.cli.command import answer, argument, verb
from regard.words import say


@verb("import")
@argument("name")
def command(name: str) -> None:
    from regard import named
    from regard.errors import ConfigError
    from regard.words import nearest

    if name not in named.NAMES:
        near = nearest(name, named.NAMES) or "-"
        raise ConfigError("cli_import.unknown", name=name, known=", ".join(named.NAMES), near=near)
    one = named.NAMES[name]
    path = named.fetch(name)
    document = {"name": name, "about": one.about, "licence": one.licence, "path": str(path)}
    said = say("cli_import.done", name=name, about=one.about, licence=one.licence, path=path)
    answer(document, lambda screen: screen.print(said, markup=False, soft_wrap=True))
