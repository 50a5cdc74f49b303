"""``config.json`` as others write it, read into our configs and written back.

What a family understands is listed; what it accepts at one value only is listed with that value; anything else in a
file is refused by name, because a setting that is passed over in silence is a model that is silently another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from regard.config import from_dict
from regard.errors import BadFileError, ConfigError

C = TypeVar("C")

# Settings that change no number of a forward pass: where a file came from, which tokens are special, how to generate.
HARMLESS = frozenset({
    "_name_or_path", "_commit_hash", "_num_labels", "_attn_implementation", "_attn_implementation_autoset",
    "architectures", "model_type", "transformers_version", "torch_dtype", "dtype", "torchscript", "use_bfloat16",
    "tf_legacy_loss", "use_cache", "return_dict", "output_attentions", "output_hidden_states", "output_past",
    "problem_type", "initializer_range", "gradient_checkpointing", "chunk_size_feed_forward", "bos_token_id",
    "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "decoder_start_token_id",
    "tokenizer_class", "prefix", "num_labels", "id2label", "label2id", "task_specific_params", "finetuning_task",
    "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty",
    "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores",
    "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
    "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "regard",
})  # fmt: skip
# What every family accepts at one value only.
ONLY: Mapping[str, tuple[Any, ...]] = {
    "is_decoder": (False,),
    "is_encoder_decoder": (False,),  # an encoder-decoder says otherwise
    "add_cross_attention": (False,),
    "tie_encoder_decoder": (False,),
    "pruned_heads": ({},),
}
MOST_LABELS = 1 << 20
HUGE = 1 << 31  # no number of a config is; whatever it may be for, it must not overflow where it is used
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
               "gelu_fast": "gelu_tanh", "quick_gelu": "quick_gelu",
               "gelu_python": "gelu", "silu": "silu", "swish": "silu", "relu2": "squared_relu",
               "tanh": "tanh"}  # fmt: skip


@dataclass(frozen=True)
class Fields:
    """How a family's config.json reads.

    same      their key -> our key, the value as it is; ``section.key`` for what stands in a nested config
    only      their key -> the values that mean what our code does; the first is written
    stated    keys of ``only`` that must be there: without them their library means something else
    harmless  further keys that change no number
    default   what a missing key means in their library
    """

    same: Mapping[str, str]
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    stated: frozenset[str] = frozenset()
    harmless: frozenset[str] = frozenset()
    default: Mapping[str, Any] = field(default_factory=dict)

    def read(self, data: Mapping[str, Any], where: str, *, understood: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Our keys and values; ``understood`` names keys that the family reads by itself."""
        only = {**ONLY, **self.only}
        known = self.same.keys() | understood | self.harmless | HARMLESS
        for key, value in data.items():
            if key in only:
                if value not in only[key]:
                    raise BadFileError("weights.setting", where=where, key=key, value=value, accepted=only[key])
            elif key not in known and value is not None:
                raise BadFileError("weights.unknown_setting", where=where, key=key, value=value)
        missing = [key for key in (*self.same, *self.stated) if key not in data and key not in self.default]
        if missing:
            raise BadFileError("weights.missing_setting", where=where, keys=", ".join(missing))
        return {ours: data.get(theirs, self.default.get(theirs)) for theirs, ours in self.same.items()}

    def write(self, config: Any) -> dict[str, Any]:
        made = {theirs: _at(config, ours) for theirs, ours in self.same.items()}
        return made | {key: values[0] for key, values in self.only.items()}


def config(cls: type[C], values: Mapping[str, Any], where: str, fields: Fields) -> C:
    """A config out of what ``Fields.read`` gave, strict in every type; an error names the file's own key."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        if type(value) is int and abs(value) >= HUGE:
            name = next((theirs for theirs, ours in fields.same.items() if ours == key), key)
            raise BadFileError("weights.setting", where=where, key=name, value=value, accepted=f"< {HUGE}")
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    try:
        return from_dict(cls, nested, where)
    except ConfigError as error:
        theirs = {ours: theirs for theirs, ours in fields.same.items()}
        name = str(error.values.get("name"))
        raise BadFileError(error.key, **{**error.values, "name": theirs.get(name, name)}) from None


def _at(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config


def activation(name: Any, where: str) -> str:
    """Their activation's name as ours."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise BadFileError("weights.setting", where=where, key="activation", value=name, accepted=tuple(ACTIVATIONS))
    return ACTIVATIONS[name]


def foreign_activation(name: str) -> str:
    """Ours as theirs."""
    return next(theirs for theirs, ours in ACTIVATIONS.items() if ours == name)


def labels(data: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """The classes' names in order; numbered where the file names none. They exclude each other."""
    kind = data.get("problem_type")
    if kind == "multi_label_classification":
        accepted = ("single_label_classification",)
        raise BadFileError("weights.setting", where=where, key="problem_type", value=kind, accepted=accepted)
    named = data.get("id2label")
    if named is None:
        count = data.get("num_labels", 2)
        if type(count) is not int or not 0 < count <= MOST_LABELS:
            raise BadFileError("weights.setting", where=where, key="num_labels", value=count, accepted=MOST_LABELS)
        return tuple(f"LABEL_{i}" for i in range(count))
    numbers = [str(i) for i in range(len(named))] if isinstance(named, dict) else None
    if numbers is None or set(named) != set(numbers) or not all(isinstance(named[n], str | int) for n in numbers):
        raise BadFileError("weights.setting", where=where, key="id2label", value=named, accepted='{"0": "...", ...}')
    return tuple(str(named[number]) for number in numbers)


def with_labels(names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }
