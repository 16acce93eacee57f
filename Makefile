# The commands of the README. `make demo` and `make test` install everything they need into .venv first.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-slow lint

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "jsqa_hf needs Python 3.10 or newer; name one with: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable ".[dev]"
	@touch $@

demo: install
	$(BIN)/python examples/demo.py $(DEMO_ARGS)

# One process for each core, of one thread; a file stays together, so that what its tests share is made once.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

test: install
	$(PYTEST)

test-slow: install
	$(PYTEST) -m slow

lint: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
