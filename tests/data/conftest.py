"""Every test has a cache of its own, so that none finds what another left."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("data", deadline=None)  # files are written; how fast is the machine's affair
settings.load_profile("data")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("REGARD_CACHE", str(folder))
    monkeypatch.setenv("REGARD_LANG", "en")
    return folder
