"""MiniLM's vectors of 2,000 sentences of mixed length: regard beside sentence-transformers, a transformers loop over
texts sorted by length, and ONNX Runtime and CTranslate2 where they are installed.

    python bench/embed.py                      # three rounds, under four minutes on two idle cores
    python bench/embed.py --rounds 1 --texts 400 --systems regard transformers

All hold the same float32 weights and give the same vectors (checked). Each measurement is a process of its own, one at
a time, the systems taking turns; each first embeds a few texts that do not count. Medians over the rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SYSTEMS = {"regard": "regard", "sentence-transformers": "sentence_transformers", "transformers": "transformers",
           "onnxruntime": "onnxruntime", "ctranslate2": "ctranslate2"}  # fmt: skip
MARKS = {"sentence-transformers": 1.4, "transformers": 1.05}  # how many times as fast regard is to be
BATCH = 32  # texts of a batch, where a system works in such; regard goes by tokens
FURTHEST = 1e-4  # of two vectors of length 1

Embed = Callable[[Sequence[str]], np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--worker", choices=list(SYSTEMS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments)
        return
    systems = [one for one in arguments.systems if importlib.util.find_spec(SYSTEMS[one])]
    left_out = {one: "not installed" for one in arguments.systems if one not in systems}
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        seconds: dict[str, list[float]] = {}
        for _ in range(arguments.rounds):
            for system in systems:
                if system not in left_out:
                    found = measured(system, arguments, folder)
                    if isinstance(found, str):
                        left_out[system] = found
                    else:
                        seconds.setdefault(system, []).append(found)
        vectors = {system: np.load(Path(folder) / f"{system}.npy") for system in seconds}
    show(seconds, vectors, left_out, arguments.texts)


def prepare(folder: Path) -> None:
    """The model as a plain folder, for those who read one; no names of packages among the paths."""
    import shutil

    from regard import bundle

    found = bundle.load("minilm").folder
    assert found is not None
    shutil.copytree(found, folder / "model")


def measured(system: str, arguments: Any, folder: str) -> float | str:
    """Seconds for all texts; or why it cannot be had."""
    command = [sys.executable, __file__, "--worker", system, "--folder", folder, "--texts", str(arguments.texts)]
    done = subprocess.run([*command, "--threads", str(arguments.threads)], capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["?"])[-1][:120]
    return json.loads(done.stdout.strip().splitlines()[-1])


def work(arguments: Any) -> None:
    import torch

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    texts = sentences(arguments.texts)
    embed = EMBEDDERS[arguments.worker](arguments.folder / "model", torch.get_num_threads())
    embed(texts[:: max(1, len(texts) // 32)])
    start = time.perf_counter()
    found = embed(texts)
    spent = time.perf_counter() - start
    np.save(arguments.folder / f"{arguments.worker}.npy", found)
    print(json.dumps(spent))


def sentences(count: int) -> list[str]:
    """Of film reviews and of the addresses: from a word to some two hundred, in an order that knows no length."""
    from regard.data import sources
    from regard.data.order import permutation

    found = [row["text"] for name in ("film-reviews", "addresses") for row in sources.open(f"sample:{name}")]
    words = [part.strip() for text in found for part in text.replace("\n", " ").split(". ") if part.strip()]
    order = permutation(7, 0, len(words))
    return [words[number][:1200] for number in order[:count]]


def show(
    seconds: dict[str, list[float]], vectors: dict[str, np.ndarray], left_out: dict[str, str], texts: int
) -> None:
    middle = {system: statistics.median(runs) for system, runs in seconds.items()}
    print(f"all-MiniLM-L6-v2, float32, {texts} sentences (medians of {len(next(iter(seconds.values())))})")
    print(f"{'':24}{'s':>9}{'texts/s':>10}{'regard is':>12}{'mark':>7}{'furthest':>11}")
    for system, spent in middle.items():
        ratio = f"{spent / middle['regard']:.2f} x" if "regard" in middle else ""
        mark = f"{MARKS[system]:.2f}" if system in MARKS else ""
        away = float(np.abs(vectors[system] - vectors[next(iter(vectors))]).max())
        print(f"{system:24}{spent:9.2f}{texts / spent:10.0f}{ratio:>12}{mark:>7}{away:11.1e}")
        assert away <= FURTHEST, f"{system} gives other vectors"
    for system, why in left_out.items():
        print(f"{system:24}left out: {why}")


def _regard(folder: Path, threads: int) -> Embed:
    from regard import bundle
    from regard.tasks.vectors import vectors

    loaded = bundle.load(folder)
    return lambda texts: vectors(loaded, texts, context=256).numpy()


def _sentence_transformers(folder: Path, threads: int) -> Embed:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import models as parts

    models: Any = parts
    words = models.Transformer(str(folder), max_seq_length=256)
    pool = models.Pooling(words.get_word_embedding_dimension(), "mean")
    model = SentenceTransformer(modules=[words, pool, models.Normalize()], device="cpu")
    return lambda texts: model.encode(list(texts), batch_size=BATCH, show_progress_bar=False)


def _transformers(folder: Path, threads: int) -> Embed:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def run(tokens: dict[str, Any]) -> np.ndarray:
        with torch.inference_mode():
            return model(**tokens).last_hidden_state.numpy()

    return _sorted(tokenizer, run, "pt")


def _onnxruntime(folder: Path, threads: int) -> Embed:
    import onnxruntime
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    file = folder.parent / "model.onnx"
    if not file.exists():
        model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()

        class Hidden(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, tokens: Any, mask: Any, types: Any) -> Any:
                return self.model(input_ids=tokens, attention_mask=mask, token_type_ids=types).last_hidden_state

        sample = tokenizer(["a text", "and another one"], padding=True, return_tensors="pt")
        names = ["input_ids", "attention_mask", "token_type_ids"]
        axes = {name: {0: "batch", 1: "length"} for name in [*names, "out"]}
        torch.onnx.export(
            Hidden(), tuple(sample[name] for name in names), file, input_names=names, output_names=["out"],
            dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return _sorted(tokenizer, lambda tokens: np.asarray(session.run(["out"], dict(tokens))[0]), "np")


def _ctranslate2(folder: Path, threads: int) -> Embed:
    import ctranslate2
    from transformers import AutoTokenizer

    made = folder.parent / "ct2"
    if not made.exists():
        ctranslate2.converters.TransformersConverter(str(folder)).convert(str(made))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = ctranslate2.Encoder(str(made), device="cpu", intra_threads=threads, compute_type="float32")

    def run(tokens: dict[str, Any]) -> np.ndarray:
        counts = tokens["attention_mask"].sum(1)
        rows = [row[:count].tolist() for row, count in zip(tokens["input_ids"], counts, strict=True)]
        return np.array(encoder.forward_batch(rows).last_hidden_state)

    return _sorted(tokenizer, run, "np")


def _sorted(tokenizer: Any, run: Callable[[dict[str, Any]], np.ndarray], kind: str) -> Embed:
    """Texts of like length together, in batches; the mean over each text's tokens, of length 1."""

    def embed(texts: Sequence[str]) -> np.ndarray:
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        found: list[np.ndarray] = [np.empty(0)] * len(texts)
        for start in range(0, len(order), BATCH):
            numbers = order[start : start + BATCH]
            tokens = tokenizer(
                [texts[n] for n in numbers], padding=True, truncation=True, max_length=256, return_tensors=kind
            )
            hidden, mask = run(tokens), np.asarray(tokens["attention_mask"])[..., None]
            mean = (hidden * mask).sum(1) / mask.sum(1)
            for number, vector in zip(numbers, mean / np.linalg.norm(mean, axis=-1, keepdims=True), strict=True):
                found[number] = vector
        return np.stack(found)

    return embed


EMBEDDERS: dict[str, Callable[[Path, int], Embed]] = {
    "regard": _regard,
    "sentence-transformers": _sentence_transformers,
    "transformers": _transformers,
    "onnxruntime": _onnxruntime,
    "ctranslate2": _ctranslate2,
}

if __name__ == "__main__":
    main()
