"""What loading SmolLM2-135M takes: peak memory beside the weights, and seconds; out of safetensors and out of GGUF.

    python bench/load.py

Each load is a process of its own; the peak is what its own memory grew by from before the load, weights that are mapped
from the file included. float32 in and float32 out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MOST = 1.2  # x the weights
KINDS = ("safetensors", "gguf")


def main() -> int:
    if len(sys.argv) == 3:
        print(json.dumps(measure(Path(sys.argv[2]))))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", PREPARE, folder], check=True)
        places = dict(zip(KINDS, (Path(folder) / "hf", Path(folder) / "model.gguf"), strict=True))
        found = {}
        for kind, place in places.items():
            command = [sys.executable, __file__, "--worker", str(place)]
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found[kind] = json.loads(out.strip().splitlines()[-1])
    print(f"{'':14}{'weights MB':>12}{'peak MB':>10}{'ratio':>8}{'seconds':>9}")
    for kind, one in found.items():
        ratio = one["peak"] / one["weights"]
        print(f"{kind:14}{one['weights']:12.0f}{one['peak']:10.0f}{ratio:8.2f}{one['seconds']:9.2f}")
    within = all(one["peak"] <= MOST * one["weights"] for one in found.values())
    print(f"{'within' if within else 'NOT within'} {MOST} x the weights")
    return 0 if within else 1


PREPARE = """
import sys
from pathlib import Path
from regard import bundle, export
loaded, folder = bundle.load("smollm2"), Path(sys.argv[1])
bundle.save(folder / "hf", loaded)
export.export(loaded, folder / "model.gguf", "gguf", "F32")
"""


def measure(place: Path) -> dict[str, float]:
    """Megabytes and seconds of one load."""
    import psutil

    from regard import bundle
    from regard.inputs.tokenizer import Tokenizer

    Tokenizer.load(place)  # the tokenizer, and what is imported for it, is not the weights
    process = psutil.Process()
    before, began = process.memory_info().rss, time.perf_counter()
    watch = Peak(process)
    loaded = bundle.load(place)
    total = float(sum(each.sum() for each in loaded.model.parameters()))  # every page is read
    seconds, peak = time.perf_counter() - began, watch.stop() - before
    weights = sum(each.numel() * each.element_size() for each in loaded.model.parameters())
    return {"peak": peak / 1e6, "weights": weights / 1e6, "seconds": seconds, "sum": total}


class Peak:
    """The most memory of this process since it was made, looked at every millisecond."""

    def __init__(self, process: object) -> None:
        import threading

        self._process, self._most, self._on = process, 0, True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while self._on:
            self._most = max(self._most, self._process.memory_info().rss)  # type: ignore[attr-defined]
            time.sleep(0.001)

    def stop(self) -> int:
        self._on = False
        self._thread.join()
        return self._most


if __name__ == "__main__":
    sys.exit(main())
