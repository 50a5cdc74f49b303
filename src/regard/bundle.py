"""A model with what it cannot be used without: its tokenizer, its processor of images or sound, and the names of its
labels. ``load`` and ``save``.

A bundle on disk is a folder in the Hugging Face layout: model.safetensors (or shards and their index), config.json and
the files of tokenizer and processor. ``load`` also takes the folder of a run and finds the model in it, and the files
of llama.cpp (GGUF) and CTranslate2.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from regard import limits, models
from regard.errors import BadFileError, ConfigError, RegardError
from regard.heads.classify import Pool
from regard.hub import names as hub_names
from regard.inputs import advice, gguf, languages, marks, processors
from regard.inputs.absent import NoTokenizer, tokenizer_files
from regard.inputs.marks import Marks
from regard.inputs.processors import Processor
from regard.inputs.tokenizer import Tokenizer
from regard.models.transformer import EncoderDecoder
from regard.named import NAMES, place
from regard.ops.random import Key
from regard.weights import folder as files
from regard.weights import header, table
from regard.weights.ct2 import names as ct2
from regard.weights.ct2.container import is_ct2
from regard.weights.ct2.container import open_file as ct2_file
from regard.weights.gguf import names
from regard.weights.gguf.container import is_gguf, open_file
from regard.words import nearest

CONFIG = "config.json"
PACKAGE = "package:"
_TASKS = {
    "classify": "classification",
    "follows": "classification",
    "pool": "embedding",
    "encoder": "embedding",
    "score": "scoring",
    "tag": "tagging",
    "span": "question-answering",
    "choice": "choice",
    "discriminate": "replaced-tokens",
    "ctc": "ctc",
    "contrast": "contrast",
    "spectrum": "speech",
    "vocoder": "vocoder",
}
_IMAGE_TASKS = {
    "classify": "image-classification",
    "teacher": "image-classification",
    "detect": "object-detection",
    "segment": "segmentation",
    "pool": "image-embedding",
    "pixels": "masked-image",
    "codes": "masked-image",
    "restore": "masked-image",
}
_SOUND_TASKS = {
    "classify": "sound-classification",
    "tag": "sound-tagging",
    "encoder": "sound-embedding",
    "speaker": "sound-embedding",
}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Bundle:
    """model in evaluation mode, tokenizer, family and task by name, a classifier's labels in order, its origin, what
    turns images or sound into what the model takes (None: it reads text alone), and what begins and ends its texts."""

    model: Any
    tokenizer: Tokenizer
    family: str
    task: str
    labels: tuple[str, ...] = ()
    folder: Path | None = None
    processor: Processor | None = None
    marks: Marks = field(default_factory=Marks)

    def between(self, source: str | None, target: str | None) -> Bundle:
        """The same model for texts in language ``source`` and answers in ``target``, by the codes of a model that
        translates between several ("eng_Latn"); None leaves a side as it is. Raises RegardError for another code, and
        for a model that knows of no languages."""
        marks = self.marks.settled(self.model.config)
        tokenizer, marks = languages.between(self.tokenizer, marks, source, target)
        return replace(self, tokenizer=tokenizer, marks=marks)

    @property
    def context(self) -> int:
        """The longest input in tokens. Raises RegardError for a model that reads no text."""
        if "text" not in models.reads(self.family, self.model.config):
            raise RegardError("inputs.reads_no_text", family=self.family)
        return self.model.config.context


def load(path: str | os.PathLike[str], device: str = "cpu", dtype: str | torch.dtype | None = "float32") -> Bundle:
    """Reads a model folder or a run; ``dtype`` None keeps the weights as they are stored.

    Raises BadFileError for a folder that holds no model, or one that does not fit its own description.
    """
    folder = find(Path(path))
    where, data, tensors = _opened(folder)
    name = data.get("model_type") if isinstance(data, dict) else None
    family = models.of_type(name) if isinstance(name, str) else None
    if family is None:
        raise BadFileError("weights.family", where=where, name=name, known=", ".join(models.model_types()))
    module = models.family(family)
    config = models.read(family, data, where)
    weights = tensors()
    if config.depth > len(weights.names()):  # before anything of that depth is built
        raise BadFileError("weights.depth", where=folder, depth=config.depth, count=len(weights.names()))
    tokenizer, processor = _inputs(folder, family, config)  # before the weights: reading it takes memory for a moment
    model = models.empty(config)
    table.read(module.TABLE, weights, model, str(folder), _dtype(dtype))
    model = model.to(device).eval()
    found = _marks(folder, data, config, tokenizer)
    labels = getattr(config, "labels", ())
    return Bundle(model, tokenizer, family, _task(data, model), labels, folder, processor, found)


@dataclass(frozen=True)
class Described:
    """A model without its weights: config and task, what its files call it, and how they store it ("" if they do not
    say)."""

    config: Any
    task: str
    model_type: str = ""
    stored: str = ""


def describe(path: str | os.PathLike[str]) -> Described:
    """What a model is, by its files or by a config.json alone; a family or a model type in its usual size."""
    path = Path(path)
    name = path.as_posix()
    family = models.of_type(name) or (name if name in models.families() else None)
    if family is not None and not path.exists():
        config = models.family(family).Config()
        if f'"{name}"' in type(config).__annotations__.get("kind", ""):  # several types in one family
            with suppress(ConfigError):  # one whose own settings are not the usual ones
                config = replace(config, kind=name)
        return Described(config, _usual(models.empty(config)), models.family(family).write(config)["model_type"])
    alone = path.is_file() and path.suffix == ".json"
    where, data, _ = _opened(path.parent if alone and path.name == CONFIG else path if alone else find(path))
    name = data.get("model_type") if isinstance(data, dict) else None
    family = models.of_type(name) if isinstance(name, str) else None
    if family is None:
        raise BadFileError("weights.family", where=where, name=name, known=", ".join(models.model_types()))
    config = models.read(family, data, where)
    stored = data.get("dtype", data.get("torch_dtype", ""))
    return Described(config, _task(data, models.empty(config)), str(name), stored if isinstance(stored, str) else "")


def _inputs(folder: Path, family: str, config: Any) -> tuple[Tokenizer, Processor | None]:
    """What the family reads: text needs a tokenizer, and what else it reads a processor."""
    reads = models.reads(family, config)
    processor = None if reads == ("text",) else processors.load(folder) or _implied(folder)
    if "text" not in reads and not tokenizer_files(folder):
        return cast(Tokenizer, NoTokenizer(family)), processor
    tokenizer = Tokenizer.load(folder)
    vocab = getattr(config, "vocab", None)
    if vocab is not None and tokenizer.size > vocab + _pads_alone(tokenizer, vocab):
        raise BadFileError("bundle.vocab", folder=folder, tokenizer=tokenizer.size, model=vocab)
    return tokenizer, processor


def _marks(folder: Path, data: dict[str, Any], config: Any, tokenizer: Any) -> Marks:
    """What begins and ends the model's texts; of one that writes none, nothing."""
    vocab = getattr(config, "vocab", None)
    if vocab is None or isinstance(tokenizer, NoTokenizer):
        return Marks()
    if is_gguf(folder):
        file = open_file(folder)
        return Marks(ends=gguf.ends(file), advice=advice.of_gguf(file.metadata, str(folder)))
    return marks.read(folder, {} if is_ct2(folder) else data, vocab, getattr(config, "start", None))


def _implied(folder: Path) -> Processor | None:
    """What a model of another program needs without naming it."""
    if not is_ct2(folder):
        return None
    return processors.read(ct2.processor(ct2_file(folder / ct2.FILE)), str(folder / ct2.FILE))


def _opened(path: Path) -> tuple[str, Any, Callable[[], table.Tensors]]:
    """(what errors call the place of its settings, the settings, a way to its tensors) of a folder or a GGUF file."""
    if is_gguf(path):
        file = open_file(path)
        data = names.config(file)
        return str(path), data, lambda: names.Weights(file, data)
    if is_ct2(path):
        other = ct2_file(path / ct2.FILE)
        return str(path / ct2.FILE), ct2.config(other), lambda: ct2.Weights(other)
    data = limits.read_json(path if path.is_file() else limits.member(path, CONFIG))
    if isinstance(data, dict) and data.get("auto_map"):
        known = ", ".join(models.model_types())
        raise BadFileError("weights.code", file=path / CONFIG, value=repr(data["auto_map"])[:80], known=known)
    data, adapter = _spoken(path, data)
    return str(path / CONFIG), data, lambda: files.Folder(path, adapter)


def _spoken(folder: Path, data: Any) -> tuple[Any, str | None]:
    """The settings for the language that the folder's tokenizer names, and the file of its own weights: of a model that
    keeps an alphabet and adapters for each of many languages (MMS, Pratap et al. 2023, section 5.2)."""
    known = {path.name.split(".")[1]: path.name for path in sorted(folder.glob("adapter.*.safetensors"))}
    if not known or not isinstance(data, dict) or data.get("adapter_attn_dim") is None:
        return data, None
    settings = limits.read_json(limits.member(folder, "tokenizer_config.json"))
    language = settings.get("target_lang") if isinstance(settings, dict) else None
    if not isinstance(language, str) or language not in known:
        raise BadFileError("bundle.adapter", folder=folder, language=language, known=", ".join(known)[:300])
    letters = next(
        (one.shape for one in header.check(limits.member(folder, known[language])) if one.name == "lm_head.bias"), None
    )
    return data | ({} if letters is None else {"vocab_size": letters[0]}), known[language]


def save(folder: str | os.PathLike[str], bundle: Bundle) -> None:
    """Writes the bundle so that ``load`` and Hugging Face's ``from_pretrained`` both read it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    module = models.family(bundle.family)
    files.write(folder, table.write(module.TABLE, bundle.model))
    data = module.write(bundle.model.config)
    if not isinstance(bundle.tokenizer, NoTokenizer):
        bundle.tokenizer.save(folder)
        ids = _token_ids(bundle)
        data |= ids
        if bundle.marks.advice:  # where its file stands, nothing of config.json is heard about texts
            start = {key: data[key] for key in ("decoder_start_token_id",) if key in data}
            marks.save(folder, bundle.marks, {**start, **ids})
    if bundle.processor is not None:
        bundle.processor.save(folder)
    stored = next(bundle.model.parameters()).dtype
    data |= {"torch_dtype": str(stored).removeprefix("torch."), "regard": {"task": bundle.task}}
    limits.write(folder / CONFIG, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def find(path: Path) -> Path:
    """The model folder or GGUF file that ``path`` means: itself, a run's finished model, or a model by its short name
    (``regard.named``). ``package:NAME/FOLDER`` is a folder inside an installed package."""
    path = _named(path) if not path.exists() else path
    if is_gguf(path):
        return path
    for folder in (path, path / "model"):
        if (folder / CONFIG).is_file():
            return folder
    if not path.exists():
        near = None if len(path.parts) > 1 else nearest(path.name, NAMES)
        raise BadFileError("bundle.no_folder_near" if near else "bundle.no_folder", path=path, near=near)
    raise BadFileError("bundle.no_model", path=path, file=CONFIG)


def is_name(what: str) -> bool:
    """Whether this names a model, as a short name, a hub's or a package's does, instead of saying where it lies."""
    return what in NAMES or hub_names.is_name(what) or what.startswith(PACKAGE)


def _named(path: Path) -> Path:
    """What is no path: a short name, a hub's name, a name given when it was brought here, or a package's folder."""
    name = path.as_posix()
    if name in NAMES:
        return _packaged(path)
    if hub_names.is_name(name) and not name.startswith(PACKAGE):
        ref = hub_names.reference(name)
        found = hub_names.place(ref)
        if found is None:
            raise RegardError("hub.missing", name=ref)
        return found
    own = hub_names.place(hub_names.Reference("local", "", name)) if path.name == name else None
    return own or _installed(path)


def _packaged(path: Path) -> Path:
    found = place(str(path))
    if found is None:
        one = NAMES[str(path)]
        raise RegardError("named.missing", name=path, about=one.about, megabytes=one.megabytes, licence=one.licence)
    return found


def _installed(path: Path) -> Path:
    """``package:NAME/FOLDER`` is a folder inside an installed package, which is found without being imported."""
    name = path.parts[0] if path.parts else ""
    if not name.startswith(PACKAGE):
        return path
    name = name.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise RegardError("bundle.no_package", package=name, distribution=name.replace("_", "-"))
    return Path(spec.submodule_search_locations[0]).joinpath(*path.parts[1:])


def with_head(bundle: Bundle, head: str, labels: tuple[str, ...] = (), key: Key | None = None) -> Bundle:
    """The same body under another head: what both have is copied, what is new is initialised from ``key``."""
    if not hasattr(bundle.model.config, "head") or not hasattr(bundle.model.config, "labels"):
        raise RegardError("bundle.one_head", family=bundle.family)
    config = replace(bundle.model.config, head=head, labels=labels)
    model = models.build(config, key)
    if type(model) is not type(bundle.model):  # half of it, such as the encoder of a Whisper that classifies
        raise RegardError("bundle.one_head", family=bundle.family)
    old = dict(bundle.model.named_parameters()) | _pooler(bundle.model.head)
    with torch.no_grad():
        for name, parameter in [*model.named_parameters(), *_pooler(model.head).items()]:
            if name in old and old[name].shape == parameter.shape:
                parameter.copy_(old[name])
    model = model.to(next(bundle.model.parameters()))
    return replace(bundle, model=model.eval(), task=_usual(model), labels=labels)


def fresh(bundle: Bundle, key: Key | None = None) -> Bundle:
    """The same architecture and tokenizer with new random weights: what a baseline without pretraining starts from."""
    return replace(bundle, model=models.build(bundle.model.config, key).eval())


def _pads_alone(tokenizer: Tokenizer, vocab: int) -> bool:
    """Whether the tokenizer's own pad token, which no model here is ever shown, is all that the vocabulary lacks."""
    return tokenizer.pad == vocab


def _task(data: dict[str, Any], model: Any) -> str:
    own = data.get("regard")
    if isinstance(own, dict) and isinstance(own.get("task"), str):
        return own["task"]
    return _usual(model)


def _usual(model: Any) -> str:
    """What a model with this head is for, unless it says so itself; one that predicts tokens, by who sees whom."""
    if hasattr(model, "task"):
        return model.task
    head = getattr(model.config, "head", "language")
    reads = models.reads(models.name_of(model.config), model.config)
    if reads == ("image",) and head in _IMAGE_TASKS:
        return _IMAGE_TASKS[head]
    if reads == ("audio",) and head in _SOUND_TASKS:
        return _SOUND_TASKS[head]
    if head in _TASKS:
        return _TASKS[head]
    if isinstance(model, EncoderDecoder):
        return "seq2seq"
    return "causal-lm" if model.mask.causal else "masked-lm"


def _token_ids(bundle: Bundle) -> dict[str, Any]:
    tokenizer, vocab = bundle.tokenizer, getattr(bundle.model.config, "vocab", None)
    alone = vocab is not None and _pads_alone(tokenizer, vocab)
    pad = getattr(bundle.model.config, "pad", None) if alone else tokenizer.pad
    ids = {"pad_token_id": pad, "bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos}
    if isinstance(bundle.model, EncoderDecoder):  # a decoder is told when it must end
        ids |= {"forced_eos_token_id": tokenizer.eos}
    return ids | marks.settings(bundle.marks, tokenizer.eos)


def _dtype(wanted: str | torch.dtype | None) -> torch.dtype | None:
    if isinstance(wanted, str) and wanted not in _DTYPES:
        raise ConfigError("bundle.dtype", dtype=wanted, known=", ".join(_DTYPES))
    return _DTYPES[wanted] if isinstance(wanted, str) else wanted


def _pooler(head: nn.Module) -> dict[str, nn.Parameter]:
    """A pooler's parameters, which bear another name where it is the head than where it stands inside one."""
    pool = head if isinstance(head, Pool) else getattr(head, "pool", getattr(head, "pooler", None))
    return {} if pool is None else {f"pooler.{name}": parameter for name, parameter in pool.named_parameters()}
