"""The C kernels equal the plain ones, byte for byte, and nothing in them is undefined, whatever they get."""

import struct
import subprocess
from array import array
from pathlib import Path

import kernel_cases
import pytest
from kernel_cases import NAMES, run_c
from trimtab import kernels
from trimtab.format import OPCODES
from trimtab_tools.toolchain.builds import FIRMWARE, kernel_sources

CASES = 120
PLAIN = kernels.plain().functions


def run_plain(case):
    arena, state, const = (array("b", bytes(space)) for space in case.spaces)
    value = PLAIN[case.name]((arena, state, const, array("i", case.steps)), 0)
    return value, case.result(arena, state)


@pytest.mark.parametrize("name", NAMES)
def test_c_equals_plain(name):
    for seed in range(CASES):
        case = kernel_cases.Case(name, seed)
        assert run_c(case) == run_plain(case), "seed %d: %s" % (seed, case.numbers)


BUILDS = {"wide": (1, 0, 0), "halves": (0, 0, 0), "lanes": (0, 1, 0), "dsp": (1, 1, 1)}
# 64-bit products; packed operands; as halves of words
FLAGS = ("-DTRIMTAB_WIDE_MULTIPLY=%d", "-DTRIMTAB_LANES=%d", "-DTRIMTAB_DSP=%d")


@pytest.fixture(scope="module", params=BUILDS)
def replay(request, tmp_path_factory):
    """Runs cases through a sanitized build: [(value, result)]."""
    flags = [flag % on for flag, on in zip(FLAGS, BUILDS[request.param])]
    program = tmp_path_factory.mktemp("replay") / "replay"
    table = ",".join("trimtab_" + name for name in NAMES)
    subprocess.run(
        [
            "gcc",
            "-O1",
            "-g",
            "-std=c99",
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
            *flags,
            "-DKERNEL_FUNCTIONS=" + table,
            "-I%s" % (FIRMWARE / "kernels"),
            *map(str, kernel_sources()),
            str(Path(__file__).with_name("kernel_replay.c")),
            "-o",
            str(program),
        ],
        check=True,
    )
    return lambda cases: _replay(program, cases)


def _replay(program, cases):
    calls = b""
    for case in cases:
        spaces = [*map(bytes, case.spaces), case.steps]
        calls += struct.pack("<5I", OPCODES[case.name], *map(len, spaces)) + b"".join(spaces)
    done = subprocess.run([str(program)], input=calls, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[:2000]
    out, results = done.stdout, []
    for case in cases:
        arena, state = (len(space) for space in case.spaces[:2])
        value, out = struct.unpack_from("<i", out)[0], out[4:]
        results.append((value, case.result(out[:arena], out[arena : arena + state])))
        out = out[arena + state :]
    return results


@pytest.mark.parametrize("name", NAMES)
def test_sanitized_equals_c(name, replay):
    cases = [kernel_cases.Case(name, seed) for seed in range(CASES)]
    for case, result in zip(cases, replay(cases)):
        assert result == run_c(case), case.numbers


@pytest.mark.parametrize("name", NAMES)
def test_any_content_is_defined(name, replay):
    """Numbers at random within their limits, memory at random: the sanitizers must stay silent."""
    assert len(replay([kernel_cases.Case(name, seed, hostile=True) for seed in range(CASES)])) == CASES
