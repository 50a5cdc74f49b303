"""The built-in samples: what they are, and the SHA-256 that their unpacked text must have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from regard.config import nearest
from regard.errors import RegardError

PREFIX = "sample:"
FOLDER = Path(__file__).parent / "builtin"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One vendored data set; ATTRIBUTION.md says where it comes from and what was changed."""

    name: str
    rows: int
    language: str
    columns: tuple[str, ...]
    licence: str
    sha256: str

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.jsonl.xz"


SAMPLES = (
    Sample(
        name="tang-poems",
        rows=51_115,
        language="zh",
        columns=("author", "title", "text"),
        licence="MIT",
        sha256="695a48db3be7868b21f43891be07a64726cf79df91cc8fc345a6bb7241b9ed1d",
    ),
    Sample(
        name="film-reviews",
        rows=10_043,
        language="en",
        columns=("text", "label", "rating"),
        licence="MIT",
        sha256="d0d181a6eb7b16ae95ee93dd49309714cc841e78aa4e2cfb859ac2765e0469c7",
    ),
    Sample(
        name="office-help",
        rows=8_679,
        language="en-zh",
        columns=("page", "id", "source", "target"),
        licence="MPL-2.0",
        sha256="01659b0eca9bd915b3c5005d743569442bde08d7e17fb80c902c6db3b0a66746",
    ),
    Sample(
        name="addresses",
        rows=233,
        language="en",
        columns=("year", "president", "party", "text"),
        licence="CC0-1.0",
        sha256="ec1ca330d1bfa70b23f067cda8bb9f4e196f044cb6d54b89506846aefd58e2c1",
    ),
    Sample(
        name="digits",
        rows=1797,
        language="-",
        columns=("text", "label"),
        licence="BSD-3-Clause",
        sha256="d2767d82e5359c7a5519e85d62f64f521b1bfdb14c0abd3c24fdcd6fca5bb9c7",
    ),
)


def find(name: str) -> Sample:
    """The sample of this name, with or without `sample:` before it."""
    short = name.removeprefix(PREFIX)
    for sample in SAMPLES:
        if sample.name == short:
            return sample
    names = [sample.name for sample in SAMPLES]
    guess = nearest(short, names) or names[0]
    raise RegardError("data.unknown_sample", name=short, names=", ".join(names), guess=PREFIX + guess)
