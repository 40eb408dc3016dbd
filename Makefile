# Everything happens in .venv: 'make demo' and 'make test' work on a fresh clone with Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types unit bench clean docs
.DEFAULT_GOAL := demo

$(VENV)/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py

test: lint types unit

lint: $(VENV)/installed
	$(BIN)/ruff check src tests bench examples

types: $(VENV)/installed
	$(BIN)/mypy

unit: $(VENV)/installed
	$(BIN)/python -m pytest -n 2

bench: $(VENV)/installed
	for program in bench/[a-z]*.py; do $(BIN)/python $$program || exit 1; done

docs: $(VENV)/installed
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) demo-out bench/build .mypy_cache .ruff_cache .pytest_cache
