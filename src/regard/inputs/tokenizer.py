"""Text to token numbers and back: trained here, or loaded from a Hugging Face folder.

    tokenizer = Tokenizer.train("bpe", texts, vocab=8000)
    ids = tokenizer.encode("今天天气很好")            # bos ... eos, or [CLS] ... [SEP]
    assert tokenizer.decode(ids) == "今天天气很好"

What holds for all of them: there is one way from text to numbers; a special token that is merely spelled in a text is
text; `pad` is a number of its own; nothing is cut unless `context` says so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tokenizers

from regard.errors import BadFileError, ConfigError, RegardError
from regard.inputs import reading, segment, surface, training, writing
from regard.inputs.surface import StreamDecoder
from regard.inputs.template import Template

Kind = Literal["bpe", "wordpiece", "unigram", "characters", "bytes"]
KINDS: tuple[Kind, ...] = ("bpe", "wordpiece", "unigram", "characters", "bytes")
ROLES = ("pad", "bos", "eos", "unk", "mask", "cls", "sep")


class Tokenizer:
    """A vocabulary, the rule that cuts text into it, and the special tokens by their role.

    `pad`, `bos`, `eos`, `unk`, `mask`, `cls`, `sep` are token numbers, or None where the tokenizer has no such token;
    two roles may share one token (bos and cls), but `pad` always has its own. `size` counts every number including the
    pad token that loading adds where there was none; a model whose table is that one row shorter is right, for nothing
    that is encoded holds `pad`.
    """

    pad: int
    bos: int | None
    eos: int | None
    unk: int | None
    mask: int | None
    cls: int | None
    sep: int | None

    def __init__(
        self, rust: tokenizers.Tokenizer, roles: Mapping[str, str], *, settings: Mapping[str, Any] | None = None
    ) -> None:
        """`roles`: role to spelling; `settings`: what tokenizer_config.json says besides. Made by `train` or `load`."""
        self.roles = reading.with_own_pad(rust, roles)
        self.settings = dict(settings or {})
        self._rust = reading.prepared(rust)
        for role in ROLES:
            setattr(self, role, rust.token_to_id(self.roles[role]) if role in self.roles else None)
        added = rust.get_added_tokens_decoder()
        self.specials = frozenset(number for number, token in added.items() if token.special)
        self.size = max(rust.get_vocab(with_added_tokens=True).values()) + 1
        self.template = reading.whole_template(rust, self.settings, self.bos, self.eos)
        self._surface = surface.of(rust)
        self._marked: tokenizers.Tokenizer | None = None

    @classmethod
    def train(
        cls, kind: Kind, texts: Iterable[str], vocab: int, *, specials: Mapping[str, str] | None = None
    ) -> Tokenizer:
        """Train on texts; at most `vocab` tokens, all included. The same texts give the same tokenizer.

        `specials` maps roles (ROLES) to spellings and replaces the usual ones of the kind. Everything but a WordPiece
        turns any text into numbers and back unchanged: what the training never saw is written in bytes.
        """
        if kind not in KINDS:
            raise ConfigError("inputs.unknown_kind", kind=kind, known=", ".join(KINDS))
        rust, roles = training.train(kind, texts, vocab, specials)
        return cls(rust, roles)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read a folder (tokenizer.json; or vocab.txt; or vocab.json and merges.txt), or one of these files."""
        rust, roles, settings = reading.load(Path(path))
        return cls(rust, roles, settings=settings)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json, which AutoTokenizer reads."""
        writing.save(self._rust, self.roles, self.settings, self.template, Path(folder))

    def encode(
        self, text: str, pair: str | None = None, *, special: bool = True, context: int | None = None
    ) -> list[int]:
        """Token numbers of a text, or of two; with `special`, in the tokenizer's template (bos, eos or [CLS], [SEP]).

        `context` cuts the end so that all of it fits, of a pair the end of the longer one.
        """
        return self.encode_typed(text, pair, special=special, context=context)[0]

    def encode_typed(
        self, text: str, pair: str | None = None, *, special: bool = True, context: int | None = None
    ) -> tuple[list[int], list[int]]:
        """As `encode`, and which of the two texts each token belongs to (0 or 1)."""
        first, second = self._content(text), None if pair is None else self._content(pair)
        template = self.template if special else Template()
        return template.fill(first, second, context)

    def encode_marked(self, text: str) -> list[int]:
        """A text in which special tokens are meant where they are spelled: what a chat template writes.

        The template adds only what is not there yet: bos is never doubled.
        """
        return self.template.complete(_encoded(self._meant(), text).ids)

    def encode_parts(self, parts: Iterable[tuple[str, bool]]) -> list[int]:
        """Texts one after another, in some of which special tokens are meant where they are spelled: a conversation as
        `Chat.parts` gives it. What the template demands before a text comes first, if it is not there; nothing after.
        """
        ids: list[int] = []
        for text, meant in parts:
            ids += _encoded(self._meant(), text).ids if meant else self._content(text)
        begun = tuple(ids[: len(self.template.before)]) == self.template.before
        return [*(() if begun else self.template.before), *ids]

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """The text of token numbers, special tokens left out or, with `special`, spelled.

        Bytes that make no character, as a model may write them, show as `<0xE6>`.
        """
        stream = StreamDecoder(self._surface, self._spelling(), special=special)
        return "".join([stream.feed(number) for number in ids]) + stream.flush()

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """What each token stands for, one string a token; a character spread over tokens stands whole at its first."""
        return surface.pieces(self._surface, self._spelling(), ids)

    def words(self, ids: Sequence[int]) -> list[int | None]:
        """The number of the word that each token belongs to, for masking whole words; None at special tokens.

        Words are runs of letters and digits, Chinese words as jieba finds them, and each other mark by itself; a token
        that reaches over several words makes them one.
        """
        return segment.words(self._surface, self._spelling(), ids)

    def stream(self) -> StreamDecoder:
        """Decodes tokens one at a time: `feed(id)` returns the text that is complete by now, `flush()` the rest."""
        return StreamDecoder(self._surface, self._spelling(), special=False)

    @property
    def kind(self) -> str:
        """Which of KINDS this is, by its files."""
        return surface.kind(self._rust)

    @property
    def lossless(self) -> bool:
        """Whether every text comes back unchanged: so by construction for those trained here, but for a WordPiece."""
        return surface.lossless(self._rust)

    def document(self) -> dict[str, Any]:
        """What tokenizer.json says, as a value."""
        return json.loads(self._rust.to_str())

    @property
    def spelled(self) -> tuple[str, ...]:
        """How the special tokens are spelled."""
        return tuple(str(self._rust.id_to_token(number)) for number in sorted(self.specials))

    def _meant(self) -> tokenizers.Tokenizer:
        """The same vocabulary, by which special tokens are meant where they are spelled."""
        if self._marked is None:
            self._marked = reading.prepared(tokenizers.Tokenizer.from_str(self._rust.to_str()))
            self._marked.encode_special_tokens = False
        return self._marked

    def _spelling(self) -> surface.Spelling:
        return surface.Spelling(self._rust.id_to_token, self.specials, self.size)

    def _content(self, text: str) -> list[int]:
        encoding = _encoded(self._rust, text)
        controls = self.specials - {self.unk}
        if controls.isdisjoint(encoding.ids):
            return encoding.ids
        # A vocabulary may hold its special tokens as ordinary pieces (XLM-R has </s>): then spelling one in a text
        # would make one, so it is put together from its characters instead.
        ids: list[int] = []
        for number, token in zip(encoding.ids, encoding.tokens, strict=True):
            ids += self._by_character(token) if number in controls else [number]
        return ids

    def _by_character(self, token: str) -> list[int]:
        found = [piece.id for letter in token for piece in self._rust.model.tokenize(letter)]
        return [number for number in found if number not in self.specials or number == self.unk]


def _encoded(rust: tokenizers.Tokenizer, text: str) -> tokenizers.Encoding:
    try:
        return rust.encode(text, add_special_tokens=False)
    except TypeError:
        if not isinstance(text, str):
            raise
        at = next(place for place, letter in enumerate(text) if "\ud800" <= letter <= "\udfff")
        raise RegardError("inputs.half_character", place=at + 1, code=ascii(text[at])) from None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # what a bad tokenizer.json kept until now: the library panics, or raises anything
        raise BadFileError("inputs.not_a_tokenizer", where="tokenizer", why=str(error)[:200]) from error
