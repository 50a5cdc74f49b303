"""How every test runs: the same examples each time, no time limit on one example, messages in English.

`make soak` (HYPOTHESIS_PROFILE=soak) looks for new examples instead, and for longer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from regard.words import speaking

COMMON = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}

settings.register_profile("test", derandomize=True, **COMMON)
settings.register_profile("soak", max_examples=5000, print_blob=True, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    with speaking("en"):
        yield
