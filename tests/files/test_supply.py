"""What comes along: the lock and its bill of materials, no secrets, no binaries, no network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import lock  # noqa: E402
import sbom  # noqa: E402

FLOORS = {"torch": "2.10", "jinja2": "3.1.6", "pyarrow": "14.0.1", "pillow": "12.2", "starlette": "1.0.1"}
MOST_RUNTIME = 9  # packages that everybody who uses regard must install
SECRETS = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{200,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{36}|\bhf_[A-Za-z0-9]{30,}"
    r"|\bsk-[A-Za-z0-9]{40,}|\bxox[abprs]-[0-9A-Za-z-]{20,}|\bAIza[0-9A-Za-z_-]{35}|\bpypi-[A-Za-z0-9_-]{60,}|\beyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{20,}"
)  # fmt: skip
EXAMPLES = re.compile(r"AKIAIOSFODNN7EXAMPLE|AKIA0{16}|(.)\1{11,}|EXAMPLE|0123456789|abcdefghij", re.IGNORECASE)
RUNNABLE = {".pkl", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".so", ".dll", ".exe", ".pyc", ".whl", ".jar"}


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def test_the_lock_is_whole_and_names_no_place():
    locked = lock.everything()
    assert len(locked) > 50 and all(hashes for _, hashes in locked.values())
    text = "".join(path.read_text(encoding="utf-8") for path in lock.FOLDER.glob("*.txt"))
    assert not re.search(r"://|--(?:extra-)?index|--find-links|@ ", text)
    below = [name for name, floor in FLOORS.items() if name in locked and Version(locked[name][0]) < Version(floor)]
    assert not below


def test_the_lock_covers_what_is_asked_for():
    """Of what pyproject.toml names itself; `make lock` and `python tools/lock.py check` look at all of it."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    locked = lock.everything()
    for text in lock.own(frozenset(lock.EXTRAS)):
        wanted = Requirement(text)
        if wanted.name == lock.OWN or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        name = canonicalize_name(wanted.name)
        assert name in locked, f"{name} is not locked: make lock"
        assert wanted.specifier.contains(locked[name][0], prereleases=True), name


def test_the_bill_of_materials_says_what_the_lock_says():
    assert sbom.check(sbom.BILL) == []
    bill = json.loads(sbom.BILL.read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX" and bill["specVersion"] == "1.6" and "timestamp" not in json.dumps(bill)
    assert all(part["purl"].startswith("pkg:pypi/") for part in bill["components"])
    strong = [part["name"] for part in bill["components"] if re.search(r"\bA?GPL", sbom.licence(part))]
    assert not strong, "a licence that would bind whoever uses regard"


def test_few_packages_are_needed():
    assert len(lock.own(frozenset())) <= MOST_RUNTIME


def test_no_secret_is_tracked():
    found = []
    for path in tracked():
        for match in SECRETS.finditer(path.read_bytes().decode("utf-8", "replace")):
            if not EXAMPLES.search(match[0]):
                found.append(f"{path.relative_to(ROOT)}: {match[0][:12]}…")
    assert not found


def test_nothing_that_runs_is_tracked():
    assert not [path.name for path in tracked() if path.suffix in RUNNABLE]


def test_importing_everything_opens_no_socket_and_starts_nothing():
    code = """
import sys, pkgutil, importlib
bad = []
def hook(event, values):
    if event.startswith(("socket.connect", "socket.getaddrinfo", "socket.gethostby", "subprocess.", "os.system")):
        bad.append(f"{event} {values}")
sys.addaudithook(hook)
import regard
count = 0
for one in pkgutil.walk_packages(regard.__path__, "regard."):
    if one.name not in ("regard.__main__", "regard.inputs.sandbox"):
        importlib.import_module(one.name)
        count += 1
print(count, bad)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1500:]
    count, bad = done.stdout.strip().split(" ", 1)
    assert int(count) > 100 and bad == "[]"


def test_no_test_reaches_the_network():
    """The suite runs under pytest-socket (pyproject.toml): this machine only."""
    import socket

    from pytest_socket import SocketConnectBlockedError

    with socket.socket() as one, pytest.raises((SocketConnectBlockedError, UserWarning)):
        one.settimeout(1)
        one.connect(("192.0.2.1", 80))  # of the addresses that are kept for documents
