from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # core_parts


@pytest.fixture(autouse=True)
def settled():
    """The same numbers each time; and one thread, for what is computed here is too small for two."""
    torch.manual_seed(7)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
