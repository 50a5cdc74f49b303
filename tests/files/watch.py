"""Runs a piece of a user's work under an audit hook and prints, as JSON, what the interpreter was asked for.

    python watch.py FOLDER pickles|code ARGUMENTS…

`pickles`: every global that was unpickled, while `regard` runs the given command lines (one JSON list each).
`code`: whatever was imported, compiled or run out of FOLDER while it is loaded as a model.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

folder, what, *arguments = sys.argv[1:]
found: list[str] = []
seen: set[str] = set()


def hook(event: str, values: tuple[Any, ...]) -> None:
    seen.add(event)
    if what == "pickles" and event in ("pickle.find_class", "marshal.loads"):
        frame, names = sys._getframe(1), []
        while frame is not None:
            names.append(frame.f_code.co_filename)
            frame = frame.f_back
        found.append(f"{event} {values[:2]} from {[name for name in names if 'importlib' not in name][:3]}")
    if what == "code":
        told = " ".join(str(getattr(value, "co_filename", value)) for value in values)
        if event in ("import", "compile", "exec", "ctypes.dlopen") and folder in told:
            found.append(f"{event} {told[:200]}")
        if event == "open" and isinstance(values[0], str) and values[0].startswith(folder):
            found.extend([f"open {values[0]}"] if values[0].endswith((".py", ".pyc", ".pth", ".so", ".pkl")) else [])


def main() -> None:
    if what == "pickles":
        from regard.cli.main import run

        sys.addaudithook(hook)
        codes = []
        for line in arguments:
            command = json.loads(line)
            print(command, file=sys.stderr)
            codes.append(run(command))
        print(json.dumps({"codes": codes, "found": found, "seen": len(seen)}))
        return
    from regard import bundle
    from regard.errors import RegardError
    from regard.inputs.tokenizer import Tokenizer

    sys.addaudithook(hook)
    said = []
    for read in (bundle.load, Tokenizer.load):
        try:
            read(Path(folder))
            said.append("")
        except RegardError as error:
            said.append(str(error))
    print(json.dumps({"said": said, "found": found, "seen": len(seen), "cwd": os.getcwd()}))


if __name__ == "__main__":
    main()
