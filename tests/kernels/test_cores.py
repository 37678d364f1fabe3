"""One record on both cores of the emulated chip leaves what one core leaves, whoever waits for memory."""

import re

import kernel_cases
import pytest
from helpers import provide
from kernel_cases import NAMES, run_c
from trimtab_tools.boards import bare
from trimtab_tools.compiler import scratch
from trimtab_tools.toolchain import kernels
from trimtab_tools.toolchain.sources import FIRMWARE

pytestmark = pytest.mark.pico

CASES = 25
CHANNELS = 24  # at most: masks are shared by whole bytes
EVERYTHING = ("-DLEAST=1",)  # however little there is to share
SHARED = re.findall(r"IS\((\w+)\)\s*\?\s*share_", (FIRMWARE / "kernels" / "shares.c").read_text())
DECLINED = -(1 << 31)


@pytest.fixture(scope="module", autouse=True)
def board():
    provide("pico")


def cases(names, seeds):
    return [kernel_cases.Case(name, 5000 + seed, channels=CHANNELS) for name in names for seed in seeds]


def calls(cases):
    return [(case.name, [*case.spaces, case.program]) for case in cases]


@pytest.mark.parametrize("banks", [False, True])
def test_records_on_two_cores_equal_the_hosts(banks):
    both = cases(NAMES, range(3)) + cases(SHARED, range(CASES))
    chip = bare.Chip(cores=2, scratch=2048, banks=banks)
    for case, done in zip(both, bare.run(calls(both), EVERYTHING, chip=chip)):
        assert (done.values[0], case.result(done.arena, done.state)) == run_c(case), (case.name, case.numbers)


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_record_takes_less_time(name):
    """Else the other tests show nothing."""
    many = calls(cases([name], range(CASES)))
    one, two = (bare.run(many, EVERYTHING, chip=chip) for chip in (bare.ONE, bare.TWO))
    times = [(sum(a.cycles), sum(b.cycles)) for a, b in zip(one, two)]
    slow, fast = max(times)
    assert slow < 2000 or min(b / a for a, b in times) < 0.8


def test_a_share_never_needs_loops_that_the_whole_does_not():
    """Modules for one package lack the plain loops where none of its records needs them."""
    names = [name for name in SHARED if name in scratch.WORDS]
    flags = (*EVERYTHING, kernels.packed_only(names))
    many = cases(names, range(CASES, 4 * CASES))
    whole = bare.run(calls(many), flags)
    packed = [case for case, done in zip(many, whole) if done.values[0] != DECLINED]
    assert len(packed) > CASES
    for size in 16384, 400:
        chip = bare.Chip(cores=2, scratch=size)
        for case, done in zip(packed, bare.run(calls(packed), flags, chip=chip)):
            assert (done.values[0], case.result(done.arena, done.state)) == run_c(case), case.numbers
