"""The native modules equal the C kernels of this machine, on the processors and interpreters that run them."""

import struct

import kernel_cases
import pytest
from helpers import provide
from test_kernels import NAMES, run_c
from trimtab.format import ABI, OPCODES

from trimtab_tools import boards, toolchain

CASES = 6
REPLAY = """
import struct, _kernels
names = %r
calls, results = open("calls.bin", "rb"), open("results.bin", "wb")
while True:
    head = calls.read(20)
    if not head:
        break
    code, *sizes = struct.unpack("<5I", head)
    mem = tuple(bytearray(calls.read(n)) for n in sizes) + (b"",)  # no weights apart from the constants
    value = getattr(_kernels, names[code])(mem, 0)
    results.write(struct.pack("<i", value))
    results.write(mem[0])
    results.write(mem[1])
results.close()
other = getattr(_kernels, names[code - 1])
this = getattr(_kernels, names[code])
for call, args in ((this, (mem, 2)), (this, (mem, -4)), (this, (mem, 1 << 20)), (other, (mem, 0)),
                   (this, (mem[:3], 0)), (this, (list(mem), 0))):
    try:
        call(*args)
        print("accepted", args[1])
    except ValueError:
        pass
print("ABI", _kernels.ABI)
""" % NAMES


@pytest.fixture(scope="module")
def cases():
    return [kernel_cases.Case(name, 1000 + seed) for name in NAMES for seed in range(CASES)]


@pytest.fixture(scope="module")
def calls(cases):
    data = b""
    for case in cases:
        spaces = [*map(bytes, case.spaces), case.steps]
        data += struct.pack("<5I", OPCODES[case.name], *map(len, spaces)) + b"".join(spaces)
    return data


def check(cases, data):
    """The results file against this machine's kernels."""
    for case in cases:
        arena, state = (len(space) for space in case.spaces[:2])
        value, data = struct.unpack_from("<i", data)[0], data[4:]
        assert (value, case.result(data[:arena], data[arena : arena + state])) == run_c(case), case.name
        data = data[arena + state :]
    assert not data


def test_x64_module_on_unix(cases, calls):
    provide("unix")
    with boards.Unix("replay.py", files={"replay.py": REPLAY.encode(), "calls.bin": calls}) as board:
        assert board.output().split("\n")[:-1] == ["ABI %d" % ABI]
        check(cases, (board.folder / "results.bin").read_bytes())


def test_armv6m_module_on_the_pico(cases, calls, tmp_path):
    provide("pico")
    script, results = tmp_path / "replay.py", tmp_path / "results.bin"
    script.write_text(REPLAY)
    module = toolchain.natmod("armv6m").read_bytes()
    with boards.Pico(files={"/lib/_kernels.mpy": module, "/calls.bin": calls}) as board:
        assert boards.mpremote(board.url, "run", str(script)).split() == ["ABI", str(ABI)]
        boards.mpremote(board.url, "fs", "cp", ":/results.bin", str(results))
    check(cases, results.read_bytes())
