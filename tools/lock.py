"""The lock: every package that developing and testing takes, by exact version and by the hashes of its files.

    python tools/lock.py make      write requirements/*.txt from what is installed (needs `uv`)
    python tools/lock.py check     whether the lock covers what pyproject.toml asks for, and what is installed is it

What is locked is what was tested: the installed closure of the extras below. `make` asks the package index for the
hashes of every file of each version, so the lock serves all systems. torch has a file of its own: it comes as one of
several builds of the same version, each with its hash and, but for the CPU's, with packages of its own. So has the
fuzzer, which there is for few systems.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"
LOCK, FUZZ, TORCH, CPU = (FOLDER / f"{name}.txt" for name in ("dev", "fuzz", "torch", "torch-cpu"))
EXTRAS = ("dev", "fuzz")
OWN, SEPARATE = "regard", "torch"
ALSO = ("setuptools",)  # what builds the package itself
HEAD_TORCH = "# torch as the package index has it, for the hashes of its builds; `make` installs it by its version.\n"
HEAD_CPU = """\
# The build without CUDA, which an index of its own or a disk has:
#   make test TORCH="--no-deps --require-hashes -r requirements/torch-cpu.txt"
"""
HEAD = """\
# Made by `make lock`. Installed by `make`, before anything else: pip install --no-deps --require-hashes -r {name}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=("make", "check"))
    if parser.parse_args().what == "make":
        make()
    faults = check()
    print("\n".join(faults) or f"{len(everything())} packages: locked, hashed, and as installed")
    return 1 if faults else 0


def make() -> None:
    """Write the files."""
    found, for_all = installed(), installed("dev")
    FOLDER.mkdir(exist_ok=True)
    if absent := sorted(name for name, version in found.items() if not version):
        sys.exit(f"not installed: {', '.join(absent)}")
    for path, names in ((LOCK, for_all.keys() - {SEPARATE}), (FUZZ, found.keys() - for_all.keys())):
        text = hashed([f"{name}=={found[name]}" for name in sorted(names)])
        path.write_text(HEAD.format(name=f"requirements/{path.name}") + text, encoding="utf-8")
    version, _, mark = found[SEPARATE].partition("+")  # a build's own mark (+cpu) is no part of what is asked for
    text = f"{SEPARATE}=={version}"
    TORCH.write_text(HEAD_TORCH + hashed([text]), encoding="utf-8")
    if mark == "cpu":
        CPU.write_text(f"{HEAD_CPU}{text} \\\n    --hash=sha256:{build(text)}\n", encoding="utf-8")


def check() -> list[str]:
    """What is wrong with the lock, a sentence each."""
    locked, here = everything(), installed()
    faults = [f"{name} is asked for and not locked" for name in sorted(here.keys() - locked.keys())]
    faults += [f"{name} is locked and nobody asks for it" for name in sorted(locked.keys() - here.keys())]
    for name, (version, hashes) in locked.items():
        if not hashes:
            faults.append(f"{name} has no hash")
        if (there := here.get(name, version)).partition("+")[0] != version:
            faults.append(f"{name} is locked at {version} and installed as {there or 'nothing'}")
    if any(re.search(r"://|index-url|find-links", path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.txt")):
        faults.append("the lock names a place to fetch from")
    return faults


def everything() -> dict[str, tuple[str, list[str]]]:
    """All that is locked."""
    return read(LOCK) | read(FUZZ) | read(TORCH)


def read(path: Path) -> dict[str, tuple[str, list[str]]]:
    """Package to (version, SHA-256 of each of its files)."""
    found = {}
    for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==(\S+)", line):
            found[canonicalize_name(match[1])] = (match[2], re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
    return found


def installed(*extras: str) -> dict[str, str]:
    """Package to version of all that our extras bring here, directly or not; "" for what is not there."""
    found: dict[str, str] = {}
    none: frozenset[str] = frozenset()
    waiting = [(OWN, frozenset(extras or EXTRAS)), *((name, none) for name in ALSO)]
    seen = set(waiting)
    while waiting:
        name, chosen = waiting.pop()
        if name == OWN:
            texts = own(chosen)
        else:
            try:
                package = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                found[canonicalize_name(name)] = ""
                continue
            found[canonicalize_name(name)], texts = package.version, package.requires or []
        for text in texts:
            wanted = Requirement(text)
            if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in chosen or {""}):
                continue
            one = (canonicalize_name(wanted.name), frozenset(wanted.extras))
            if one not in seen:
                seen.add(one)
                waiting.append(one)
    return found


def own(extras: frozenset[str]) -> list[str]:
    """What pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]


def hashed(pins: list[str]) -> str:
    """The pins with the hashes of all their files, by uv, which asks the index that it is set to."""
    command = [os.environ.get("UV", "uv"), "pip", "compile", "-", "--no-deps", "--generate-hashes", "--no-header"]
    command += ["--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--quiet", "--universal"]
    done = subprocess.run(command, input="\n".join(pins), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout


def build(pin: str) -> str:
    """The SHA-256 of the file that pip takes for a pin on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, pin]
        subprocess.run(command, check=True)
        with open(next(Path(folder).iterdir()), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
