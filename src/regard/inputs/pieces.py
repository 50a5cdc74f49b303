"""Where the pieces of a SentencePiece model stand in a model's vocabulary, and what stands around a text: by its maker.

    document, settings = read(folder / "spiece.model", settings)      # a tokenizer.json, and what goes with it

Most take SentencePiece's own numbers. Those trained in fairseq put <s>, <pad>, </s>, <unk> first, which shifts the rest
by one, and languages last; PEGASUS shifts by 103; T5 appends the gaps it was trained with; Marian, M2M-100 and the
speech models look each piece up in a vocab.json, where one that is missing is unknown.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regard import limits
from regard.errors import BadFileError
from regard.inputs import charsmap, foreign, languages
from regard.inputs import sentence_piece as spm
from regard.inputs.sentence_piece import CONTROL, NORMAL, UNKNOWN, UNUSED, Piece

FILES = ("source.spm", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model", "spm_char.model")
HIDDEN = "\U0010fffe\U0010ffff"  # before a piece that no text may become: two that are no characters
OWN = "regard"  # the key of tokenizer_config.json under which our own settings stand
VALUES = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The whole vocabulary in order, roles by spelling, and the spellings around a text and a pair (A, B)."""

    pieces: list[Piece]
    roles: Mapping[str, str]
    single: str = "A"
    pair: str = "A B"
    clean: list[dict[str, Any]] = field(default_factory=list)  # steps before the table of characters
    unknown: int = 0  # so many of the last pieces count as unknown
    tags: frozenset[str] = frozenset()  # what a text itself may spell, and means


Settings = Mapping[str, Any]
_ENDS = {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}
_ALL = {"bos": "<s>", **_ENDS}


def read(path: Path, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """The tokenizer.json that the file comes to, and the settings with the roles that its maker gives it."""
    model, where = spm.read(path), str(path)
    try:
        layout = _LAYOUTS[_maker(path.parent, settings)](model, settings, path.parent)
        made = document(model, layout)
        foreign.check(made, where)
    except foreign.Broken as error:
        raise BadFileError("inputs.not_a_tokenizer", where=where, why=str(error)) from None
    roles = {f"{role}_token": name for role, name in layout.roles.items()}
    unigram = model.kind == spm.UNIGRAM
    own: dict[str, Any] = {charsmap.KEY: bool(model.charsmap), "unigram": unigram, "bytes": model.byte_fallback}
    if layout.unknown:
        own["unknown"] = [len(layout.pieces) - layout.unknown, layout.unknown]
    return made, {**roles, **settings, OWN: own}


def document(model: spm.Model, layout: Layout) -> dict[str, Any]:
    """The tokenizer.json of a model whose pieces stand as the layout says."""
    pieces = layout.pieces
    numbers = {piece.text: number for number, piece in enumerate(pieces)}
    if len(numbers) != len(pieces):
        raise foreign.Broken("same_piece")
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": number, "content": piece.text, "special": True, **flags}
        for number, piece in enumerate(pieces)
        if piece.kind in (CONTROL, UNKNOWN) and piece.text not in layout.tags
    ]
    added += [{"id": numbers[name], "content": name, "special": False, **flags} for name in sorted(layout.tags)]
    template = {"type": "TemplateProcessing", "single": _template(layout.single), "pair": _template(layout.pair)}
    used = {part.partition(":")[0] for part in f"{layout.single} {layout.pair}".split()} - {"A", "B"}
    if lacking := used - numbers.keys():
        raise foreign.Broken("lacking", names=", ".join(sorted(lacking)))
    template["special_tokens"] = {name: {"id": name, "ids": [numbers[name]], "tokens": [name]} for name in sorted(used)}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [*layout.clean, *_normalizers(model)]},
        "pre_tokenizer": None,
        "post_processor": template,
        "decoder": {"type": "Sequence", "decoders": _decoders(model)},
        "model": _unigram(model, pieces) if model.kind == spm.UNIGRAM else _bpe(model, pieces),
    }  # fmt: skip


def _normalizers(model: spm.Model) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    if model.charsmap:
        charsmap.read(model.charsmap)
        encoded = base64.b64encode(model.charsmap).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": encoded})
    if model.squeeze:
        steps += [{"type": "Replace", "pattern": {"Regex": old}, "content": new}
                  for old, new in ((" {2,}", " "), (r"\A | \z", ""))]  # fmt: skip
    if model.prefix:
        steps.append({"type": "Prepend", "prepend": "▁"})
    return [*steps, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]


def _decoders(model: spm.Model) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}]
    steps += [{"type": "ByteFallback"}] if model.byte_fallback else []
    steps.append({"type": "Fuse"})
    return steps + ([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if model.prefix else [])


def _unigram(model: spm.Model, pieces: list[Piece]) -> dict[str, Any]:
    """A piece that the user defined is preferred to whatever else its letters may be, as SentencePiece scores it."""
    best = max((piece.score for piece in pieces if piece.kind == NORMAL), default=0.0)
    vocab: list[list[Any]] = []
    for piece in pieces:
        spelled = HIDDEN + piece.text if piece.kind == UNUSED else piece.text
        score = len(piece.text.encode()) * best - 0.1 if piece.kind == spm.USER else piece.score
        vocab.append([spelled, score])
    unk = next(number for number, piece in enumerate(pieces) if piece.kind == UNKNOWN)
    return {"type": "Unigram", "unk_id": unk, "vocab": vocab, "byte_fallback": model.byte_fallback}


def _bpe(model: spm.Model, pieces: list[Piece]) -> dict[str, Any]:
    if any(piece.kind == spm.USER for piece in pieces):
        raise foreign.Broken("user_pieces")
    vocab, plain = {}, set()
    for number, piece in enumerate(pieces):
        shown = piece.kind != UNUSED
        vocab[piece.text if shown else HIDDEN + piece.text] = number
        if piece.kind == NORMAL:
            plain.add(piece.text)
    scores = [piece.score for piece in pieces]
    return {
        "type": "BPE", "dropout": None, "unk_token": next(piece.text for piece in pieces if piece.kind == UNKNOWN),
        "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
        "byte_fallback": model.byte_fallback, "ignore_merges": False, "vocab": vocab,
        "merges": spm.merges(plain, vocab, scores) if model.kind == spm.BPE else [],
    }  # fmt: skip


def _template(parts: str) -> list[dict[str, Any]]:
    """ "<s> A </s> B:1" as the library spells it; the number after a colon is the kind of what it stands by."""
    steps = []
    for part in parts.split():
        name, _, kind = part.partition(":")
        what = "Sequence" if name in ("A", "B") else "SpecialToken"
        steps.append({what: {"id": name, "type_id": int(kind or 0)}})
    return steps


def _maker(folder: Path, settings: Settings) -> str:
    """Whose tokenizer this is: by its class, or by the model that it belongs to; "" where nobody says."""
    config = limits.read_json(limits.member(folder, "config.json")) if (folder / "config.json").is_file() else {}
    config = config if isinstance(config, dict) else {}
    for name in (settings.get("tokenizer_class"), config.get("tokenizer_class"), config.get("model_type")):
        known = _NAMES.get(name.removesuffix("Fast")) if isinstance(name, str) else None
        if known == "nllb" and (folder / "vocab.json").is_file():
            return "m2m_100"  # one model type, two tokenizers
        if known is not None:
            return known
    return ""


def _plain(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    roles = {role: name for role, name in _ALL.items() if any(piece.text == name for piece in model.pieces)}
    return Layout(pieces=_with_added(list(model.pieces), settings, folder), roles=roles)


def _llama(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    """bos before a text, unless the settings say otherwise."""
    names = {piece.text for piece in model.pieces}
    bos, eos = ("<s>", "</s>") if "<s>" in names else ("<bos>", "<eos>")
    before = f"{bos} " if settings.get("add_bos_token", True) else ""
    after = f" {eos}" if settings.get("add_eos_token", False) else ""
    pieces = _with_added(list(model.pieces), settings, folder)
    return Layout(
        pieces=pieces, roles={"bos": bos, "eos": eos, "unk": "<unk>"}, single=f"{before}A{after}",
        pair=f"{before}A{after} {before}B{after}",
    )  # fmt: skip


def _t5(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    count = settings.get("extra_ids", 100)
    if type(count) is not int or not 0 <= count <= 1000:
        raise foreign.Broken("number", token="extra_ids", number=ascii(count)[:40])  # noqa: S106
    gaps = [Piece(f"<extra_id_{number}>", 0.0, CONTROL) for number in reversed(range(count))]
    return Layout(pieces=[*model.pieces, *gaps], roles=_ENDS, single="A </s>", pair="A </s> B </s>")


def _albert(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    quotes: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": two}, "content": '"'} for two in ("``", "''")
    ]
    accents = [] if settings.get("keep_accents", False) else [{"type": "NFKD"}, {"type": "StripAccents"}]
    lower = [{"type": "Lowercase"}] if settings.get("do_lower_case", True) else []
    return _bracketed(model, settings, folder, clean=[*quotes, *accents, *lower])


def _deberta(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    if settings.get("split_by_punct", False):
        raise foreign.Broken("setting", key="split_by_punct")
    lower = [{"type": "Lowercase"}] if settings.get("do_lower_case", False) else []
    return _bracketed(model, settings, folder, clean=lower)


def _bracketed(model: spm.Model, settings: Settings, folder: Path, clean: list[dict[str, Any]]) -> Layout:
    """[CLS] A [SEP] B [SEP], as BERT; [MASK] is appended where the model lacks it."""
    pieces = _with_added(list(model.pieces), settings, folder)
    names = {piece.text for piece in pieces}
    if "[MASK]" not in names:
        pieces.append(Piece("[MASK]", 0.0, CONTROL))
    pieces = [_special(piece, ("[CLS]", "[SEP]", "[MASK]", "[PAD]", "<pad>")) for piece in pieces]
    roles = {"cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]", "pad": "<pad>" if "<pad>" in names else "[PAD]"}
    return Layout(
        pieces=pieces, roles={**roles, "unk": model.pieces[model.unk].text}, single="[CLS] A [SEP]",
        pair="[CLS] A [SEP] B:1 [SEP]:1", clean=clean,
    )  # fmt: skip


def _big_bird(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    bracketed = _bracketed(model, settings, folder, clean=[])
    return Layout(pieces=bracketed.pieces, roles={**bracketed.roles, "bos": "<s>", "eos": "</s>"},
                  single=bracketed.single, pair=bracketed.pair)  # fmt: skip


def _xlm_roberta(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    pieces = [*_fairseq(model), Piece("<mask>", 0.0, CONTROL)]
    return Layout(
        pieces=pieces, roles={**_ALL, "cls": "<s>", "sep": "</s>", "mask": "<mask>"}, single="<s> A </s>",
        pair="<s> A </s> </s> B </s>",
    )  # fmt: skip


def _mbart(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    return _translating(model, languages.MBART, _language(settings, "en_XX", languages.MBART), last=True)


def _mbart_50(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    return _translating(model, languages.MBART_50, _language(settings, "en_XX", languages.MBART_50), last=False)


def _nllb(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    last = bool(settings.get("legacy_behaviour", False))
    return _translating(model, languages.NLLB, _language(settings, "eng_Latn", languages.NLLB), last=last)


def _translating(model: spm.Model, known: list[str], source: str, *, last: bool) -> Layout:
    """The source's language stands before a text, or after its end."""
    tail = [Piece(name, 0.0, CONTROL) for name in [*known, "<mask>"]]
    around = f"%s </s> {source}" if last else f"{source} %s </s>"
    return Layout(
        pieces=[*_fairseq(model), *tail], roles={**_ALL, "cls": "<s>", "sep": "</s>", "mask": "<mask>"},
        single=around % "A", pair=around % "A B",
    )  # fmt: skip


def _pegasus(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    offset = settings.get("offset", 103)
    if type(offset) is not int or not 3 <= offset <= 1000 or model.unk != 2:
        raise foreign.Broken("setting", key="offset")
    head = ["<pad>", "</s>", "<mask_1>", "<mask_2>", *(f"<unk_{number}>" for number in range(2, offset))]
    pieces = [*(Piece(name, 0.0, CONTROL) for name in head), *model.pieces[2:]]
    return Layout(pieces=pieces, roles={**_ENDS, "mask": "<mask_2>"}, single="A </s>", pair="A B </s>")


def _speecht5(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    pieces = _with_added(list(model.pieces), settings, folder)
    names = {piece.text for piece in pieces}
    pieces += [Piece(name, 0.0, CONTROL) for name in ("<mask>", "<ctc_blank>") if name not in names]
    return Layout(pieces=pieces, roles={**_ALL, "mask": "<mask>"}, single="A </s>", pair="A B </s>")


def _marian(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    pieces, unknown = _listed(model, folder)
    pieces = [_special(piece, ("</s>", "<pad>")) for piece in pieces]
    tags = frozenset(one.text for one in pieces if one.text.startswith(">>") and one.text.endswith("<<"))
    pieces = [_special(piece, tuple(tags)) for piece in pieces]
    return Layout(pieces=pieces, roles=_ENDS, single="A </s>", pair="A B </s>", unknown=unknown, tags=tags)


def _speech(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    """Of speech to text: what is written down, without a language of its own."""
    if settings.get("lang_codes") is not None or settings.get("do_upper_case"):
        raise foreign.Broken("setting", key="lang_codes")
    lower = [{"type": "Lowercase"}] if settings.get("do_lower_case") else []
    pieces, unknown = _listed(model, folder)
    pieces = [_special(piece, ("<s>", "</s>", "<pad>")) for piece in pieces]
    return Layout(pieces=pieces, roles=_ALL, single="A </s>", pair="A B </s>", clean=lower, unknown=unknown)


def _m2m_100(model: spm.Model, settings: Settings, folder: Path) -> Layout:
    known = languages.WMT_21 if settings.get("language_codes") == "wmt21" else languages.M2M_100
    source = f"__{_language(settings, 'en', known)}__"
    pieces, unknown = _listed(model, folder)
    rest = pieces[len(pieces) - unknown :] if unknown else []
    pieces = [_special(piece, ("<s>", "</s>", "<pad>")) for piece in pieces[: len(pieces) - unknown]]
    pieces += [Piece(f"__{name}__", 0.0, CONTROL) for name in known]
    return Layout(
        pieces=[*pieces, *rest], roles=_ALL, single=f"{source} A </s>", pair=f"{source} A B </s>", unknown=unknown
    )


def _listed(model: spm.Model, folder: Path) -> tuple[list[Piece], int]:
    """The vocabulary in the order of vocab.json, and how many pieces follow it that it lacks and that are unknown.

    What it holds and this model does not (the other language's pieces) is there for the numbers and becomes of no text.
    """
    path = limits.member(folder, "vocab.json")
    vocab = limits.read_json(path, values=VALUES)
    vocab = foreign.numbered(vocab if isinstance(vocab, dict) else {"": vocab})
    if "<unk>" not in vocab:
        raise foreign.Broken("no_unk", number="vocab.json")
    names = sorted(vocab, key=vocab.__getitem__)
    if [vocab[name] for name in names] != list(range(len(names))):
        raise foreign.Broken("holes", file=path.name)
    own = {piece.text: piece for piece in model.pieces if piece.kind not in (CONTROL, UNKNOWN)}
    pieces = [own.get(name, Piece(name, 0.0, UNUSED)) for name in names]
    pieces[vocab["<unk>"]] = Piece("<unk>", 0.0, UNKNOWN)
    missing = [piece for piece in own.values() if piece.text not in vocab]
    return [*pieces, *missing], len(missing)


def _fairseq(model: spm.Model) -> list[Piece]:
    """fairseq's four in the place of SentencePiece's three."""
    if [piece.text for piece in model.pieces[:3]] != ["<unk>", "<s>", "</s>"]:
        raise foreign.Broken("fairseq")
    head = [Piece(name, 0.0, UNKNOWN if name == "<unk>" else CONTROL) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    return [*head, *model.pieces[3:]]


def _language(settings: Settings, usual: str, known: list[str]) -> str:
    name = settings.get("src_lang") or usual
    if name not in known:
        raise foreign.Broken("language", name=ascii(name)[:40], known=", ".join(known[:8]))
    return name


def _special(piece: Piece, names: tuple[str, ...]) -> Piece:
    """A piece that some model holds as an ordinary one, and that only a template may write."""
    return Piece(piece.text, piece.score, CONTROL) if piece.text in names else piece


def _with_added(pieces: list[Piece], settings: Settings, folder: Path) -> list[Piece]:
    """With the tokens of added_tokens.json and of the settings, which follow the model's own."""
    told: dict[int, str] = {}
    if (folder / "added_tokens.json").is_file():
        document = limits.read_json(limits.member(folder, "added_tokens.json"))
        told |= {number: token for token, number in (document if isinstance(document, dict) else {"": 0}).items()}
    listed = settings.get("added_tokens_decoder")
    for number, one in (listed if isinstance(listed, dict) else {}).items():
        if number.isdecimal() and isinstance(one, dict):
            told[int(number)] = one.get("content", "")
    for number in sorted(told):
        if number < len(pieces):
            continue
        if number != len(pieces) or not isinstance(told[number], str) or not told[number]:
            raise foreign.Broken("number", token=ascii(told[number])[:40], number=number)
        pieces.append(Piece(told[number], 0.0, CONTROL))
    return pieces


_LAYOUTS: dict[str, Callable[[spm.Model, Settings, Path], Layout]] = {
    "": _plain, "llama": _llama, "t5": _t5, "albert": _albert, "deberta": _deberta, "big_bird": _big_bird,
    "xlm_roberta": _xlm_roberta, "mbart": _mbart, "mbart_50": _mbart_50, "nllb": _nllb, "m2m_100": _m2m_100,
    "marian": _marian, "pegasus": _pegasus, "speech": _speech, "speecht5": _speecht5,
}  # fmt: skip
_NAMES = {  # classes of tokenizers and types of models
    "AlbertTokenizer": "albert", "albert": "albert", "BigBirdTokenizer": "big_bird", "big_bird": "big_bird",
    "DebertaV2Tokenizer": "deberta", "deberta-v2": "deberta", "GemmaTokenizer": "llama", "gemma2": "llama",
    "gemma3_text": "llama", "LlamaTokenizer": "llama", "llama": "llama", "mistral": "llama", "mixtral": "llama",
    "phi3": "llama", "M2M100Tokenizer": "m2m_100", "m2m_100": "nllb", "MarianTokenizer": "marian", "marian": "marian",
    "MBartTokenizer": "mbart", "mbart": "mbart", "MBart50Tokenizer": "mbart_50", "NllbTokenizer": "nllb",
    "PegasusTokenizer": "pegasus", "pegasus": "pegasus", "ReformerTokenizer": "", "reformer": "",
    "Speech2TextTokenizer": "speech", "speech_to_text": "speech", "SpeechT5Tokenizer": "speecht5",
    "speecht5": "speecht5", "T5Tokenizer": "t5", "MT5Tokenizer": "t5", "t5": "t5", "mt5": "t5",
    "XLMRobertaTokenizer": "xlm_roberta", "xlm-roberta": "xlm_roberta",
}  # fmt: skip
