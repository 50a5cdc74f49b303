from __future__ import annotations

import sys
from pathlib import Path

import pytest

from regard.inputs.tokenizer import KINDS, Tokenizer

sys.path.insert(0, str(Path(__file__).parent))  # odd_texts

TEXTS = [
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "明月几时有？把酒问青天。不知天上宫阙，今夕是何年。",
    "今天天气很好，我们去公园散步。天气预报说明天有雨。",
    "The quick brown fox jumps over the lazy dog; it isn't tired.",
    "Attention is all you need, and 3.14 other things.",
    "Hello world! Hello tokens, hello words.",
] * 11


@pytest.fixture(scope="session")
def trained() -> dict[str, Tokenizer]:
    """One tokenizer of each kind, learnt from a little Chinese and English."""
    return {kind: Tokenizer.train(kind, TEXTS, 571) for kind in KINDS}


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS
