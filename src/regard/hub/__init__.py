"""Models of hubs: found by name, fetched on request from the mirrors in order, checked, kept.

    ref = reference("hf:org/name@v2")         # or "ms:org/name" (ModelScope)
    place(ref)                                # where it lies, or None
    fetch(ref)                                # asks the network, and nothing else of regard does

Only safetensors (or one GGUF file) and the small files beside them are taken; no code. A file counts when its size and
its hash are those that the hub lists; a model counts when all its files do.
"""

from __future__ import annotations

from regard.hub.fetching import Request, adopt, fetch
from regard.hub.names import Reference, kept, place, reference

__all__ = ["Reference", "Request", "adopt", "fetch", "kept", "place", "reference"]
