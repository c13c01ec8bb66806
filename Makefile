# Each target makes .venv and installs what it needs: a fresh machine needs Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint bench kill fuzz namespaces docs clean

demo: $(VENV)/.core
	$(BIN)/cutlayer demo

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

kill: $(VENV)/.core
	$(BIN)/python tests/kill.py

fuzz: $(VENV)/.core
	$(BIN)/python tests/fuzz.py --messages 100000

namespaces: $(VENV)/.core
	$(BIN)/python tests/namespaces.py

docs: $(VENV)/.docs
	$(BIN)/zensical build --clean

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

$(VENV)/.test: $(VENV)/.core
	$(PIP) -e '.[test,lint]'
	touch $@

$(VENV)/.bench: $(VENV)/.core
	$(PIP) -e '.[bench]'
	touch $@

$(VENV)/.docs: $(VENV)/.core
	$(PIP) -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) site
