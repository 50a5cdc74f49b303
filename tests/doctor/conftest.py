from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # small_families, small_runs


@pytest.fixture(autouse=True)
def settled() -> Iterator[None]:
    """The same numbers each time; and one thread, for what is computed here is too small for two."""
    torch.manual_seed(7)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory):
    """trained("causal-lm gpt2") -> the folder of a small run, made once; nobody may change it."""
    from small_runs import RUNS, train

    made: dict[str, Path] = {}

    def one(name: str) -> Path:
        if name not in made:
            made[name] = train(RUNS[name], tmp_path_factory.mktemp("runs"))
        return made[name]

    return one
