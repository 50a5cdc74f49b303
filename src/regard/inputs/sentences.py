"""What a folder of sentence-transformers says of its vectors: modules.json and the files that it names, prompts,
where a text is cut.

    modules.json                         what follows one another: Transformer, Pooling, perhaps Normalize
    1_Pooling/config.json                what of a text's tokens becomes its vector
    sentence_bert_config.json            max_seq_length, do_lower_case
    config_sentence_transformers.json    prompts by name, and the name of the one that usually holds
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from regard import limits
from regard.errors import BadFileError, RegardError

How = Literal["mean", "first", "last"]
_MODES: Mapping[str, How] = {"cls": "first", "mean": "mean", "lasttoken": "last"}
_POOLING: Mapping[str, How] = {
    "pooling_mode_cls_token": "first",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
}
_MODULES = ("Transformer", "Pooling", "Normalize")  # a vector's length is the caller's to choose
_FIRST = "1_Pooling"
_MODULES_FILE, _CUT, _PROMPTS = "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"
_FOLDER = re.compile(r"[A-Za-z0-9_]{1,100}")


@dataclass(frozen=True)
class Told:
    """how: what becomes the vector, None where the folder does not say. context: the longest text in tokens. lower:
    texts are read in small letters. bare: blanks around a text are left out. prompts: by their names; usual: the name
    of the one that holds where none is asked for. counted: the mean is over the prompt's tokens, too."""

    how: How | None = None
    context: int | None = None
    lower: bool = False
    bare: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    usual: str | None = None
    counted: bool = True

    def prompt(self, name: str | None) -> str:
        """The words of the prompt ``name``, "" for none; None: the usual one's. Raises RegardError for another name."""
        name = self.usual if name is None else name
        if not name:
            return ""
        if name not in self.prompts:
            known = ", ".join(self.prompts) or "-"
            raise RegardError("tasks.no_prompt", name=name, known=known)
        return self.prompts[name]

    def read(self, prompt: str, text: str) -> str:
        """The text as the model is given it."""
        text = prompt + text
        text = text.strip() if self.bare else text
        return text.lower() if self.lower else text


def told(folder: Path | None) -> Told:
    """What the files of a model's folder say; raises BadFileError where they ask for what is not known here."""
    if folder is None or not folder.is_dir():
        return Told()
    pooling, laid = _modules(folder)
    how, counted = _pooling(folder / pooling / "config.json") if pooling else (None, True)
    cut, lower = _cut(folder / _CUT)
    prompts, usual = _prompts(folder / _PROMPTS)
    return Told(how, cut, lower, laid, prompts, usual, counted)


def carry(folder: Path | None, path: Path) -> None:
    """Writes into the model folder ``path`` what ``folder`` says. Raises BadFileError where it says what is not known
    here, and would be lost."""
    said = told(folder)
    if folder is None or said == Told():
        return
    pooling, _ = _modules(folder)
    for name in (_MODULES_FILE, f"{pooling}/config.json", _CUT, _PROMPTS):
        if (folder / name).is_file():
            (path / name).parent.mkdir(exist_ok=True)
            data = limits.read_json(limits.member(folder, name))
            limits.write(path / name, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def _modules(folder: Path) -> tuple[str | None, bool]:
    """Where the pooling is described, and whether there is a list of modules; what it names must be known."""
    path = folder / _MODULES_FILE
    if not path.is_file():
        return _FIRST if (folder / _FIRST / "config.json").is_file() else None, False
    listed = limits.read_json(path)
    named = listed if isinstance(listed, list) and all(isinstance(one, dict) for one in listed) else [{}]
    kinds = [_kind(one) for one in named]
    odd = [kind for kind in kinds if kind not in _MODULES]
    if odd or tuple(kinds) not in (_MODULES, _MODULES[:2]):
        raise BadFileError("tasks.modules", file=path, found=", ".join(odd or kinds), known=", ".join(_MODULES))
    return named[1]["path"], True


def _kind(module: Mapping[str, Any]) -> str:
    """A module's name; with where it comes from and lies, unless that is the library itself and the place is usual."""
    kind, where = str(module.get("type")), module.get("path")
    name = kind.rpartition(".")[2]
    usual = where == "" if name == "Transformer" else isinstance(where, str) and _FOLDER.fullmatch(where)
    return name if usual and kind.startswith("sentence_transformers.") else f"{kind} ({where})"


def _pooling(path: Path) -> tuple[How, bool]:
    said = limits.read_json(path)
    said = said if isinstance(said, dict) else {}
    mode = said.get("pooling_mode")
    modes = [] if mode is None else mode if isinstance(mode, list) else [mode]
    asked = modes or [key for key, value in said.items() if key.startswith("pooling_mode_") and value is True]
    ways = _MODES if modes else _POOLING
    if len(asked) != 1 or asked[0] not in ways:
        raise BadFileError("tasks.pooling", file=path, known=", ".join(ways))
    return ways[asked[0]], said.get("include_prompt", True) is not False


def _cut(path: Path) -> tuple[int | None, bool]:
    said = _table(path)
    longest, lower = said.get("max_seq_length"), said.get("do_lower_case", False)
    if longest is not None and (type(longest) is not int or longest < 1):
        raise BadFileError("weights.setting", where=path, key="max_seq_length", value=longest, accepted=">= 1")
    return longest, lower is True


def _prompts(path: Path) -> tuple[dict[str, str], str | None]:
    said = _table(path)
    prompts, usual = said.get("prompts") or {}, said.get("default_prompt_name")
    if not isinstance(prompts, dict) or not all(isinstance(words, str) for words in prompts.values()):
        raise BadFileError("weights.setting", where=path, key="prompts", value=prompts, accepted='{"query": "..."}')
    if usual is not None and usual not in prompts:
        raise BadFileError(
            "weights.setting", where=path, key="default_prompt_name", value=usual, accepted=tuple(prompts)
        )
    return prompts, usual


def _table(path: Path) -> dict[str, Any]:
    said = limits.read_json(path) if path.is_file() else {}
    return said if isinstance(said, dict) else {}
