"""A conversation: what was said, put into the model's own chat template, answered token by token.

with Conversation(bundle, system="Answer in one sentence.") as talk:
    answer = talk.ask("What is the capital of France?", print)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.errors import RegardError
from regard.generate import generate
from regard.generate.settings import Settings
from regard.generate.text import Generated
from regard.inputs import chat

if TYPE_CHECKING:
    from regard.bundle import Bundle

Message = dict[str, str]


class Interrupted(Exception):
    """Raised by a caller's `show` to end an answer where it is; what was said so far is kept."""


@dataclass
class Conversation:
    """`messages` are {"role", "content"} in order. Where the context is too small for all of them, the oldest exchanges
    are left out of what the model reads, never the system's message; `forgotten` counts those. `cut`:
    the last answer is no longer because it may not be, or has no room.

    Raises BadFileError for a model without a chat template, RegardError for a message that alone is too long.
    """

    bundle: Bundle
    system: str | None = None
    settings: Settings = field(default_factory=lambda: Settings(max_tokens=512))
    messages: list[Message] = field(default_factory=list)
    forgotten: int = 0
    cut: bool = False

    def __post_init__(self) -> None:
        self._template = chat.load(self.bundle.folder or Path(), self.bundle.tokenizer)

    def ask(self, question: str, show: Callable[[str], Any] = lambda piece: None) -> str:
        """The answer to a question; both are kept. `show` is called with each piece of it."""
        self.messages.append({"role": "user", "content": question})
        said: list[str] = []
        self.cut = False

        def told(prompt: int, sample: int, piece: str) -> None:
            said.append(piece)
            show(piece)

        try:
            self.cut = self._write(told).reason in ("length", "context")
        except Interrupted:
            pass
        except BaseException:
            self.messages.pop()
            raise
        answer = "".join(said)
        self.messages.append({"role": "assistant", "content": answer})
        return answer

    def undo(self) -> bool:
        """Take back the last exchange; False where there was none."""
        if len(self.messages) < 2:
            return False
        del self.messages[-2:]
        return True

    def again(self) -> str | None:
        """Take back the last exchange, and draw otherwise from here on; its question, or None where there was none."""
        question = self.messages[-2]["content"] if len(self.messages) > 1 else None
        if self.undo():
            self.settings = replace(self.settings, seed=self.settings.seed + 1)
        return question

    def close(self) -> None:
        self._template.close()

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, told: Callable[[int, int, str], None]) -> Generated:
        tokens = self._tokens()
        return generate(self.bundle, [tokens], self.settings, told)[0]

    def _tokens(self) -> list[int]:
        """The conversation as tokens, without as many of the oldest exchanges as leave room for an answer."""
        room = self.bundle.context - min(self.settings.max_tokens, self.bundle.context // 2)
        begin = [{"role": "system", "content": self.system}] if self.system else []
        for first in range(0, len(self.messages), 2):
            parts = self._template.parts([*begin, *self.messages[first:]])
            tokens = self.bundle.tokenizer.encode_parts(parts)
            if len(tokens) <= room:
                self.forgotten = first // 2
                return tokens
        raise RegardError("generate.message_too_long", tokens=len(tokens), room=room)
