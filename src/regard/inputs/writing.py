"""The files of a tokenizer, as transformers' AutoTokenizer reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from regard import limits
from regard.inputs.charsmap import Prepare, put_back
from regard.inputs.reading import USUAL
from regard.inputs.template import Template, probe, processor


def save(
    rust: tokenizers.Tokenizer,
    roles: Mapping[str, str],
    settings: Mapping[str, Any],
    template: Template,
    folder: Path,
    prepare: Prepare | None = None,
) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json."""
    written = tokenizers.Tokenizer.from_str(rust.to_str())
    if probe(written) != template:  # the settings asked for a bos or eos that the file's own template lacked
        written.post_processor = processor(template, written)
    names = {f"{role}_token": name for role, name in sorted(roles.items())}
    # By this class the file is taken as it stands; a model's own class would build its pipeline anew.
    fixed = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    stale = {"added_tokens_decoder", "auto_map", *(f"{role}_token" for role in USUAL)}
    kept = {key: value for key, value in settings.items() if key not in stale}
    document = written.to_str(pretty=True) + "\n"
    if prepare is not None:
        document = _json(put_back(json.loads(document), prepare), sort=False)
    limits.write(folder / "tokenizer.json", document)
    limits.write(folder / "tokenizer_config.json", _json({**kept, **names, **fixed}))
    limits.write(folder / "special_tokens_map.json", _json(names))


def _json(document: Mapping[str, Any], *, sort: bool = True) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2, sort_keys=sort) + "\n"
