"""The share of words that are heard wrong (WER) over the 563 prompts of Asterisk, 25 minutes of one voice at 8 kHz,
beside CTranslate2 on the same weights.

    python bench/transcribe.py [--model whisper-tiny] [--beams 5] [--limit N] [--folder DIR]

The sounds come out of Debian's packages asterisk-core-sounds-en-wav and asterisk-core-sounds-en (CC-BY-SA 3.0), fetched
with apt-get download into --folder and unpacked there, not installed; what was heard is kept there too. Errors are
counted by jiwer after Whisper's own normalisation of English, on texts without what stands in brackets.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
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
    random.Random(7).shuffle(prompts)  # so that the first of them stand for all
    prompts = prompts[: options.limit] if options.limit else prompts
    model = bundle.load(options.model)
    hearing = Hearing(beams=options.beams)
    systems: dict[str, Callable[[Sound], str]] = {"regard": lambda sound: transcribe(model, sound, hearing).text}
    if (other := rival(model, options.beams)) is not None:
        systems["ctranslate2"] = other
    log = options.folder / f"heard-{Path(options.model).name}-{options.beams}.jsonl"
    for found in heard(prompts, systems, log):
        print(json.dumps(found), flush=True)


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


def heard(
    prompts: list[tuple[Path, str]], systems: dict[str, Callable[[Sound], str]], log: Path
) -> Iterator[dict[str, Any]]:
    """The figures of each system. What was heard is kept in ``log``: a run that was ended goes on from there."""
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for line in log.read_text("utf-8").splitlines() if log.exists() else ():
        row = json.loads(line)
        kept[row["system"], row["clip"]] = row
    for number, (path, text) in enumerate(prompts, 1):
        sound, clip = opened(path), f"{path.parent.name}/{path.name}"
        for system, hear in systems.items():  # by turns, so that both meet the machine in the same moods
            if (system, clip) in kept:
                continue
            began = time.perf_counter()
            row = {"system": system, "clip": clip, "text": text, "heard": hear(sound),
                   "seconds": sound.seconds, "took": time.perf_counter() - began}  # fmt: skip
            kept[system, clip] = row
            with open(log, "a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        if sys.stderr.isatty():
            print(f"\r{number}/{len(prompts)}", end="", file=sys.stderr, flush=True)
    for system in systems:
        yield figures(system, [kept[system, f"{path.parent.name}/{path.name}"] for path, _ in prompts])


def figures(system: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    import jiwer
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normal = EnglishTextNormalizer({})
    plain = [{key: row[key].replace("...", " ") for key in ("text", "heard")} for row in rows]  # it would keep the dots
    pairs = [(normal(row["text"]), normal(row["heard"])) for row in plain]
    pairs = [(said, found) for said, found in pairs if said]
    measured: Any = jiwer.process_words([said for said, _ in pairs], [found for _, found in pairs])
    seconds, took = sum(row["seconds"] for row in rows), sum(row["took"] for row in rows)
    return {
        "system": system, "clips": len(pairs), "minutes": round(seconds / 60, 2), "wer": round(measured.wer, 4),
        "substitutions": measured.substitutions, "deletions": measured.deletions, "insertions": measured.insertions,
        "words": sum(len(said.split()) for said, _ in pairs),
        "whole clips right": round(sum(said == found for said, found in pairs) / len(pairs), 4),
        "times real time": round(seconds / took, 2),
    }  # fmt: skip


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
