"""The boards that need no hardware, and the toolchain that builds them."""

import json
import os
import subprocess
import sys
import time
import zlib

import helpers
import pytest
import serial
from trimtab.format import ABI
from trimtab_tools.boards.files import FLASH_BYTES, VIPER, flash_image, library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.boards.unix import Unix
from trimtab_tools.errors import BoardError, ToolchainError
from trimtab_tools.link.repl import mpremote, wait_for_prompt
from trimtab_tools.toolchain import cache, firmware, packages
from trimtab_tools.toolchain.boards import missing, provide
from trimtab_tools.toolchain.kernels import host_library, natmod
from trimtab_tools.toolchain.sources import ARCHIVES, library, verified

NAME_TIER = "from trimtab import kernels; print(kernels.choose().name)"


# -- the emulated Pico ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pico():
    helpers.provide("pico")
    files = {**library_files("armv6m"), "/data/note.txt": b"as it was put there"}
    with Pico(files=files) as board:
        yield board


def tell(board, code):
    """What code prints on a board."""
    return mpremote(board.url, "exec", code).strip()


def test_thumb_core_agrees_with_rp2040js():
    helpers.provide("pico")
    done = subprocess.run(
        ["node", firmware.emulator().with_name("check.mjs"), "4"], capture_output=True, text=True
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout
    assert result["wrong"] == 0 and result["compared"] > 200_000


def test_pico_runs_micropython_with_a_picos_memory(pico):
    said = tell(
        pico,
        "import sys, gc, machine; gc.collect(); "
        "print(sys.implementation._mpy, machine.freq(), gc.mem_free())",
    ).split()
    assert said[:2] == [str(0x1306), "125000000"]  # armv6m, format 6.3
    assert 230_000 < int(said[2]) < 250_000


def test_pico_holds_the_files_it_was_given(pico):
    assert tell(pico, "print(open('/data/note.txt').read())") == "as it was put there"


def test_pico_loads_the_library_and_its_native_module(pico):
    code = "from trimtab import kernels, format; import _kernels; print(kernels.choose().name, _kernels.ABI)"
    assert tell(pico, code) == f"c {ABI}"


def test_board_time_counts_cycles(pico):
    code = (
        "import time\n@micropython.viper\ndef f(n: int):\n while n: n -= 1\n"
        "def once():\n t = time.ticks_us(); f(200000); return time.ticks_diff(time.ticks_us(), t)\n"
        "once(); print(once(), once())"
    )
    first, second = map(int, tell(pico, code).split())
    assert 200_000 * 3 / 125 < first < 200_000 * 20 / 125  # 3 to 20 cycles each round at 125 MHz
    assert abs(first - second) <= max(2, first // 200)  # but for interrupts


def raw(board, code, data):
    """Run code on a board, send data once it says go, and return the port."""
    port = serial.serial_for_url(board.url, timeout=30)
    port.write(b"\r\x03\x01")
    port.read_until(b"exit\r\n>")
    port.write(code.encode() + b"\x04")
    assert port.read(6) == b"OKgo\r\n"
    port.write(data)
    return port


def test_no_byte_is_lost_on_the_way_to_the_board(pico):
    data = bytes(i * i * 7 >> 3 & 255 for i in range(100_000))
    port = raw(
        pico,
        "import sys, micropython, binascii\nmicropython.kbd_intr(-1)\nprint('go')\ncrc, left = 0, 100000\n"
        "while left:\n  part = sys.stdin.buffer.read(min(left, 1000)); left -= len(part)\n"
        "  crc = binascii.crc32(part, crc)\nmicropython.kbd_intr(3)\nprint(crc)",
        data,
    )
    assert int(port.read_until(b"\x04")[:-1]) == zlib.crc32(data)
    port.write(b"\x02")
    port.close()


def test_no_byte_is_lost_on_the_way_to_a_slow_reader(pico):
    port = raw(
        pico,
        "import sys\nprint('go')\nb = bytes(range(256)) * 4\nfor i in range(300): sys.stdout.buffer.write(b)",
        b"",
    )
    time.sleep(1)  # more than the sockets hold is waiting by now
    assert port.read(300 * 1024) == bytes(range(256)) * 1200
    port.write(b"\x02")
    port.close()


def test_pico_keeps_its_files_over_reset_and_power_cut(pico):
    tell(pico, "f = open('/kept', 'w'); f.write('x' * 5000); f.close(); import os; os.sync()")
    mpremote(pico.url, "reset")
    wait_for_prompt(pico.url)
    assert (
        tell(
            pico, "import machine, os; print(machine.reset_cause() == machine.WDT_RESET, os.stat('/kept')[6])"
        )
        == "True 5000"
    )
    pico.reset()
    assert tell(pico, "import machine; print(machine.reset_cause() == machine.PWRON_RESET)") == "True"
    pico.power_off()
    pico.power_on()
    assert tell(pico, "import os; print(os.stat('/kept')[6])") == "5000"


def test_unaligned_access_is_a_fault_as_on_the_chip(capfd):
    helpers.provide("pico")
    code = "@micropython.viper\ndef f() -> int:\n return ptr32(0x20000001)[0]\nf()"
    with Pico() as board:
        process = board.process
        with pytest.raises(BoardError):
            mpremote(board.url, "exec", code, timeout=60)
        assert process.wait(10) == 3
    assert "unaligned access to 0x20000001" in capfd.readouterr().err


def test_a_board_that_stops_while_it_boots_is_told(tmp_path, capfd):
    helpers.provide("pico")
    flash = tmp_path / "flash.bin"
    flash.write_bytes(b"\xff" * FLASH_BYTES)  # no firmware
    with pytest.raises(BoardError, match="stopped: its last message stands above"):
        Pico(flash=flash)
    assert "pico: " in capfd.readouterr().err


def test_romfs_is_read_in_place(tmp_path):
    helpers.provide("pico")
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)) * 1000)
    image = tmp_path / "image.romfs"
    subprocess.run(
        [sys.executable, "-m", "mpremote", "romfs", "-o", image, "build", tmp_path],
        check=True,
        capture_output=True,
    )
    with Pico("trimtab", romfs=image.read_bytes()) as board:
        said = tell(
            board,
            "import uctypes, trimtab; m = memoryview(open('/rom/weights.bin', 'rb')); "
            "print(len(m), m[70000], hex(uctypes.addressof(m))[:5], trimtab.__file__)",
        )
    assert said == f"256000 {70000 % 256} 0x100 trimtab/__init__.py"


def test_romfs_that_does_not_fit_is_refused():
    with pytest.raises(BoardError, match="put less into it"):
        flash_image("trimtab", romfs=bytes(705 * 1024))


# -- the unix port -------------------------------------------------------------------------------------------


def test_unix_has_the_library_the_kernels_and_the_heap_asked_for():
    helpers.provide("unix")
    code = f"import gc; print(gc.mem_free() + gc.mem_alloc()); {NAME_TIER}"
    with Unix("-c", code, heap="192k") as board:
        heap, tier = board.output().split()
    assert 180_000 < int(heap) <= 192 * 1024 and tier == "c"
    with Unix("-c", NAME_TIER, kernels=False) as board:
        assert board.output().strip() == "viper"


def test_unix_speaks_through_pipes_and_finds_its_files():
    helpers.provide("unix")
    code = "import sys; print(open('a/b').read(), sys.stdin.readline().strip())"
    with Unix("-c", code, files={"/a/b": b"hello"}) as board:
        board.stdin.write(b"there\n")
        assert board.output() == "hello there\n"


def test_unix_error_is_told():
    helpers.provide("unix")
    with (
        Unix("-c", "raise SystemExit(7)") as board,
        pytest.raises(BoardError, match="status 7"),
    ):
        board.output()


# -- the toolchain -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch, code", [("x64", 2), ("armv6m", 4)])
def test_native_module_names_its_architecture(arch, code):
    helpers.provide("pico")
    header = natmod(arch).read_bytes()[:4]
    assert header[:2] == b"M\x06" and header[2] >> 2 & 15 == code


def test_unknown_architecture_names_the_known_ones():
    with pytest.raises(ToolchainError, match="armv6m"):
        natmod("z80")


def test_missing_packages_are_named_with_the_command(monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda name: None if name == "cmake" else "/bin/" + name)
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    assert "cmake" in missing("pico")
    with pytest.raises(ToolchainError, match="run sudo apt-get install -y .*cmake"):
        provide("pico")


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return cache.folder()


def test_a_thing_is_built_once_for_what_goes_into_it(empty_cache, tmp_path):
    source = tmp_path / "source"
    source.write_text("1")
    built = []

    def build(out):
        built.append(out)
        (out / "thing").write_text(source.read_text())

    first = cache.built("thing", [source, "-O2"], build)
    assert cache.built("thing", [source, "-O2"], build) == first and len(built) == 1
    assert cache.built("thing", [source, "-O3"], build) != first
    source.write_text("2")
    assert (cache.built("thing", [source, "-O2"], build) / "thing").read_text() == "2"


def test_a_failed_build_leaves_nothing_behind(empty_cache):
    def build(out):
        (out / "half").write_text("")
        cache.run("false")

    with pytest.raises(ToolchainError, match="false failed with status 1"):
        cache.built("thing", [], build)
    assert [p.name for p in empty_cache.iterdir()] == ["thing.lock"]


def test_an_archive_that_changed_is_refused(tmp_path):
    archive = next(a for a in ARCHIVES if a.sha256)
    with pytest.raises(ToolchainError, match="no longer"):
        verified(tmp_path, archive)
    (tmp_path / archive.pattern.replace("*", "1")).write_bytes(b"something else")
    with pytest.raises(ToolchainError, match="is not the file that trimtab was tested with"):
        verified(tmp_path, archive)


def test_host_library_takes_flags():
    helpers.provide("sim")
    plain, checked = host_library(), host_library(["-fsanitize=undefined"])
    assert plain != checked and plain.is_file() and checked.stat().st_size > plain.stat().st_size


def test_emulator_ends_with_its_parent(pico, tmp_path):
    flash = tmp_path / "flash.bin"
    flash.write_bytes(flash_image())
    parent = subprocess.run(
        ["sh", "-c", 'sleep 1 | node "$0" --flash "$1"', firmware.emulator(), flash],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert parent.returncode == 0
    pid = json.loads(parent.stdout.splitlines()[0])["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_mip_installs_every_file_of_the_library():
    listed = json.loads((library().parent / "package.json").read_text())
    sources = sorted(path.relative_to(library()).as_posix() for path in library().rglob("*.py"))
    names = [f"trimtab/{name}" for name in sources if name != VIPER]  # no board should compile that one
    assert listed["urls"] == [[name, name] for name in names]
