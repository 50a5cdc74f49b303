"""The house plan as tests: who may import whom, what may stand where, how large things may grow."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
from graphlib import CycleError, TopologicalSorter

import pytest
from house import PACKAGE, ROOMS, ROOT, classes, dotted, functions, imports, modules, room

from regard.models import families

OPTIONAL = {
    "matplotlib",
    "datasets",
    "pyarrow",
    "sacrebleu",
    "tensorboard",
    "jieba",
    "llguidance",
    "pypinyin",
    "transformers",
    "sentencepiece",
    "PIL",
    "tiktoken",
    "soundfile",
}
NO_TORCH = ("regard", "regard.words", "regard.errors", "regard.limits", "regard.config", "regard.cli")
FORBIDDEN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load", "torch.save"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "shelve", "marshal", "yaml", "joblib"}
CORES = re.compile(r"(^|\.)(softmax|log_softmax|scaled_dot_product_attention|Softmax|LogSoftmax)$")
PARTS = re.compile(r"(Attention|Norm|Block|FeedForward|Mlp|MLP|Sublayer|Residual)\w*$")

MOST_PARAMETERS = 12
MOST_LINES = 60


def test_every_room_is_in_the_plan():
    assert {room(name) for name in modules() if room(name)} <= set(ROOMS)


def test_imports_run_strictly_downward():
    upward = []
    for name, tree in modules().items():
        for imported, line in imports(name, tree):
            if not room(name) or not imported.startswith("regard.") or room(imported) == room(name):
                continue
            if ROOMS.index(room(imported)) < ROOMS.index(room(name)):
                upward.append(f"{name}:{line} imports {imported}")
    assert not upward


def test_imports_have_no_circle():
    graph = {
        name: {each for each, _ in imports(name, tree, top=True) if each in modules() and each != name}
        for name, tree in modules().items()
        if name != "regard"
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"circle: {error.args[1]}")


def test_optional_packages_are_imported_where_they_are_used():
    found = [
        f"{name}:{line} {imported}"
        for name, tree in modules().items()
        for imported, line in imports(name, tree, top=True)
        if imported.split(".")[0] in OPTIONAL
    ]
    assert not found


def test_the_ground_and_the_command_line_do_without_torch():
    found = [
        f"{name}:{line}"
        for name, tree in modules().items()
        if name in NO_TORCH or name.startswith("regard.cli.")
        for imported, line in imports(name, tree, top=True)
        if imported.split(".")[0] in ("torch", "rich")
    ]
    assert not found


def test_softmax_and_fused_attention_stand_in_ops_only():
    found = [
        f"{name}:{node.lineno} {dotted(node)}"
        for name, tree in modules().items()
        if room(name) != "ops" and name != "regard.train.ledger"  # which weighs them, and runs none
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and CORES.search(dotted(node))
    ]
    assert not found


def test_families_define_no_layer():
    found = [
        f"{name}: class {each.name}"
        for name, tree in modules().items()
        if room(name) == "models"
        for each in classes(tree)
        if PARTS.search(each.name) and not each.name.endswith("Config")
    ]
    assert not found


def test_layers_know_no_family():
    # In code; a comment or docstring may name the paper a part comes from.
    known = "|".join([*families(), "llama", "gemma", "deepseek", "whisper", "marian"])
    names = re.compile(rf"(?:^|_)(?:{known})[0-9]*(?:_|$)")  # whole words: an entangLED name is nobody's
    found = []
    for name, tree in modules().items():
        if room(name) != "layers":
            continue
        for node in ast.walk(tree):
            word = getattr(node, "id", None) or getattr(node, "attr", None) or getattr(node, "arg", None)
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                word = node.name
            if isinstance(word, str) and names.search(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word).lower()):
                found.append(f"{name}:{getattr(node, 'lineno', '?')} {word}")
    assert not found


def test_nothing_is_executed_from_a_file():
    found = []
    for name, tree in modules().items():
        found += [f"{name}:{line} {each}" for each, line in imports(name, tree) if each in FORBIDDEN_MODULES]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                if dotted(node.func) in FORBIDDEN and not _of_tensors_alone(name, node):
                    found.append(f"{name}:{node.lineno} {dotted(node.func)}")
                if any(keyword.arg in ("shell", "trust_remote_code") for keyword in node.keywords):
                    found.append(f"{name}:{node.lineno} shell=")
                pickled = [keyword for keyword in node.keywords if keyword.arg == "allow_pickle"]
                if any(not (isinstance(k.value, ast.Constant) and k.value.value is False) for k in pickled):
                    found.append(f"{name}:{node.lineno} allow_pickle")
    assert not found


def _of_tensors_alone(name: str, call: ast.Call) -> bool:
    """The one place that may read a pickle, on request: PyTorch's reader that runs no code, said so in the call."""
    told = {keyword.arg: keyword.value for keyword in call.keywords}
    only = told.get("weights_only")
    safe = isinstance(only, ast.Constant) and only.value is True
    return name == "regard.weights.pickled" and dotted(call.func) == "torch.load" and safe


def test_constructors_take_at_most_twelve_parameters():
    found = []
    for name, tree in modules().items():
        for each in classes(tree):
            for function in each.body:
                if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                    arguments = function.args
                    count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs) - 1
                    if count > MOST_PARAMETERS:
                        found.append(f"{name}.{each.name} takes {count}")
    assert not found


def test_functions_fit_on_a_screen():
    found = [
        f"{name}.{function.name} has {function.end_lineno - function.lineno + 1} lines"
        for name, tree in modules().items()
        for function in functions(tree)
        if (function.end_lineno or 0) - function.lineno >= MOST_LINES
    ]
    assert not found


def test_importing_regard_brings_no_torch_and_little_time():
    # Less than 0.2 s more than torch. So as not to measure torch itself: only the standard library may come along.
    code = (
        "import sys, time; start = time.process_time(); import regard; spent = time.process_time() - start;"
        "print(spent, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    spent = [float(run.stdout.split()[0]) for run in runs]
    assert runs[0].stdout.split()[1:] == ["False", "False"]
    assert min(spent) < 0.2


def processor_time() -> float:
    """Seconds that the children of this process computed: what a busy machine adds by making them wait is left out."""
    if os.name == "nt":
        return time.perf_counter()
    times = os.times()
    return times.children_user + times.children_system


def test_help_takes_less_than_a_fifth_of_a_second():
    spent = []
    for _ in range(7):
        start = processor_time()
        subprocess.run([sys.executable, "-m", "regard", "--help"], capture_output=True, check=True)
        spent.append(processor_time() - start)
        if spent[-1] < 0.2:
            break
    assert min(spent) < 0.2


def test_help_of_every_verb_brings_no_torch():
    code = (
        "import sys\nfrom regard.cli.main import ROOT, run\n"
        "for name in ROOT.list_commands(None): assert run([name, '--help']) == 0\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_ruff_is_clean():
    run = subprocess.run(
        [sys.executable, "-m", "ruff", "check", str(ROOT)], capture_output=True, check=False, text=True
    )
    assert run.returncode == 0, run.stdout


@pytest.mark.slow
def test_pyright_is_clean():
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(PACKAGE)]
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    run = subprocess.run(command, capture_output=True, check=False, text=True, cwd=ROOT, env=environment)
    assert run.returncode == 0, run.stdout
