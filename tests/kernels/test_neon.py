"""The vector loops of 64-bit ARM, compiled for it and run in an emulator, equal the plain ones."""

import subprocess
from pathlib import Path

import kernel_cases
import pytest
from kernel_cases import NAMES, replayed, run_c
from trimtab_tools.errors import ToolchainError
from trimtab_tools.toolchain import packages
from trimtab_tools.toolchain.kernels import WIDE, kernel_sources
from trimtab_tools.toolchain.sources import FIRMWARE

CASES = 60
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """As a user's compiler would make it, but for the library of functions: qemu has none to load."""
    try:
        packages.provide(packages.NEON, "NEON")
    except ToolchainError as error:
        pytest.skip(str(error))
    program = tmp_path_factory.mktemp("neon") / "replay"
    table = "-DKERNEL_FUNCTIONS=" + ",".join("trimtab_" + name for name in NAMES)
    sources = [*kernel_sources(), Path(__file__).with_name("kernel_replay.c")]
    options = ["-static", *WIDE, table, f"-I{FIRMWARE / 'kernels'}", *map(str, sources), "-o", str(program)]
    subprocess.run(["aarch64-linux-gnu-gcc", *options], check=True)
    return program


def test_it_has_vector_loops(program):
    symbols = subprocess.run(
        ["aarch64-linux-gnu-nm", program], capture_output=True, text=True, check=True
    ).stdout
    assert {"trimtab_conv_wide", "trimtab_dense_wide"} <= set(symbols.split())


@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_equals_plain_loops(name, program):
    cases = [kernel_cases.Case(name, 7000 + seed, channels=48) for seed in range(CASES)]
    for case, result in zip(cases, replayed(["qemu-aarch64", str(program)], cases), strict=True):
        assert result == run_c(case), case.numbers
