"""The kernels on QEMU's boards: each equal to this machine's, on random and extreme inputs."""

import struct
import zlib

import kernel_cases
import pytest
from helpers import provide
from kernel_cases import NAMES, run_c
from trimtab.format import ABI, OPCODES
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.qemu import Qemu
from trimtab_tools.link.repl import mpremote
from trimtab_tools.toolchain.boards import BOARDS, QEMU_NAMES
from trimtab_tools.toolchain.kernels import natmod

pytestmark = pytest.mark.qemu

CASES = 30
HEAP = """
import gc
gc.collect()
before = gc.mem_free()
import _kernels
gc.collect()
print(before - gc.mem_free(), _kernels.ABI)
"""
# Calls lie in ROMFS. The serial port is slow, so of each result only the value and a CRC come back; what a
# kernel used as scratch is cleared before.
REPLAY = """
import binascii, micropython, struct
from trimtab import kernels
tier = kernels.choose(%r)
names = %r
calls = memoryview(open("/rom/calls.bin", "rb"))
at = 0
while at < len(calls):
    code, spans, *sizes = struct.unpack_from("<6I", calls, at)
    at += 24
    mem = []
    for n in sizes:
        mem.append(bytearray(calls[at : at + n]))
        at += n
    bound = tier.bind(*mem, b"")
    micropython.heap_lock()
    value = tier.functions[names[code]](bound, 0)
    micropython.heap_unlock()
    for _ in range(spans):
        space, start, size = struct.unpack_from("<3I", calls, at)
        at += 12
        mem[space][start : start + size] = bytes(size)
    print(value, binascii.crc32(mem[1], binascii.crc32(mem[0])))
print(tier.name)
"""


@pytest.fixture(scope="module")
def cases():
    return [kernel_cases.Case(name, 2000 + seed) for name in NAMES for seed in range(CASES)]


@pytest.fixture(scope="module")
def calls(cases):
    return b"".join(map(encoded, cases))


def encoded(case):
    spaces = [*map(bytes, case.spaces), case.program]
    spans = [case.places[name] for name in kernel_cases.SCRATCH if name in case.places]
    data = struct.pack("<6I", OPCODES[case.name], len(spans), *map(len, spaces)) + b"".join(spaces)
    return data + b"".join(struct.pack("<3I", *span) for span in spans)


def expected(case):
    value, (arena, state) = run_c(case)
    return f"{value} {zlib.crc32(state, zlib.crc32(arena))}"


@pytest.mark.parametrize("kernels", ["c", "viper"])
@pytest.mark.parametrize(
    "board, arch", [(name, BOARDS[name].arch) for name in QEMU_NAMES] + [("m3", "armv6m")]
)
def test_every_kernel_equals_this_machines(board, arch, kernels, cases, calls, tmp_path):
    provide(board)
    script = tmp_path / "replay.py"
    script.write_text(REPLAY % (kernels, NAMES))
    files = {**library_files(arch, kernels), "/calls.bin": calls}
    with Qemu(board, files) as qemu:
        *results, tier = mpremote(qemu.url, "run", script).splitlines()
    assert tier == kernels and len(results) == len(cases)
    for case, result in zip(cases, results):
        assert result == expected(case), (case.name, case.numbers)


@pytest.mark.parametrize("board", QEMU_NAMES)
def test_clocks_count_instructions(board):
    provide(board)
    code = "import time\nt = time.ticks_us()\nfor i in range(20000): pass\nprint(time.ticks_us() - t)"
    with Qemu(board) as qemu:
        times = {int(mpremote(qemu.url, "exec", code)) for _ in range(3)}
    assert max(times) - min(times) <= 2 and 20000 * 50 < min(times) * 1000 < 20000 * 1000


@pytest.mark.parametrize("board", QEMU_NAMES)
def test_files_outlive_a_soft_reset(board):
    provide(board)
    with Qemu(board, {"/note.txt": b"from outside"}) as qemu:
        assert mpremote(qemu.url, "exec", "print(open('/rom/note.txt').read())").strip() == "from outside"
        mpremote(qemu.url, "exec", "with open('/kept', 'w') as f: f.write('still here')")
        mpremote(qemu.url, "soft-reset")
        assert mpremote(qemu.url, "exec", "print(open('/kept').read())").strip() == "still here"


@pytest.mark.parametrize("board, most", [("m3", 23_000), ("m4", 36_500), ("c3", 28_000)])
def test_native_modules_stay_small(board, most):
    """Bytes of RAM that a board pays for all kernels; see docs/kernels.md."""
    provide(board)
    module = natmod(BOARDS[board].arch).read_bytes()
    with Qemu(board, {"/lib/_kernels.mpy": module}) as qemu:
        heap, abi = map(int, mpremote(qemu.url, "exec", HEAP).split())
    assert abi == ABI and len(module) < most and heap <= most
