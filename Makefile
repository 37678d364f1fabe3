# make demo: the whole story on an emulated Pico (BOARD=sim needs only Python and a C compiler).
# make test: what a change must pass, on a fresh machine too. make test-all: that and what takes longer.
# Each target installs what it needs.

BOARD ?= pico
VENV := .venv
PYTHON := $(VENV)/bin/python
# An editable install warns of folders that have a package's name; there are none.
PIP := PYTHONWARNINGS='ignore:Editable installation' $(PYTHON) -m pip install --quiet --disable-pip-version-check
PYTEST := $(PYTHON) -m pytest -ra -n auto --dist worksteal --durations=10
BOARDS := sim unix pico m3 m4 c3 xtensa

.PHONY: setup demo test test-all boards lint format docs bench wheel firmware clean

setup: $(VENV)/.base

$(VENV)/.base: pyproject.toml
	python3 -m venv $(VENV)
	$(PIP) --upgrade pip setuptools wheel
	$(PIP) -e '.[test,lint]'
	touch $@

# TensorFlow is needed to train the demo's model and to quantize Keras models, not to use trimtab.
$(VENV)/.keras: $(VENV)/.base
	$(PIP) -e '.[test,lint,keras]'
	touch $@

demo: $(VENV)/.keras
	$(PYTHON) -m trimtab_tools.cli.demo --board $(BOARD)

test: lint boards
	$(PYTEST) -m "not slow"

test-all: lint boards
	$(PYTEST)

# What a board needs and this user may not install is named; the tests of that board are then skipped.
boards: $(VENV)/.keras
	@for board in $(BOARDS); do $(PYTHON) -m trimtab_tools.toolchain $$board > /dev/null || true; done

lint: $(VENV)/.base
	$(PYTHON) -m ruff format --check --quiet .
	$(PYTHON) -m ruff check --quiet .
	$(PYTHON) -m mypy --no-error-summary

format: $(VENV)/.base
	$(PYTHON) -m ruff check --quiet --fix .
	$(PYTHON) -m ruff format --quiet .

# The pages are plain Markdown: what can break in them are links and names of files.
docs: $(VENV)/.base
	$(PYTHON) -m pytest --quiet tests/docs/test_links.py

# Cycles of kernels and networks, sizes of the native modules: a table and benchmarks/results/BOARD.json.
bench: $(VENV)/.keras
	$(PYTHON) benchmarks/kernels.py $(BOARD)

# The wheels, with kernels that no PC has to build.
wheel: $(VENV)/.base
	$(PYTHON) -m trimtab_tools.toolchain.wheel build/wheels

firmware: $(VENV)/.base
	$(PYTHON) -m trimtab_tools.toolchain firmware

clean:
	rm -rf build $(VENV)
