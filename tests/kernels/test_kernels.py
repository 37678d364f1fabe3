"""The C kernels equal the plain ones, byte for byte, and nothing in them is undefined, whatever they get."""

import ctypes
from array import array
from pathlib import Path

import kernel_cases
import pytest
from kernel_cases import NAMES, replayed, run_c
from trimtab import kernels
from trimtab_tools.toolchain import cache
from trimtab_tools.toolchain.kernels import LEVELS, WIDE, host_library, kernel_sources, level
from trimtab_tools.toolchain.sources import FIRMWARE

CASES = 120
PLAIN = kernels.plain().functions


def run_plain(case):
    arena, state, const = (array("b", bytes(space)) for space in case.spaces)
    value = PLAIN[case.name]((arena, state, const, array("i", case.program)), 0)
    return value, case.result(arena, state)


@pytest.mark.parametrize("name", NAMES)
def test_c_equals_plain(name):
    for seed in range(CASES):
        case = kernel_cases.Case(name, seed)
        assert run_c(case) == run_plain(case), "seed %d: %s" % (seed, case.numbers)


STD = ("-std=c99", "-O1")
BUILDS = {
    "products": (*STD, "-DTRIMTAB_WIDE_MULTIPLY=1"),  # of 64 bits
    "halves": (*STD, "-DTRIMTAB_WIDE_MULTIPLY=0"),
    "packed": (*STD, "-DTRIMTAB_WIDE_MULTIPLY=0", "-DTRIMTAB_PACKED=1"),
    "dsp": (*STD, "-DTRIMTAB_WIDE_MULTIPLY=1", "-DTRIMTAB_PACKED=1", "-DTRIMTAB_DSP=1"),
    "base": (*WIDE, "-O1", "-fno-sanitize=shift", *LEVELS["base"]),  # shifts to the left wrap there by intent
    "best": (*WIDE, "-O1", "-fno-sanitize=shift", *LEVELS[level()]),
}


@pytest.fixture(scope="module", params=BUILDS)
def replay(request):
    """Runs cases through a sanitized build: [(value, result)]."""
    program = sanitized(BUILDS[request.param])
    return lambda cases: replayed([str(program)], cases)


def sanitized(flags):
    """A program with the kernels under sanitizers, kept because building takes longer than running."""
    main = Path(__file__).with_name("kernel_replay.c")
    flags = ("-g", "-DTRIMTAB_PC=1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", *flags)
    table = "-DKERNEL_FUNCTIONS=" + ",".join("trimtab_" + name for name in NAMES)

    def build(out):
        where = f"-I{FIRMWARE / 'kernels'}"
        cache.run("gcc", *flags, table, where, *kernel_sources(), main, "-o", out / "replay")

    return cache.built("sanitized", [FIRMWARE / "kernels", main, table, *flags], build) / "replay"


@pytest.mark.parametrize("name", NAMES)
def test_sanitized_equals_c(name, replay):
    cases = [kernel_cases.Case(name, seed, channels=6 + 42 * (seed % 2)) for seed in range(CASES)]
    for case, result in zip(cases, replay(cases)):
        assert result == run_c(case), case.numbers


@pytest.mark.parametrize("name", NAMES)
def test_any_content_is_defined(name, replay):
    """Numbers at random within their limits, memory at random: the sanitizers must stay silent."""
    assert len(replay([kernel_cases.Case(name, seed, hostile=True) for seed in range(CASES)])) == CASES


class Error(ctypes.Structure):
    """struct error of error.h."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("g", "mask", "add", "track")]
    _fields_ += [(name, ctypes.c_int32) for name in ("mul", "down", "up", "base", "shift")]
    _fields_ += [("max", ctypes.c_uint32)]


@pytest.mark.parametrize("shift", range(-3, 34))
def test_the_largest_sums_round_alike_in_all_loops(shift):
    """Sums reach 2^30, and addends as far again as 2^29."""
    edges = [0, 1 << 23, 127 << 23, 1 << 29, 1 << 30, (1 << 30) + (1 << 29) - 1]
    sums = [sign * (edge + d) for edge in edges for d in (-1, 0, 1) for sign in (1, -1)]
    sums = [v for v in sums if abs(v) <= edges[-1]]
    found = []
    for flags in ((), ("-DTRIMTAB_PACKED=1",), (*WIDE, *LEVELS[level()])):
        library = ctypes.CDLL(str(host_library(flags)))
        g = (ctypes.c_int8 * len(sums))()
        error = Error(g=ctypes.addressof(g), shift=shift)
        library.trimtab_error_row(ctypes.byref(error), 0, (ctypes.c_int32 * len(sums))(*sums), len(sums))
        found.append((list(g), error.max))
    assert found[0] == found[1] == found[2]
