"""A training on a disk that is full from its n-th write on, for one n after another, and then has room again.

    LD_PRELOAD=fault.so python full_disk.py RECIPE FOLDER ERROR FIRST STRIDE    (tests/train/test_durable.py)

Prints a line of JSON for each n: the exit code, what was said, what stands afterwards, whether the resumed run is the
one that nothing disturbed.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import torch
from test_resume import outcome

from regard.cli.main import run as command
from regard.errors import BadFileError
from regard.train import checkpoint
from regard.train.run import Run

FAULT = ctypes.CDLL(os.environ["LD_PRELOAD"])
OFF = -1


def said(*arguments: str) -> tuple[int, str]:
    err = io.StringIO()
    with redirect_stderr(err), redirect_stdout(io.StringIO()):
        code = command([*arguments, "--json"])
    return code, err.getvalue()


def main(recipe: str, root: Path, error: int, first: int, stride: int) -> None:
    torch.set_num_threads(1)
    whole = root / "whole"
    assert said("train", recipe, "--out", str(whole))[0] == 0
    wanted, n = outcome(whole), first
    while True:
        folder = root / f"run-{n}"
        FAULT.fault_set(os.fsencode(folder), n, error, 1)
        code, text = said("train", recipe, "--out", str(folder))
        FAULT.fault_set(b"", OFF, error, 1)
        if code == 0:
            break
        found: dict[str, object] = {"n": n, "code": code, "said": text}
        run = Run(folder)
        litter = [str(path.relative_to(root)) for path in folder.rglob("*tmp-*")] if folder.exists() else []
        damaged: list[BadFileError] = []
        newest = checkpoint.newest(run.checkpoints, damaged.append)
        found |= {
            "litter": litter,
            "damaged": [str(error) for error in damaged],
            "kept": newest.step if newest else None,
            "exists": run.exists,
        }
        found |= {"steps": len(run.updates())}
        again = said("train", "--resume", str(folder)) if run.exists else said("train", recipe, "--out", str(folder))
        found |= {"again": again, "same": again[0] == 0 and outcome(folder)[1:] == wanted[1:]}
        print(json.dumps(found), flush=True)
        n += stride


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *(int(value) for value in sys.argv[3:6]))
