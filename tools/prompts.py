"""The spoken prompts of Asterisk as rows of sounds and what is said in them, for the recipe `prompts`.

    apt-get download asterisk-core-sounds-en-wav asterisk-core-sounds-en
    for file in *.deb; do dpkg-deb -x $file prompts; done
    python tools/prompts.py prompts prompts.tsv

CC-BY-SA (the packages' own copyright files say whose); nothing of it is kept here. Texts are lower-cased and lose all
marks but the apostrophe. What stands in brackets is a sound and not said; a prompt of only such is left out, and so are
the beeps.
"""

from __future__ import annotations

import gzip
import re
import sys
from pathlib import Path

LINE = re.compile(r"^([\w/-]+):\s*(.+)$")


def main(folder: Path, out: Path) -> None:
    waves = sorted(folder.rglob("*.wav"))
    voice = next(path.parent for path in waves if path.stem == "activated")
    sounds = {str(path.relative_to(voice).with_suffix("")): path for path in waves if path.is_relative_to(voice)}
    (listed,) = folder.rglob("core-sounds-en.txt*")
    text = gzip.decompress(listed.read_bytes()) if listed.suffix == ".gz" else listed.read_bytes()
    rows = ["source\ttarget"]
    for line in text.decode("utf-8").splitlines():
        found = LINE.match(line)
        said = spelled(found[2]) if found else ""
        path = sounds.get(found[1]) if found else None
        if said and not said.startswith("beep") and path is not None:
            rows.append(f"{path.resolve()}\t{said}")
    out.write_text("\n".join(rows) + "\n", encoding="utf-8")
    print(f"{out}: {len(rows) - 1} of {len(sounds)} sounds")


def spelled(text: str) -> str:
    """What is said, in lower-case letters, apostrophes and single spaces."""
    text = re.sub(r"\[[^]]*\]|\([^)]*\)", " ", text.lower().replace("’", "'"))
    return " ".join(re.sub(r"[^a-z' ]", " ", text).split())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
