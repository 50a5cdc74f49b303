"""The process in which a chat template out of a file is rendered: `python sandbox.py SECONDS`, JSON in and out by line.

    {"source": "…"}                        compile; first, and once
    {"messages": […], "names": {…}}        render

Says {"started": true} when it is there, and answers {"ready": true}, {"text": "…"} or {"fault": kind, "why": "…"}. It
imports nothing of ours, so that it starts at once. Jinja's own sandbox keeps a template from Python's insides; this
adds what it leaves open: which filters, methods and names there are, how long a text may grow, how many turns loops may
make; and, where the system has them, limits on memory and processor that no oversight above can pass: SECONDS for
compiling, and for each rendering, of the processor's time, since on a busy machine a clock would end honest templates.
Whoever started it ends it where no answer comes.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

LONGEST = 1 << 20  # characters of any text that a template makes
TURNS = 100_000  # of all loops, and calls of all macros
MEMORY = 48 << 20  # bytes more than at the start
LARGEST = 1 << 64

FILTERS = frozenset({
    "abs", "capitalize", "count", "d", "default", "dictsort", "escape", "e", "first", "float", "groupby", "int",
    "items", "join", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace",
    "reverse", "round", "safe", "select", "selectattr", "sort", "string", "striptags", "sum", "title", "tojson",
    "trim", "unique", "upper",
})  # fmt: skip
TEXT_METHODS = frozenset({
    "capitalize", "casefold", "count", "endswith", "find", "index", "isalnum", "isalpha", "isascii", "isdecimal",
    "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "lower", "lstrip", "partition",
    "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit", "rstrip", "split",
    "splitlines", "startswith", "strip", "swapcase", "title", "upper",
})  # fmt: skip
METHODS: dict[type, frozenset[str]] = {
    str: TEXT_METHODS,
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
}


class Stopped(Exception):
    """The template refuses its messages in its author's words (`raise_exception`)."""


class TooMuch(SecurityError):
    """A text too long, a number too large, too many turns."""


class Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, narrowed to what chat templates use."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=["jinja2.ext.loopcontrols", Generation]
        )
        self.turns = TURNS
        self.filters = {name: self._bounded(call) for name, call in self.filters.items() if name in FILTERS}
        self.filters["replace"] = replaced
        self.filters["tojson"] = to_json
        self.globals = {"range": bounded_range, "namespace": self.globals["namespace"], "raise_exception": stop}
        self.globals["strftime_now"] = today

    def tick(self, *_: Any) -> str:
        """Counts a turn of a loop or a call of a macro."""
        self.turns -= 1
        if self.turns < 0:
            raise TooMuch(f"more than {TURNS} turns of its loops")
        return ""

    def joined(self, *parts: Any) -> str:
        """The operator ~."""
        return short("".join(map(str, parts)))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if not super().is_safe_attribute(obj, attr, value) or attr.startswith("_"):
            return False
        for kind, names in METHODS.items():
            if isinstance(obj, kind):
                return attr in names
        return type(obj).__module__.startswith("jinja2.")

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self.unsafe_undefined(obj, attribute) if attribute.startswith("_") else super().getattr(obj, attribute)

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        """Refused at once; Jinja itself would print nothing and go on."""
        raise SecurityError(f"the attribute {attribute[:40]!r} of a {type(obj).__name__} is unsafe")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        numbers = isinstance(left, int | float) and isinstance(right, int | float)
        if operator == "+" and not numbers:
            if type(left) is not type(right) and not (isinstance(left, str) and isinstance(right, str)):
                raise TypeError(f"+ between {type(left).__name__} and {type(right).__name__}")
            if isinstance(left, str | list | tuple) and len(left) + len(right) > LONGEST:  # pyright: ignore
                raise TooMuch("a text or list too long")
            return left + right  # pyright: ignore
        if operator == "*" and isinstance(left, str | list | tuple) != isinstance(right, str | list | tuple):
            many, times = (left, right) if isinstance(right, int) else (right, left)
            if not isinstance(times, int) or len(many) * max(times, 0) > LONGEST:  # pyright: ignore
                raise TooMuch("a text or list too long")
            return many * times
        if not numbers:
            raise SecurityError(f"{operator} of what are no numbers")
        if operator == "**" and (abs(left) > 1024 or abs(right) > 16):
            raise TooMuch("a number too large")
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int) and abs(result) > LARGEST:
            raise TooMuch("a number too large")
        return result

    def call(self, context: Any, function: Any, *arguments: Any, **named: Any) -> Any:  # type: ignore[override]
        owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
        if isinstance(owner, str) and name == "replace":
            return replaced(owner, *arguments, **named)
        if isinstance(owner, str) and name == "join":
            return joined_by(owner, *arguments)
        self.tick()
        result = super().call(context, function, *arguments, **named)
        return short(result) if isinstance(result, str) else result

    def _bounded(self, call: Any) -> Any:
        def bounded(*arguments: Any, **named: Any) -> Any:
            self.tick()
            result = call(*arguments, **named)
            return short(result) if isinstance(result, str) else result

        # Jinja marks the filters that want their surroundings by an attribute.
        bounded.__dict__.update(getattr(call, "__dict__", {}))
        return bounded


class Generation(Extension):
    """{% generation %} … {% endgeneration %}, with which some templates mark what the model is to learn: as it is."""

    tags = {"generation"}  # noqa: RUF012, as Jinja has it

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Budget(NodeTransformer):
    """Counts the turns of loops, and gives ~ the bound that other operators have."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        tick = nodes.ExprStmt(nodes.Call(nodes.EnvironmentAttribute("tick"), [], [], None, None))
        node.body = [tick.set_lineno(node.lineno), *node.body]
        return self.generic_visit(node)  # type: ignore[return-value]

    def visit_Concat(self, node: nodes.Concat) -> nodes.Call:
        self.generic_visit(node)
        call = nodes.Call(nodes.EnvironmentAttribute("joined"), list(node.nodes), [], None, None)
        return call.set_lineno(node.lineno)  # type: ignore[return-value]


def short(text: str) -> str:
    if len(text) > LONGEST:
        raise TooMuch("a text too long")
    return text


def bounded_range(*arguments: int) -> range:
    found = range(*arguments)
    if len(found) > TURNS:
        raise TooMuch(f"more than {TURNS} turns of its loops")
    return found


def replaced(text: Any, old: Any, new: Any, count: int = -1, **_: Any) -> str:
    text, old, new = str(text), str(old), str(new)
    times = text.count(old) if count is None or count < 0 else min(text.count(old), count)
    if len(text) + times * (len(new) - len(old)) > LONGEST:
        raise TooMuch("a text too long")
    return text.replace(old, new, times)


def joined_by(between: str, parts: Any) -> str:
    parts = list(parts)
    if sum(len(part) for part in parts) + len(between) * len(parts) > LONGEST:
        raise TooMuch("a text too long")
    return between.join(parts)


def to_json(value: Any, ensure_ascii: bool = False, indent: Any = None, **named: Any) -> str:
    """As transformers' templates have it: not made safe for HTML. An indent is a few spaces."""
    if indent is not None and not (type(indent) is int and 0 <= indent <= 16):
        raise TooMuch("an indent of more than 16")
    known = {key: named[key] for key in ("separators", "sort_keys") if key in named}
    return short(json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **known))


def today(form: str) -> str:
    """The date as some templates write it into their first message."""
    if not isinstance(form, str) or len(form) > 40:
        raise TooMuch("a date of more than 40 characters")
    return time.strftime(form)


def stop(message: Any) -> None:
    raise Stopped(str(message)[:500])


def fault(error: BaseException) -> dict[str, str]:
    """What to tell of an error: its kind, and a reason that shows no address."""
    kinds: list[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = [
        (Stopped, "stopped"),
        ((TooMuch, MemoryError, RecursionError, OverflowError), "too_much"),
        (SecurityError, "unsafe"),
        (TemplateError, "broken"),
    ]
    kind = next((name for types, name in kinds if isinstance(error, types)), "broken")
    # Jinja's own word for what its sandbox keeps out is that it is undefined, or that the environment is unsafe.
    kind = "unsafe" if kind == "broken" and "unsafe" in str(error) else kind
    reason = str(error) if isinstance(error, Stopped | TooMuch | TemplateError) else type(error).__name__
    return {"fault": kind, "why": reason[:500]}


def limit(seconds: float) -> None:
    """So much more memory and so much time of the processor; not on Windows, where the bounds above stand alone."""
    if sys.platform == "win32":
        return
    import resource

    signal.setitimer(signal.ITIMER_PROF, seconds)  # nothing handles its signal, which ends the process
    used = resource.getrusage(resource.RUSAGE_SELF)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            space = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (space + MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
        spent = int(used.ru_utime + used.ru_stime + seconds) + 2  # in whole seconds, behind the timer
        resource.setrlimit(resource.RLIMIT_CPU, (spent, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    except (OSError, ValueError):  # no /proc; a hard limit that is already lower
        pass


def answers(environment: Environment, template: Any, request: dict[str, Any]) -> dict[str, Any]:
    environment.turns = TURNS
    parts, size = [], 0
    for part in template.generate(messages=request["messages"], **request["names"]):
        size += len(part)
        if size > LONGEST:
            raise TooMuch("a text too long")
        parts.append(part)
    return {"text": "".join(parts)}


def say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is meant for who started this
    seconds = float(sys.argv[1])
    requests = (json.loads(line) for line in sys.stdin)
    environment = Environment()
    environment.from_string("{{ 1 }}{% for a in [1] %}{{ a }}{% endfor %}").render()  # whatever is imported late
    say({"started": True})
    source = next(requests)["source"]
    sys.setrecursionlimit(600)
    template = None
    while True:
        try:
            limit(seconds)
            if template is None:
                template = environment.from_string(_Budget().visit(environment.parse(source)))
                answer: dict[str, Any] = {"ready": True}
            else:
                request = next(requests, None)
                if request is None:
                    return
                limit(seconds)
                answer = answers(environment, template, request)
        except Exception as error:
            answer = fault(error)
        say(answer)
        if template is None:
            return


if __name__ == "__main__":
    main()
