"""The share of words that are heard wrong (WER) over the 563 prompts of Asterisk, 25 minutes of one voice at 8 kHz,
beside CTranslate2 on the same weights.

    python bench/transcribe.py [--model whisper-tiny] [--beams 5] [--limit N] [--folder DIR]

The sounds come out of Debian's packages asterisk-core-sounds-en-wav and asterisk-core-sounds-en (CC-BY-SA 3.0), fetched
with apt-get download into --folder and unpacked there, not installed. Errors are counted by jiwer after Whisper's own
normalisation of English, on texts without what stands in brackets.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from regard import bundle
from regard.generate.transcribe import Hearing, transcribe
from regard.inputs.sound import Sound, opened

PACKAGES = ("asterisk-core-sounds-en-wav", "asterisk-core-sounds-en")
VOICE = "usr/share/asterisk/sounds/en_US_f_Allison"
TEXTS = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="whisper-tiny")
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("asterisk"))
    options = parser.parse_args()
    prompts = list(clips(options.folder))
    prompts = prompts[:: max(1, len(prompts) // options.limit)][: options.limit] if options.limit else prompts
    model = bundle.load(options.model)
    hearing = Hearing(beams=options.beams)
    report("regard", prompts, lambda sound: transcribe(model, sound, hearing).text)
    if (other := rival(model, options.beams)) is not None:
        report("ctranslate2", prompts, other)


def clips(folder: Path) -> Iterator[tuple[Path, str]]:
    """(file, what is said in it) of every prompt that has a text."""
    if not (folder / TEXTS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=folder, check=True)
        for archive in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
    with gzip.open(folder / TEXTS, "rt", encoding="utf-8") as file:
        lines = [line.partition(":") for line in file if not line.startswith(";")]
    for name, colon, text in lines:
        path = folder / VOICE / f"{name.strip()}.wav"
        said = re.sub(r"\[[^]]*\]|\([^)]*\)|<[^>]*>", " ", text).strip()
        if colon and said and path.is_file():
            yield path, said


def report(system: str, prompts: list[tuple[Path, str]], hear: Callable[[Sound], str]) -> None:
    import jiwer
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normal = EnglishTextNormalizer({})
    expected, found, began, seconds = [], [], time.perf_counter(), 0.0
    for number, (path, text) in enumerate(prompts, 1):
        sound = opened(path)
        seconds += sound.seconds
        expected.append(normal(text))
        found.append(normal(hear(sound)))
        if sys.stderr.isatty() or number % 50 == 0:
            print(f"\r{system} {number}/{len(prompts)}", end="", file=sys.stderr, flush=True)
    took = time.perf_counter() - began
    kept = [(one, other) for one, other in zip(expected, found, strict=True) if one]
    measured: Any = jiwer.process_words([one for one, _ in kept], [other for _, other in kept])
    right = sum(one == other for one, other in kept)
    print(json.dumps({
        "system": system, "clips": len(kept), "minutes": round(seconds / 60, 2), "wer": round(measured.wer, 4),
        "substitutions": measured.substitutions, "deletions": measured.deletions, "insertions": measured.insertions,
        "words": sum(len(one.split()) for one, _ in kept), "whole clips right": round(right / len(kept), 4),
        "times real time": round(seconds / took, 2),
    }), flush=True)  # fmt: skip


def rival(model: Any, beams: int) -> Callable[[Sound], str] | None:
    """CTranslate2 on the same file, one window, no times."""
    try:
        import ctranslate2
    except ImportError:
        return None
    other = ctranslate2.models.Whisper(str(model.folder), device="cpu", compute_type="float32", intra_threads=1)

    def hear(sound: Sound) -> str:
        frames = model.processor(sound).T[None].contiguous().numpy()
        features = ctranslate2.StorageView.from_array(np.ascontiguousarray(frames))
        prompt = [list(model.tokenizer.template.before)]
        best = other.generate(features, prompt, beam_size=beams, max_length=224)[0]
        return model.tokenizer.decode([token for token in best.sequences_ids[0] if token < model.tokenizer.eos])

    return hear


if __name__ == "__main__":
    main()
