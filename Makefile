# Each target makes .venv and installs what it needs: a fresh machine needs Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test browser lint bench kill kill-audit fuzz namespaces postgres docs clean

demo: $(VENV)/.core
	$(BIN)/cutlayer demo

test: $(VENV)/.test browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2

# Debian's Chromium, for the tests that open the pages; where it cannot be had, they skip and say so.
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=30
CHROMIUM := $(APT) install -y --no-install-recommends chromium chromium-driver
browser:
	@command -v chromedriver >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
	  { $(CHROMIUM) || { $(APT) update && $(CHROMIUM); }; } >/dev/null 2>&1 || \
	  echo "no chromium from apt-get: tests that open the pages in it will skip"

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

kill: $(VENV)/.core
	$(BIN)/python tests/kill.py

kill-audit: $(VENV)/.core
	$(BIN)/python tests/kill_audit.py

fuzz: $(VENV)/.core
	$(BIN)/python tests/fuzz.py --messages 100000

namespaces: $(VENV)/.core
	$(BIN)/python tests/namespaces.py

postgres: $(VENV)/.postgres
	$(BIN)/python tests/postgres.py

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

$(VENV)/.postgres: $(VENV)/.core
	$(PIP) -e '.[postgres]'
	touch $@

$(VENV)/.docs: $(VENV)/.core
	$(PIP) -e '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) site
