"""A model is read in little more memory than its weights take: no second copy, whole or in pieces."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from regard import bundle, models
from regard.bundle import Bundle
from regard.inputs.tokenizer import Tokenizer
from regard.layers import Key

READ = """
import sys
from pathlib import Path
import torch
from regard import bundle, models
torch.set_num_threads(1)
bundle.load(sys.argv[2])  # all that is imported and made once
def status(what):
    return int(Path("/proc/self/status").read_text().split(what + ":")[1].split()[0]) * 1024
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
loaded = bundle.load(sys.argv[1])
print((status("VmHWM") - before) / sum(one.nbytes for one in loaded.model.parameters()))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2, whose matrices are stored turned round, as it is and in half the bytes; and a tiny one."""
    root = tmp_path_factory.mktemp("models")
    tokenizer = Tokenizer.train("bpe", ["a b c"], 300)
    for name, dim, depth in (("tiny", 16, 1), ("f32", 640, 10)):
        config = models.config("gpt2", {"vocab": tokenizer.size, "context": 16, "dim": dim, "depth": depth, "heads": 4})
        made = Bundle(models.build(config, Key(1)), tokenizer, "gpt2", "causal-lm")
        bundle.save(root / name, made)
    bundle.save(root / "bf16", replace(made, model=made.model.to(torch.bfloat16)))
    return root


@pytest.mark.skipif(sys.platform != "linux", reason="counted by Linux's /proc")
@pytest.mark.parametrize("name", ["f32", "bf16"])
def test_no_second_copy(name, folders):
    command = [sys.executable, "-c", READ, str(folders / name), str(folders / "tiny")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert float(out) < 1.2
