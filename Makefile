# make demo: the whole story on an emulated Pico (BOARD=sim needs only Python and a C compiler).
# make test: everything, on a fresh machine too. Both install what they need.

BOARD ?= pico
VENV := .venv
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip install --quiet --disable-pip-version-check

.PHONY: setup demo test bench firmware clean

setup: $(VENV)/.base

$(VENV)/.base: pyproject.toml
	python3 -m venv $(VENV)
	$(PIP) --upgrade pip setuptools wheel
	$(PIP) -e '.[test]'
	touch $@

# TensorFlow is needed to train the demo's model and to quantize Keras models, not to use trimtab.
$(VENV)/.keras: $(VENV)/.base
	$(PIP) -e '.[test,keras]'
	touch $@

demo: $(VENV)/.keras
	$(PYTHON) -m trimtab_tools.cli.demo --board $(BOARD)

# What a board needs and this user may not install is named; the tests of that board are then skipped.
test: $(VENV)/.keras
	-$(PYTHON) -m trimtab_tools.toolchain sim
	-$(PYTHON) -m trimtab_tools.toolchain unix
	-$(PYTHON) -m trimtab_tools.toolchain pico
	-$(PYTHON) -m trimtab_tools.toolchain m3
	-$(PYTHON) -m trimtab_tools.toolchain m4
	-$(PYTHON) -m trimtab_tools.toolchain c3
	-$(PYTHON) -m trimtab_tools.toolchain xtensa
	$(PYTHON) -m pytest -ra

# Cycles of kernels and networks, sizes of the native modules: a table and benchmarks/results/BOARD.json.
bench: $(VENV)/.keras
	$(PYTHON) benchmarks/kernels.py $(BOARD)

firmware: $(VENV)/.base
	$(PYTHON) -m trimtab_tools.toolchain firmware

clean:
	rm -rf build $(VENV)
