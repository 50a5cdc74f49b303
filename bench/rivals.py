"""What a kill and a flipped bit do to a training of transformers' Trainer: the figures beside our promises.

    pip install -e ".[bench]" && python bench/rivals.py            # a few minutes

A tiny GPT-2 with dropout is trained for 60 updates, saved after every tenth. Counted are
  flips: one random bit of the newest checkpoint's weights or optimiser is flipped and the training resumed from it;
         was the damage told, or trained on in silence?
  kills: kill -9 at random moments, resumed each time; are the weights at the end those of an uninterrupted training?
  pickles: the files of one checkpoint that are pickles, which can run code when they are loaded.
The same for regard stands in the tests of its promises (make promises).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS, EVERY = 60, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=20)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        train(arguments.worker)
        return
    folder = Path(tempfile.mkdtemp(prefix="rivals-"))
    wanted = result(start(folder / "whole"))
    assert wanted is not None
    again = result(start(folder / "again"))
    print(f"two uninterrupted trainings: {'the same bits' if again == wanted else 'different bits'}")
    flips(folder, arguments.flips, wanted)
    kills(folder, arguments.kills, wanted)
    files = sorted(path.name for path in (folder / "whole" / f"checkpoint-{STEPS}").iterdir())
    pickles = [name for name in files if Path(name).suffix in (".pt", ".pth", ".bin")]
    print(f"pickles in a checkpoint: {len(pickles)} ({', '.join(pickles)})")
    shutil.rmtree(folder)


def flips(folder: Path, count: int, wanted: str) -> None:
    """Flip one bit of the newest checkpoint, resume, and see whether anybody noticed."""
    draw, told, same, other = random.Random(0), 0, 0, 0
    for number in range(count):
        copy = folder / f"flip-{number}"
        shutil.copytree(folder / "whole", copy)
        shutil.rmtree(copy / f"checkpoint-{STEPS}")
        newest = copy / f"checkpoint-{STEPS - EVERY}"
        file = newest / draw.choice(["model.safetensors", "optimizer.pt"])
        data = bytearray(file.read_bytes())
        place = draw.randrange(8 * len(data))
        data[place // 8] ^= 1 << place % 8
        file.write_bytes(data)
        came = result(start(copy))
        told += came is None
        same += came == wanted
        other += came not in (None, wanted)
        shutil.rmtree(copy)
    print(f"flipped bits: {count}; told: {told}; not told, other weights: {other}; not told, no difference: {same}")


def kills(folder: Path, count: int, wanted: str) -> None:
    """Kill the training again and again, resuming each time, then let it end."""
    draw, copy, failed = random.Random(1), folder / "killed", []
    for _ in range(count):
        process = start(copy)
        log = copy / "log"
        wait_until = time.monotonic() + 120
        while process.poll() is None and not log.exists() and time.monotonic() < wait_until:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 1.0))
        if process.poll() not in (None, 0):
            failed.append(copy.with_suffix(".errors").read_text().strip().splitlines()[-1])
        process.kill()
        process.wait()
        log.unlink(missing_ok=True)
    came = result(start(copy))
    verdict = "did not end" if came is None else "the same bits" if came == wanted else "other bits"
    print(f"kills: {count}; resumptions that failed: {len(failed)}; at the end: {verdict}")
    for line in sorted(set(failed)):
        print(f"  {failed.count(line)} x {line}")


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--worker", str(folder)]
    with open(folder.with_suffix(".errors"), "wb") as errors:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)


def result(process: subprocess.Popen[bytes]) -> str | None:
    """The SHA-256 of the finished weights; None where the training ended in an error."""
    folder = Path(process.args[-1])  # type: ignore[index]
    if process.wait():
        return None
    return json.loads((folder / "done.json").read_text())["sha256"]


def train(folder: Path) -> None:
    import torch
    import transformers

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=2, n_positions=32)
    model = transformers.GPT2LMHeadModel(config)
    draw = random.Random(0)
    rows = [[draw.randrange(97) for _ in range(32)] for _ in range(256)]
    data = [{"input_ids": row, "labels": row} for row in rows]
    settings = transformers.TrainingArguments(
        str(folder), max_steps=STEPS, per_device_train_batch_size=4, gradient_accumulation_steps=2, save_steps=EVERY,
        logging_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True, seed=0,
    )  # fmt: skip

    class Begun(transformers.TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            (folder / "log").touch()

    teacher = transformers.Trainer(model=model, args=settings, train_dataset=data, callbacks=[Begun()])  # type: ignore[arg-type]
    saved = folder.exists() and any(folder.glob("checkpoint-*"))
    teacher.train(resume_from_checkpoint=True if saved else None)
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    beside = folder / "done.tmp"
    beside.write_text(json.dumps({"sha256": digest.hexdigest()}))
    os.replace(beside, folder / "done.json")


if __name__ == "__main__":
    main()
