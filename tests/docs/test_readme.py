"""Every command and every line of code in the README runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = ["--set", "train.steps=2", "--set", "train.keep.every=2", "--set", "train.machine.tensorboard=false"]


def code(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in code("bash") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("regard")]


def regard(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "regard", *arguments]
    environment = {**os.environ, "REGARD_LANG": "en", "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the README's commands find in theirs: a table of reviews and a run on poems."""
    folder = tmp_path_factory.mktemp("readme")
    rows = [f"{'a fine warm film' if n % 2 else 'a dull cold film'} number {n}\t{'pn'[n % 2]}" for n in range(120)]
    (folder / "reviews.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    sizes = "model.dim=16 model.depth=1 model.hidden=24 data.rows=60 data.share=0.001 tokenizer.vocab=500"
    sets = [part for one in sizes.split() for part in ("--set", one)]
    made = regard(folder, "train", "poems", *sets, *TINY, "--out", "runs/poems")
    assert made.returncode == 0, made.stderr
    shutil.copy(ROOT / "tests/using/sounds/privacy-prompt.wav", folder / "talk.wav")
    return folder


@pytest.mark.slow
def test_the_commands_run(workplace: Path) -> None:
    verbs = {line[1] for line in commands() if len(line) > 1}
    others = {"doctor", "chat", "embed", "export", "transcribe"}
    assert verbs == {"new", "train", "eval", "predict", "generate", "explain", *others}
    for line in commands():
        more = [*TINY] if line[1:2] == ["train"] else ["--max-tokens", "5"] if line[1:2] == ["generate"] else []
        done = regard(workplace, *line[1:], *more)
        assert done.returncode == 0, (line, done.stderr)
        assert done.stdout.strip() or line[1:2] == ["train"], line


@pytest.mark.slow
def test_a_transformer_built_by_hand(tmp_path: Path) -> None:
    (program,) = code("python")
    assert "range(300)" in program
    file = tmp_path / "by_hand.py"
    file.write_text(program.replace("range(300)", "range(3)"), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, str(file)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "bits_per_character" in done.stdout
    assert done.stdout.count("今天天气很好") == 5
    assert sum(1 for line in program.splitlines() if line.strip() and not line.startswith(("from", "import"))) <= 40


def test_both_languages_show_the_same_commands() -> None:
    other = (ROOT / "README.zh.md").read_text(encoding="utf-8")
    bare = [re.sub(r"\s+#.*", "", line) for block in code("bash") for line in block.splitlines()]
    theirs = re.findall(r"```bash\n(.*?)```", other, re.DOTALL)
    assert bare == [re.sub(r"\s+#.*", "", line) for block in theirs for line in block.splitlines()]


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "README.zh.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
