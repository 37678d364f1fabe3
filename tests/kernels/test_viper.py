"""The viper kernels equal the C ones, allocate nothing, compile for every architecture, are fast enough."""

import struct
import subprocess

import kernel_cases
import pytest
from helpers import provide
from kernel_cases import NAMES, check
from networks import trained_layers as network
from trimtab.format import OPCODES, RECORDS
from trimtab_tools import cli
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.boards.unix import Unix
from trimtab_tools.formats import write_tflite
from trimtab_tools.link.repl import mpremote
from trimtab_tools.toolchain import viper
from trimtab_tools.toolchain.sources import mpy_cross

CASES = 40
ARCHITECTURES = (
    "x86",
    "x64",
    "armv6m",
    "armv7m",
    "armv7em",
    "armv7emsp",
    "armv7emdp",
    "xtensa",
    "xtensawin",
    "rv32imc",
)
FILE_BYTES = {"x86": 156_000, "x64": 199_000}
HEAP_BYTES = 100_000  # on a Pico, with all 53 kernels
REPLAY = (
    """
import micropython, struct
from trimtab import kernels
tier = kernels.choose("viper")
names = %r
calls, results = open("calls.bin", "rb"), open("results.bin", "wb")
while True:
    head = calls.read(20)
    if not head:
        break
    code, *sizes = struct.unpack("<5I", head)
    mem = [bytearray(calls.read(n)) for n in sizes]
    bound = tier.bind(*mem)
    micropython.heap_lock()
    value = tier.functions[names[code]](bound, 0)
    micropython.heap_unlock()
    results.write(struct.pack("<i", value))
    results.write(mem[0])
    results.write(mem[1])
results.close()
"""
    % NAMES
)
# Pointwise convolution, 16 positions, 96 in, 32 out: cycles for each product.
SPEED = """
import gc, struct, time
from trimtab import kernels
gc.collect()
free = gc.mem_free()
from trimtab import kernels_viper
gc.collect()
print(free - gc.mem_free())
tier = kernels.choose("viper")
const = bytes(4 * 32) + struct.pack("<I", 1 << 30) * 32 + b"\\xf7" * 32
program = bytearray(%r)
mem = tier.bind(bytearray(16 * 96 + 16 * 32), bytearray(4), const, program, bytearray(bytes(range(256)) * 12))
for _ in range(2):
    start = time.ticks_us()
    tier.functions["conv_fwd"](mem, 0)
    cycles = 125 * time.ticks_diff(time.ticks_us(), start)
print(cycles / (16 * 96 * 32))
"""


def pointwise():
    """The record of the product above: x, y in the arena, weights apart."""
    values = dict(
        y=16 * 96,
        x=0,
        w=4 << 28,
        k=-1,
        kept=-1,
        mask=-1,
        scratch=-1,
        words=1,
        bias=2 << 28,
        mult=(2 << 28) + 128,
        shift=(2 << 28) + 256,
        ih=4,
        iw=4,
        ic=96,
        oh=4,
        ow=4,
        oc=32,
        kh=1,
        kw=1,
        sh=1,
        sw=1,
        pt=0,
        pl=0,
        nk=96,
        zx=5,
        zy=3,
        lo=-128,
        hi=127,
        once=0,
    )
    names = [spec.split(":")[0] for spec in RECORDS[OPCODES["conv_fwd"]][1].split()]
    return struct.pack("<i%di" % len(names), OPCODES["conv_fwd"], *(values[name] for name in names))


@pytest.mark.unix
@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_equals_c_on_unix(name):
    provide("unix")
    cases = [kernel_cases.Case(name, 4000 + seed) for seed in range(CASES)]
    calls = b""
    for case in cases:
        spaces = [*map(bytes, case.spaces), case.program]
        calls += struct.pack("<5I", OPCODES[case.name], *map(len, spaces)) + b"".join(spaces)
    files = {"replay.py": REPLAY.encode(), "calls.bin": calls}
    with Unix("replay.py", files=files, kernels=False) as board:
        assert board.output() == ""
        check(cases, (board.folder / "results.bin").read_bytes())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_it_compiles_for(arch, tmp_path):
    target = tmp_path / "kernels_viper.mpy"
    source = tmp_path / "kernels_viper.py"
    source.write_text(viper.source())
    subprocess.run([mpy_cross(), f"-march={arch}", "-o", target, source], check=True)
    assert target.stat().st_size < FILE_BYTES.get(arch, 109_000)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    (folder / "net.tflite").write_bytes(write_tflite.write(network()))
    command = ["compile", f"{folder}/net.tflite", "--policy=last", "--classes=2", "-o", f"{folder}/net.ttp"]
    assert cli.main(command) == 0
    return folder / "net.ttp"


@pytest.mark.pico
def test_a_pico_is_fast_without_c(tmp_path):
    provide("pico")
    script = tmp_path / "speed.py"
    script.write_text(SPEED % pointwise())
    with Pico(files=library_files("armv6m", "viper")) as pico:
        heap, cycles = map(float, mpremote(pico.url, "run", script).split())
    assert heap < HEAP_BYTES and 20 < cycles <= 60


def test_a_board_gets_the_kernels_of_its_package(package):
    name = "/lib/trimtab/kernels_viper.mpy"
    whole = library_files("armv6m", "viper")[name]
    part = library_files("armv6m", "viper", package.read_bytes())[name]
    assert len(part) < len(whole) / 2
    assert b"conv_fwd" in part and b"conv_dw" not in part and b"conv_dw" in whole


@pytest.mark.unix
def test_a_kernel_that_is_not_on_the_board_names_the_cure(package):
    provide("unix")
    code = """
import sys
sys.modules["trimtab.kernels_viper"] = type("Empty", (), {"bind": lambda *spaces: spaces})
import trimtab
try:
    trimtab.load("net.ttp", "viper").train_input(0)
except ImportError as error:
    print(error)
"""
    files = {"run.py": code.encode(), "net.ttp": package.read_bytes()}
    with Unix("run.py", files=files, kernels=False) as board:
        assert "of this package: run `trimtab deploy`" in board.output()


def test_this_machine_says_where_they_run(package, capsys):
    assert cli.main(["simulate", str(package), "--board=sim", "--kernels=viper"]) == 1
    assert "use --board unix" in capsys.readouterr().err
