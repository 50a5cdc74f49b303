"""``config.json`` as others write it, read into our configs and written back.

What a family understands is listed; what it accepts at one value only is listed with that value; anything else in a file is
refused by name, because a setting that is passed over in silence is a model that is silently another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from regard.errors import BadFileError

# Settings that change no number of a forward pass.
HARMLESS = frozenset(
    [
        "_name_or_path",
        "architectures",
        "model_type",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "use_cache",
        "return_dict",
        "output_attentions",
        "output_hidden_states",
        "problem_type",
        "initializer_range",
        "gradient_checkpointing",
        "chunk_size_feed_forward",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "sep_token_id",
        "cls_token_id",
        "mask_token_id",
        "id2label",
        "label2id",
        "task_specific_params",
        "finetuning_task",
        "_attn_implementation",
        "tokenizer_class",
        "regard",
    ]
)
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
               "silu": "silu", "swish": "silu"}  # fmt: skip


@dataclass(frozen=True)
class Fields:
    """How a family's config.json reads.

    same      their key -> our key, the value as it is
    only      their key -> the values that mean what our code does; the first is written
    harmless  further keys that change no number
    default   what a missing key means in their library
    """

    same: Mapping[str, str]
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    harmless: frozenset[str] = frozenset()
    default: Mapping[str, Any] = field(default_factory=dict)

    def read(self, data: Mapping[str, Any], where: str, *, understood: frozenset[str] = frozenset()) -> dict[str, Any]:
        """Our keys and values; ``understood`` names keys that the family reads by itself."""
        for key, value in data.items():
            if key in self.only:
                if value not in self.only[key]:
                    raise BadFileError("weights.setting", where=where, key=key, value=value, accepted=self.only[key])
            elif key not in self.same and key not in understood | self.harmless | HARMLESS and value is not None:
                raise BadFileError("weights.unknown_setting", where=where, key=key, value=value)
        made = {}
        for theirs, ours in self.same.items():
            if theirs in data or theirs in self.default:
                made[ours] = data.get(theirs, self.default.get(theirs))
        missing = [theirs for theirs in self.same if theirs not in data and theirs not in self.default]
        if missing:
            raise BadFileError("weights.missing_setting", where=where, keys=", ".join(missing))
        return made

    def write(self, ours: Mapping[str, Any]) -> dict[str, Any]:
        made = {theirs: ours[name] for theirs, name in self.same.items()}
        return made | {key: values[0] for key, values in self.only.items()}


def activation(name: Any, where: str) -> str:
    """Their activation's name as ours."""
    if name not in ACTIVATIONS:
        raise BadFileError("weights.setting", where=where, key="activation", value=name, accepted=tuple(ACTIVATIONS))
    return ACTIVATIONS[name]


def foreign_activation(name: str) -> str:
    """Ours as theirs."""
    return next(theirs for theirs, ours in ACTIVATIONS.items() if ours == name)


def labels(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The classes' names in order; empty where the file names none."""
    named = data.get("id2label")
    if not isinstance(named, dict):
        count = data.get("num_labels", 2)
        return tuple(f"LABEL_{i}" for i in range(count if isinstance(count, int) else 2))
    return tuple(str(named[key]) for key in sorted(named, key=int))


def with_labels(names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }
