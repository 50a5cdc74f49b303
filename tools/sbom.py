"""A bill of materials: what is in the lock, with licences, as CycloneDX 1.6.

python tools/sbom.py           write requirements/sbom.cdx.json from the lock and the packages installed
python tools/sbom.py --check   whether it says what the lock says
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import sys
import uuid
from pathlib import Path
from typing import Any

import lock
from packaging.utils import canonicalize_name

BILL = lock.ROOT / "requirements" / "sbom.cdx.json"
RUNTIME = "required"
SPOKEN = "License :: OSI Approved :: "
UNSAID = {"atheris": "Apache-2.0"}  # what stands in a package's licence file and not in its metadata


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        BILL.write_text(json.dumps(bill(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    faults = check(BILL)
    parts = json.loads(BILL.read_text(encoding="utf-8"))["components"]
    licences = sorted({licence(part) for part in parts})
    print("\n".join(faults) or f"{len(parts)} packages, as in the lock; licences: {'; '.join(licences)}")
    return 1 if faults else 0


def bill() -> dict[str, Any]:
    """The document. The same lock gives the same one: it has no time, and its number is drawn from its content."""
    version = importlib.metadata.version(lock.OWN)
    needed = {canonicalize_name(one.partition(">")[0].strip()) for one in lock.own(frozenset())}
    locked = lock.everything()
    parts = [component(name, *locked[name], needed=name in needed) for name in sorted(locked)]
    number = uuid.uuid5(uuid.NAMESPACE_DNS, json.dumps(parts, sort_keys=True))
    own = {"type": "library", "bom-ref": lock.OWN, "name": lock.OWN, "version": version}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{number}",
        "version": 1,
        "metadata": {"component": own | {"licenses": [{"expression": "Apache-2.0"}]}},
        "components": parts,
    }


def component(name: str, version: str, hashes: list[str], *, needed: bool) -> dict[str, Any]:
    """One package; `needed`: whoever uses regard has it, not only who develops it."""
    return {
        "type": "library",
        "bom-ref": purl(name, version),
        "name": name,
        "version": version,
        "purl": purl(name, version),
        "scope": RUNTIME if needed else "optional",
        "licenses": [stated(name)],
        "properties": [{"name": "regard:lock", "value": digest(hashes)}],
    }


def digest(hashes: list[str]) -> str:
    """One hash for those of all of a package's files, which stand in the lock."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def stated(name: str) -> dict[str, Any]:
    """The licence as the package's own metadata tell it, newest way first."""
    told = importlib.metadata.metadata(name)
    if expression := told.get("License-Expression") or UNSAID.get(name):
        return {"expression": expression}
    spoken = [one.removeprefix(SPOKEN) for one in told.get_all("Classifier", []) if one.startswith(SPOKEN)]
    short = (told.get("License") or "").strip().splitlines()
    return {"license": {"name": ", ".join(sorted(spoken)) or (short[0][:80] if short else "not stated")}}


def licence(part: dict[str, Any]) -> str:
    one = part["licenses"][0]
    return one.get("expression") or one["license"]["name"]


def purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def check(path: Path) -> list[str]:
    """In what the bill differs from the lock, a sentence each."""
    found = {part["name"]: part for part in json.loads(path.read_text(encoding="utf-8"))["components"]}
    locked = lock.everything()
    faults = [f"{name} is in one of them only" for name in sorted(found.keys() ^ locked.keys())]
    for name in sorted(found.keys() & locked.keys()):
        part, (version, hashes) = found[name], locked[name]
        if part["version"] != version or part["properties"][0]["value"] != digest(hashes):
            faults.append(f"{name} differs in its version or hashes")
        if licence(part) == "not stated":
            faults.append(f"{name} states no licence")
    return faults


if __name__ == "__main__":
    sys.exit(main())
