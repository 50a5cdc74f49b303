"""Chat templates out of a model's folder, rendered where they can do no harm.

    with chat.load(folder, tokenizer) as template:
        ids = tokenizer.encode_parts(template.parts([{"role": "user", "content": "你好"}]))

A template is a program (Jinja) that came with a file. It runs in a process of its own (inputs/sandbox.py), which holds
nothing worth stealing, is bounded in memory, and ends when it has taken a second of the processor. Only the folder
gives a template, and only the caller of `render` names what it is told: nothing in a message can replace either.
Control tokens are what the template writes: one that is merely spelled in a message is text, and reaches the model as
text.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard import limits
from regard.errors import BadFileError, ConfigError, RegardError, need

if TYPE_CHECKING:
    from regard.inputs.tokenizer import Tokenizer

FILE = "chat_template.jinja"
LARGEST = 256 << 10
SECONDS = 1.0  # of the processor, for compiling, and for one rendering
WAITING = 30.0  # for either, by the clock: a busy machine may take so long for its own second
STARTING = 30.0  # until the process is there: what a busy machine may take for it
MOST_MESSAGES = 8 << 20  # characters of the messages as JSON

Message = Mapping[str, Any]
_OPEN, _CLOSE = "\ue000", "\ue001"  # private characters, around the number of what stood there


def load(folder: str | os.PathLike[str], tokenizer: Tokenizer) -> Chat:
    """The template of a model folder: chat_template.jinja, or the setting chat_template of its tokenizer."""
    path = Path(folder)
    names = {f"{role}_token": name for role, name in tokenizer.roles.items()}
    if (path / FILE).is_file():
        file = limits.member(path, FILE)
        source = limits.read_text(file, most=LARGEST)
        return Chat(source, where=str(file), names=names, controls=tokenizer.spelled)
    where, told = str(path / "tokenizer_config.json"), tokenizer.settings.get("chat_template")
    if isinstance(told, list | tuple):  # several, by name; "default" is the one for talking
        named = {one.get("name"): one.get("template") for one in told if isinstance(one, Mapping)}
        told = named.get("default")
    if told is None:
        raise BadFileError("inputs.chat.none", folder=str(path), file=FILE)
    if not isinstance(told, str):
        raise BadFileError("inputs.chat.broken", where=where, why="chat_template")
    return Chat(told, where=where, names=names, controls=tokenizer.spelled)


class Chat:
    """One template, compiled in a process that lives until `close`, the end of a `with`, or a rendering that takes too
    long; after that, the next rendering starts another.

    `where` is what errors call the template; `names` are what it may use besides messages: bos_token, eos_token, …;
    `controls` are the spellings of control tokens, which mean nothing in a message.
    """

    def __init__(
        self, source: str, *, where: str, names: Mapping[str, str] | None = None, controls: Sequence[str] = ()
    ) -> None:
        if len(source) > LARGEST:
            raise BadFileError("limits.too_large", where=where, most=f"{LARGEST >> 10} KiB")
        need("jinja2", extra="chat")
        self._source, self._where, self._names = source, where, dict(names or {})
        self._controls = sorted({_OPEN, *controls}, key=len, reverse=True)
        self._spelled = re.compile("|".join(map(re.escape, self._controls)))
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._turn = threading.Lock()
        with self._turn:
            self._start()

    def render(
        self, messages: Sequence[Message], *, answer: bool = True, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> str:
        """The text of a conversation; with `answer`, up to where the model is to go on.

        A message is {"role": …, "content": …}. Raises BadFileError if the template is broken, unsafe or takes too
        much; RegardError if it refuses these messages, in its own words.
        """
        return "".join(text for text, _ in self.parts(messages, answer=answer, tools=tools))

    def parts(
        self, messages: Sequence[Message], *, answer: bool = True, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> list[tuple[str, bool]]:
        """As `render`, in parts: (text, whether a control token spelled in it is meant), for `encode_parts`."""
        told = None if tools is None else self._hidden(list(tools))
        names = {**self._names, "add_generation_prompt": answer, "tools": told}
        line = _request(self._hidden(list(messages)), names)
        with self._turn:
            if self._process is None:
                self._start()
            found = self._ask(line, WAITING)
        if "text" not in found:
            raise self._fault(found)
        return self._shown(str(found["text"]))

    def _hidden(self, value: Any, depth: int = limits.DEPTH) -> Any:
        """The messages with each control token that they spell replaced by its number between private characters."""
        if depth < 0:
            raise ConfigError("inputs.chat.message", place=1)
        if isinstance(value, str):
            return self._spelled.sub(lambda found: f"{_OPEN}{self._controls.index(found[0])}{_CLOSE}", value)
        if isinstance(value, Mapping):
            return {key: self._hidden(each, depth - 1) for key, each in value.items()}
        return [self._hidden(each, depth - 1) for each in value] if isinstance(value, list | tuple) else value

    def _shown(self, text: str) -> list[tuple[str, bool]]:
        pieces = re.split(f"{_OPEN}([0-9]{{1,7}}){_CLOSE}", text)
        shown = [(piece, True) for piece in pieces]
        for place in range(1, len(pieces), 2):
            number = int(pieces[place])
            shown[place] = (self._controls[number] if number < len(self._controls) else "", False)
        return [one for one in shown if one[0]]

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):  # what was not yet written to it
                        pipe.close()

    def __enter__(self) -> Chat:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_process", None) is not None:
            self.close()

    def _start(self) -> None:
        script = Path(__file__).with_name("sandbox.py")
        # Neither the folder it is started from nor the user's own packages are looked through for modules.
        self._process = process = subprocess.Popen(
            [sys.executable, "-I", str(script), str(SECONDS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, encoding="utf-8",
        )  # fmt: skip
        self._answers = answers = queue.SimpleQueue()
        threading.Thread(target=_listen, args=(process, answers), daemon=True).start()
        found = self._wait(STARTING)
        if "started" in found:
            found = self._ask(json.dumps({"source": self._source}), WAITING)
        if "ready" not in found:
            self.close()
            raise self._fault(found)

    def _ask(self, line: str, seconds: float) -> dict[str, Any]:
        """Send a line, wait for one."""
        assert self._process is not None and self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended: so says the answer
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        return self._wait(seconds)

    def _wait(self, seconds: float) -> dict[str, Any]:
        """The next answer; a process that does not give it in time is ended."""
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            self.close()
            return {"fault": "too_much", "why": f"{seconds:g} s"}
        if not answer:  # ended by the system for what it took
            self.close()
            return {"fault": "too_much", "why": f"{SECONDS:g} s"}
        return json.loads(answer)

    def _fault(self, found: Mapping[str, Any]) -> RegardError:
        kind, why = str(found.get("fault")), str(found.get("why"))
        if kind == "stopped":
            return RegardError("inputs.chat.stopped", where=self._where, why=why)
        if kind == "too_much":
            return BadFileError("inputs.chat.too_much", where=self._where, why=why)
        if kind == "unsafe":
            return BadFileError("inputs.chat.unsafe", where=self._where, why=why)
        return BadFileError("inputs.chat.broken", where=self._where, why=why)


def _listen(process: subprocess.Popen[str], answers: queue.SimpleQueue[str]) -> None:
    assert process.stdout is not None
    with contextlib.suppress(ValueError, OSError):  # closed while waiting
        for line in process.stdout:
            answers.put(line)
    answers.put("")


def _request(messages: Sequence[Message], names: Mapping[str, Any]) -> str:
    for place, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ConfigError("inputs.chat.message", place=place + 1)
    try:
        line = json.dumps({"messages": [dict(message) for message in messages], "names": names}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError("inputs.chat.message", place=len(messages)) from error
    if len(line) > MOST_MESSAGES:
        raise ConfigError("inputs.chat.long", most=MOST_MESSAGES)
    return line
