"""The native modules equal this machine's C kernels on the processors that run them."""

import struct
import sys

import kernel_cases
import pytest
from helpers import ROOT, compiled, provide, provide_webassembly
from kernel_cases import NAMES, check
from models import Builder
from trimtab.format import ABI, OPCODES
from trimtab_tools.boards import simulated
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.packed import always_packed
from trimtab_tools.boards.pico import Pico
from trimtab_tools.boards.unix import Unix
from trimtab_tools.link.repl import mpremote
from trimtab_tools.toolchain import packages
from trimtab_tools.toolchain.kernels import natmod

sys.path.append(str(ROOT / "benchmarks"))
import kernel_shapes  # noqa: E402

CASES = 6
REPLAY = """
import struct, _kernels
calls, results = open("calls.bin", "rb"), open("results.bin", "wb")
while True:
    head = calls.read(20)
    if not head:
        break
    sizes = struct.unpack("<5I", head)[1:]
    mem = tuple(bytearray(calls.read(n)) for n in sizes) + (b"",)  # no weights apart from the constants
    value = _kernels.run(mem, 0)
    results.write(struct.pack("<i", value))
    results.write(mem[0])
    results.write(mem[1])
results.close()
unknown = mem[:3] + (struct.pack("<i", max(_kernels.OPCODES) + 1) + bytes(mem[3][4:]), b"")
for args in (mem, 2), (mem, -4), (mem, 1 << 20), (unknown, 0), (mem[:3], 0), (list(mem), 0):
    try:
        _kernels.run(*args)
        print("accepted", args)
    except ValueError:
        pass
print("ABI", _kernels.ABI, len(_kernels.OPCODES))
"""


@pytest.fixture(scope="module")
def cases():
    return [kernel_cases.Case(name, 1000 + seed) for name in NAMES for seed in range(CASES)]


@pytest.fixture(scope="module")
def calls(cases):
    data = b""
    for case in cases:
        spaces = [*map(bytes, case.spaces), case.program]
        data += struct.pack("<5I", OPCODES[case.name], *map(len, spaces)) + b"".join(spaces)
    return data


@pytest.mark.unix
def test_x64_module_on_unix(cases, calls):
    provide("unix")
    with Unix("replay.py", files={"replay.py": REPLAY.encode(), "calls.bin": calls}) as board:
        assert board.output().split("\n")[:-1] == ["ABI %d %d" % (ABI, len(NAMES))]
        check(cases, (board.folder / "results.bin").read_bytes())


@pytest.mark.pico
def test_armv6m_module_on_the_pico(cases, calls, tmp_path):
    provide("pico")
    script, results = tmp_path / "replay.py", tmp_path / "results.bin"
    script.write_text(REPLAY)
    module = natmod("armv6m").read_bytes()
    with Pico(files={"/lib/_kernels.mpy": module, "/calls.bin": calls}) as board:
        assert mpremote(board.url, "run", str(script)).split() == ["ABI", str(ABI), str(len(NAMES))]
        mpremote(board.url, "fs", "cp", ":/results.bin", str(results))
    check(cases, results.read_bytes())


# -- a module for one package

MOST_HEAP = 12_900  # bytes
PART = """
import gc
gc.collect()
before = gc.mem_free()
import _kernels
gc.collect()
print(before - gc.mem_free())
import trimtab
net = trimtab.load("/net.ttp", "c")
for i in range(3):
    net.train(bytes([(k * 37 + i) % 256 for k in range(net.input_bytes)]), i)
print(net.state_crc())
for name in "/other.ttp", "/plain.ttp":
    try:
        net = trimtab.load(name, "c")
        net.train(bytes(net.input_bytes), 0)
    except (ImportError, ValueError) as error:
        print(error)
try:
    net.train(bytes(net.input_bytes), 0)
except ValueError as error:
    print(error)
"""


def small(k):
    """A network that the module for n1 cannot run: another kernel, or a layer that needs plain loops."""
    b = Builder((8, 8, 2), seed=1)
    b.conv(4, (k, k), padding="valid")
    b.mean() if k == 8 else b.pool("max_pool")
    return compiled(b.graph(), "full", classes=3).data


@pytest.fixture(scope="module")
def on_the_pico():
    """(lines that a Pico prints with the kernels of one package, the package)."""
    provide("pico")
    data = compiled(kernel_shapes.n1(), "full", classes=10).data
    assert always_packed(data, "armv6m") == {"conv_fwd", "conv_dx", "conv_dw"}
    files = {
        **library_files("armv6m", package=data),
        "/net.ttp": data,
        "/other.ttp": small(3),
        "/plain.ttp": small(8),
    }
    with Pico(files=files) as board:
        return mpremote(board.url, "exec", PART).splitlines(), data


@pytest.mark.pico
@pytest.mark.xfail(strict=True, reason="14,240 bytes: the loops of the last kernels are larger")
def test_the_kernels_of_one_package_fit_a_small_heap(on_the_pico):
    assert int(on_the_pico[0][0]) <= MOST_HEAP


@pytest.mark.pico
def test_a_pico_holds_what_one_package_needs(on_the_pico):
    (_, crc, other, plain, torn), data = on_the_pico
    net = simulated.load(data, "c")
    for i in range(3):
        net.train(bytes([(k * 37 + i) % 256 for k in range(net.input_bytes)]), i)
    assert int(crc) == net.state_crc()
    assert "lacks kernel max_pool_fwd of this package: run `trimtab deploy` with it" in other
    assert plain == torn == "these kernels are for another package: run `trimtab deploy` with this one"


@pytest.mark.parametrize("twin", ["native", "WebAssembly"])
def test_loops_that_a_record_needs_are_not_left_out(twin, monkeypatch):
    if twin == "WebAssembly":
        provide_webassembly()
        monkeypatch.setattr(packages, "absent", lambda tools: ["build-essential"])
    n1 = compiled(kernel_shapes.n1(), "full", classes=10).data
    assert always_packed(n1, "armv6m") == {"conv_fwd", "conv_dx", "conv_dw"}
    assert always_packed(small(8), "armv6m") < {"conv_fwd", "conv_dw"}
    assert always_packed(small(8), "x64") == set()


@pytest.mark.unix
def test_without_a_compiler_the_whole_module_is_taken(monkeypatch):
    provide("unix")
    whole = natmod("x64")
    assert natmod("x64", {"lut_fwd"}).stat().st_size < whole.stat().st_size / 4
    monkeypatch.setattr(packages, "absent", lambda tools: ["build-essential"])
    assert natmod("x64", {"lut_fwd"}) == whole
