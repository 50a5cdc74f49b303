"""Text to token numbers and back: trained here, or loaded from a Hugging Face folder.

    tokenizer = Tokenizer.train("bpe", texts, vocab=8000)
    ids = tokenizer.encode("今天天气很好")            # bos ... eos, or [CLS] ... [SEP]
    assert tokenizer.decode(ids) == "今天天气很好"

What holds for all of them: there is one way from text to numbers; a special token that is merely spelled in a text is
text; `pad` is a number of its own; nothing is cut unless `context` says so.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import tokenizers

from regard.errors import BadFileError, ConfigError
from regard.inputs import reading, segment, surface, training, writing
from regard.inputs.charsmap import Prepare, put_back
from regard.inputs.exact import Exact, half_character
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
        self,
        rust: tokenizers.Tokenizer,
        roles: Mapping[str, str],
        *,
        settings: Mapping[str, Any] | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        """`roles`: role to spelling; `settings`: what tokenizer_config.json says besides; `prepare`: what is done to a
        text first. Made by `train` or `load`."""
        self.roles = reading.with_own_pad(rust, roles)
        self.settings = dict(settings or {})
        self._rust = reading.prepared(rust)
        for role in ROLES:
            setattr(self, role, rust.token_to_id(self.roles[role]) if role in self.roles else None)
        added = rust.get_added_tokens_decoder()
        self.specials = frozenset(number for number, token in added.items() if token.special)
        self._exact = Exact.of(rust, self.settings, self.specials, prepare)
        self.size = self._exact.size(rust.get_vocab(with_added_tokens=True).values())
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
        """Read a folder, or one of its files: tokenizer.json; a SentencePiece model; tiktoken's ranks; vocab.txt;
        vocab.json and merges.txt."""
        rust, roles, settings, prepare = reading.load(Path(path))
        return cls(rust, roles, settings=settings, prepare=prepare)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json, which AutoTokenizer reads."""
        writing.save(self._rust, self.roles, self.settings, self.template, Path(folder), self._exact.prepare)

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

    def places(self, text: str) -> list[tuple[int, int]] | None:
        """Where in the text each token of ``encode(text, special=False)`` stands, begin and end in characters; None
        where a text is prepared in a way that forgets it."""
        if self._exact.prepared(text) != text:
            return None
        encoding = _encoded(self._rust, text)
        return list(encoding.offsets) if encoding.ids == self._content(text) else None

    def reading(self, instead: Collection[int], language: int) -> Tokenizer:
        """The same tokenizer with `language` around a text where one of `instead` stands now."""
        other = copy.copy(self)
        other.template = self.template.instead(instead, language)
        return other

    def encode_marked(self, text: str) -> list[int]:
        """A text in which special tokens are meant where they are spelled: what a chat template writes.

        The template adds only what is not there yet: bos is never doubled.
        """
        return self.template.complete(self._meaning(text))

    def encode_parts(self, parts: Iterable[tuple[str, bool]]) -> list[int]:
        """Texts one after another, in some of which special tokens are meant where they are spelled: a conversation as
        `Chat.parts` gives it. What the template demands before a text comes first, if it is not there; nothing after.
        """
        ids: list[int] = []
        for text, meant in parts:
            ids += self._meaning(text) if meant else self._content(text)
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
        found = json.loads(self._rust.to_str())
        return found if self._exact.prepare is None else put_back(found, self._exact.prepare)

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
        return surface.Spelling(self._exact.name, self.specials, self.size)

    def _meaning(self, text: str) -> list[int]:
        """Special tokens where they are spelled; what stands between them is prepared as any text."""
        if self._exact.prepare is not None:
            parts = re.split("(" + "|".join(map(re.escape, self.spelled)) + ")", text)
            text = "".join([part if place % 2 else self._exact.prepare(part) for place, part in enumerate(parts)])
        return self._exact.known(_encoded(self._meant(), text).ids)

    def _content(self, text: str) -> list[int]:
        text = self._exact.prepared(text)
        encoding = _encoded(self._rust, text)
        controls = self.specials - {self.unk}
        if controls.isdisjoint(encoding.ids) and not self._exact.spells(text):
            return self._exact.known(encoding.ids)
        # A vocabulary may hold its special tokens as ordinary pieces (XLM-R has </s>): then spelling one in a text
        # would make one, so the text is cut by the other pieces.
        return self._exact.known(self._exact.without_specials(lambda rust: _encoded(rust, text), encoding))


def _encoded(rust: tokenizers.Tokenizer, text: str) -> tokenizers.Encoding:
    try:
        return rust.encode(text, add_special_tokens=False)
    except TypeError:
        if not isinstance(text, str):
            raise
        raise half_character(text) from None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # what a bad tokenizer.json kept until now: the library panics, or raises anything
        raise BadFileError("inputs.not_a_tokenizer", where="tokenizer", why=str(error)[:200]) from error
