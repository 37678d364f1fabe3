"""The kernels' native module for the ESP32, as it is linked, run by QEMU: never on silicon."""

import struct
import subprocess
import sys

import kernel_cases
import pytest
from helpers import provide
from kernel_cases import NAMES, check
from trimtab.format import RECORDS
from trimtab_tools.toolchain.kernels import natmod, xtensa_program
from trimtab_tools.toolchain.sources import FIRMWARE

pytestmark = pytest.mark.qemu

CASES = 40
QEMU = ["qemu-xtensa", "-cpu", "de233_fpu"]
sys.path.append(str(FIRMWARE / "xtensa"))


@pytest.fixture(scope="module")
def program():
    provide("xtensa")
    return xtensa_program()


def encoded(case, opcode=None):
    program = case.program if opcode is None else struct.pack("<i", opcode) + case.program[4:]
    spaces = [*map(bytes, case.spaces), program, b""]
    return struct.pack("<5I", *map(len, spaces)) + b"".join(spaces)


@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_equals_this_machines(name, program):
    cases = [kernel_cases.Case(name, 3000 + seed) for seed in range(CASES)]
    done = subprocess.run([*QEMU, program], input=b"".join(map(encoded, cases)), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    check(cases, done.stdout)


def test_a_record_of_no_kernel_is_refused(program):
    case = kernel_cases.Case("lut_fwd", 1)
    done = subprocess.run([*QEMU, program], input=encoded(case, len(RECORDS)), capture_output=True)
    assert done.returncode == 3 and b"these kernels are for another package" in done.stderr


def test_the_loader_takes_only_this_architecture():
    import load

    provide("m3")
    with pytest.raises(ValueError, match="not a module for xtensawin"):
        load.read(natmod("armv7m").read_bytes())
