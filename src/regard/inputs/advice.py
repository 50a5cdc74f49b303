"""What a model's files advise about decoding: a temperature, a number of beams. Nothing that belongs to the model (see
``marks``): whoever asks for a text may say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

from regard.errors import BadFileError

# Key -> the value that changes nothing. What is not said, or says that, is no advice.
NUMBERS: Mapping[str, float] = {
    "temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "repetition_penalty": 1.0,
    "length_penalty": 1.0, "diversity_penalty": 0.0,
}  # fmt: skip
COUNTS: Mapping[str, int] = {
    "top_k": 0, "no_repeat_ngram_size": 0, "num_beams": 1, "num_beam_groups": 1, "min_length": 0, "min_new_tokens": 0,
    "max_length": 20, "max_new_tokens": 0,
}  # fmt: skip
# Advice that is kept and told of, and not followed.
OTHERS: Mapping[str, Any] = {
    "encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0,
    "top_h": None, "exponential_decay_length_penalty": None, "sequence_bias": None, "guidance_scale": None,
    "watermarking_config": None, "penalty_alpha": None, "dola_layers": None, "stop_strings": None,
}  # fmt: skip
_SAMPLING = "general.sampling."
_GGUF = {"temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p",
         "penalty_repeat": "repetition_penalty"}  # fmt: skip
_OLD_TOP_K = 50  # stands in an old config.json that was written out in full, whoever wrote it
Advice = tuple[tuple[str, Any], ...]


def read(data: Mapping[str, Any], where: str, *, own: bool = True) -> Advice:
    """(key, value) of all that is advised, in one order, by the keys of generation_config.json. ``own``: the file is
    that one, and not an older config.json. Raises BadFileError for a value of another kind."""
    found: dict[str, Any] = {}
    for key, neutral in sorted({**NUMBERS, **COUNTS, **OTHERS}.items()):
        value = data.get(key)
        if value is not None and key not in OTHERS and not _number(value, whole=key in COUNTS):
            raise BadFileError("weights.setting", where=where, key=key, value=str(value)[:80], accepted=f"{neutral}, …")
        if value is None or value == neutral or (key == "top_k" and value == _OLD_TOP_K and not own):
            continue
        found[key] = value if key not in OTHERS else str(value)[:80]
    if isinstance(data.get("do_sample"), bool):
        found["do_sample"] = data["do_sample"]
    stopping = data.get("early_stopping")
    if stopping is True or stopping == "never":
        found["early_stopping"] = stopping
    return tuple(found.items())


def of_gguf(metadata: Mapping[str, Any], where: str) -> Advice:
    """The same of a GGUF file's ``general.sampling`` keys, as many as are known here."""
    said = {theirs: metadata[_SAMPLING + key] for key, theirs in _GGUF.items() if _SAMPLING + key in metadata}
    # Stored in single precision: 0.6 and not 0.6000000238.
    return read({key: float(f"{one:.7g}") if type(one) is float else one for key, one in said.items()}, where)


def gguf(advice: Advice) -> dict[str, Any]:
    """What of it a GGUF file has a place for."""
    said = dict(advice)
    return {_SAMPLING + key: said[theirs] for key, theirs in _GGUF.items() if theirs in said}


def settings(advice: Advice) -> dict[str, Any]:
    """As generation_config.json says them; what was not understood is not passed on."""
    return {key: value for key, value in advice if key not in OTHERS}


def _number(value: Any, *, whole: bool) -> bool:
    kinds = (int,) if whole else (int, float)
    return type(value) in kinds and isfinite(value) and (value >= 0 or not whole)
