"""What boards run changes only on purpose: `python tests/support/gates.py` records a change."""

import json

import gates
import pytest
from helpers import provide, provide_webassembly
from methods import METHODS, left_out, needs

STORED = json.loads(gates.STORED.read_text())


def test_packages_of_every_policy():
    """Where a method's files are missing, the packages of all others stay the same."""
    found = gates.packages()
    assert found == {name: STORED["packages"][name] for name in found}
    assert len(found) == len(STORED["packages"]) or any(map(left_out, METHODS))


def test_they_are_of_forty_graphs():
    assert len({graph for _, graph, *_ in gates.cases()}) >= 40


def test_records_header():
    assert gates.header() == STORED["header"]


@needs(*METHODS)
@pytest.mark.parametrize("arch", STORED["modules"])
def test_native_modules(arch):
    tools = gates.NATMODS[arch].tools
    if gates.absent(tools):
        pytest.skip(f"needs {', '.join(gates.absent(tools))}")
    if gates.compiler(tools) != STORED["modules"][arch]["compiler"]:
        pytest.skip(f"recorded with {STORED['modules'][arch]['compiler']}, not {gates.compiler(tools)}")
    assert gates.modules([arch])[arch] == STORED["modules"][arch]


@needs(*METHODS)
def test_webassembly():
    provide_webassembly()
    found = gates.wasm()
    if found["compiler"] != STORED["wasm"]["compiler"]:
        pytest.skip(f"recorded with {STORED['wasm']['compiler']}, not {found['compiler']}")
    assert found == STORED["wasm"]


@needs(*METHODS)
def test_viper_files():
    assert gates.viper() == STORED["viper"]


@pytest.mark.pico
def test_cycles_on_the_emulated_pico():
    provide("pico")
    compiler = gates.compiler(["arm-none-eabi-gcc"])
    if compiler != STORED["modules"]["armv6m"]["compiler"]:
        pytest.skip(f"recorded with {STORED['modules']['armv6m']['compiler']}, not {compiler}")
    assert gates.cycles() == STORED["cycles"]
