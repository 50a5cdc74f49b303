"""GGUF files beside llama.cpp: for every architecture a small random model is written here and read there, and both are
given the same tokens.

    python bench/gguf.py            # needs: pip install llama-cpp-python

Prints the largest difference of the logits, as a share of the largest logit; llama.cpp keeps keys and values in half
precision, so a few ten-thousandths are none.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import llama_cpp  # pyright: ignore[reportMissingImports]
import numpy as np
import tokenizers
import torch

from regard import export, models
from regard.bundle import Bundle
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Context, Key

VOCAB, LENGTH = 300, 37
_HEADS = {"heads": 6, "kv_heads": 2, "head_dim": 8}
_WIDE = {**_HEADS, "head_dim": 16}
_LONG = {"scaling": "longrope", "factor": 4.0, "original": 16, "long": (1.0, 2.5, 3.1, 4.2), "short": (1.0,) * 4}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"attention": _HEADS}),
    "mistral": ("llama", {"kind": "mistral", "attention": _WIDE}),
    "qwen2": ("llama", {"kind": "qwen2", "attention": {**_HEADS, "bias": True}}),
    "mixtral": ("mixtral", {"attention": _HEADS, "experts": 3, "top": 2}),
    "qwen3": ("qwen3", {"attention": _WIDE}),
    "qwen3_moe": ("qwen3_moe", {"attention": _WIDE, "experts": 5, "top": 2, "narrow": 32, "renormalise": True}),
    "phi": ("phi", {"attention": {**_HEADS, "kv_heads": 3, "rope": {"share": 0.5}}}),
    "phi3": ("phi3", {"attention": _HEADS}),
    "phi3, long": ("phi3", {"attention": {**_HEADS, "rope": _LONG}}),
    "gpt_neox": ("gpt_neox", {"heads": 6, "rope": {"share": 0.25}}),
    "bloom": ("bloom", {"heads": 6, "hidden": 192}),
    "gpt2": ("gpt2", {"heads": 6}),
    "olmo2": ("olmo2", {"attention": _HEADS}),
    "gemma2": ("gemma2", {"attention": {**_WIDE, "window": 32, "local": [0], "scale": 16}}),
    "gemma3": ("gemma3", {"attention": {**_WIDE, "window": 32, "local": [0, 1], "scale": 16}}),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        tokenizer = words(Path(name) / "words")
        for number, (title, (family, more)) in enumerate(MODELS.items()):
            # llama.cpp knows Phi 3 by the file's name, and looks for its tokens.
            path = Path(name) / f"{number}.gguf"
            written = made(family, more, tokenizer)
            export.export(written, path, "gguf", "F32")
            print(f"{title:12} {away(written, path):.1e}")


def words(folder: Path) -> Tokenizer:
    """A tokenizer of bytes by GPT-2's rule."""
    rust = tokenizers.Tokenizer(tokenizers.models.BPE())
    rust.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    rust.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=["<|pad|>", "<|bos|>", "<|eos|>"], show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    rust.train_from_iterator([f"word{number} and thing{number}" for number in range(300)], trainer)
    folder.mkdir()
    rust.save(str(folder / "tokenizer.json"))
    settings = {f"{role}_token": f"<|{role}|>" for role in ("pad", "bos", "eos")}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return Tokenizer.load(folder)


def made(family: str, more: dict[str, Any], tokenizer: Tokenizer) -> Bundle:
    sizes = {"vocab": tokenizer.size, "context": 64, "dim": 48, "depth": 2, "hidden": 96}
    model = models.build(models.config(family, {**sizes, **more}), Key(3)).eval()
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return Bundle(model, tokenizer, family, "causal-lm")


def away(bundle: Bundle, path: Path) -> float:
    tokens = [number % bundle.tokenizer.size for number in range(1, LENGTH + 1)]
    with torch.no_grad():
        ours = bundle.model(torch.tensor([tokens]), Context())[0].numpy()
    theirs = llama_cpp.Llama(str(path), n_ctx=64, n_batch=64, logits_all=True, verbose=False)
    theirs.eval(tokens)
    return float(np.abs(np.array(theirs.scores[:LENGTH]) - ours).max() / np.abs(ours).max())


if __name__ == "__main__":
    main()
