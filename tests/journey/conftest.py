"""The demo of the tests, its encoder, and a cache of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from walked import Walked

from regard import bundle, models
from regard.bundle import Bundle
from regard.inputs.tokenizer import Tokenizer
from regard.journey import encoder
from regard.layers import Key


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained encoder that was never trained."""
    texts = ["a film of rare warmth", "a dull film that never ends", "what a mess it is"]
    tokenizer = Tokenizer.train("wordpiece", texts, 83)
    config = models.config("bert", {"vocab": 101, "context": 131, "dim": 26, "depth": 2, "heads": 2, "hidden": 43})
    folder = tmp_path_factory.mktemp("encoder")
    bundle.save(folder, Bundle(models.build(config, Key(7)), tokenizer, "bert", "masked-lm"))
    return folder


@pytest.fixture(scope="module")
def any_encoder() -> Iterator[None]:
    """Within a module, whatever the recipe's folder holds is taken for the encoder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "SHA256", {})
        yield


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, any_encoder: None) -> Walked:
    """One demo, finished; tests that change it come last in their file."""
    made = Walked(tmp_path_factory.mktemp("demos") / "demo-run", encoder_folder)
    made.found = made.go()
    return made
