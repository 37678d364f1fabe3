"""The boards that need no hardware, and the toolchain that builds them."""

import json
import os
import subprocess
import sys
import time
import zlib

import pytest
import serial
from boards import tell
from helpers import provide
from trimtab.format import ABI
from trimtab_tools.boards import emulated
from trimtab_tools.errors import BoardError, ToolchainError
from trimtab_tools.toolchain import builds

NAME_TIER = "from trimtab import kernels; print(kernels.choose().name)"


# -- the emulated Pico ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pico():
    provide("pico")
    files = {**emulated.library_files("armv6m"), "/data/note.txt": b"as it was put there"}
    with emulated.Pico(files=files) as board:
        yield board


@pytest.mark.pico
def test_thumb_core_agrees_with_rp2040js():
    provide("pico")
    done = subprocess.run(
        ["node", builds.emulator().with_name("check.mjs"), "4"], capture_output=True, text=True
    )
    result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout
    assert result["wrong"] == 0 and result["compared"] > 200_000


@pytest.mark.pico
def test_pico_runs_micropython_with_a_picos_memory(pico):
    said = tell(
        pico,
        "import sys, gc, machine; gc.collect(); "
        "print(sys.implementation._mpy, machine.freq(), gc.mem_free())",
    ).split()
    assert said[:2] == [str(0x1306), "125000000"]  # armv6m, format 6.3
    assert 230_000 < int(said[2]) < 250_000


@pytest.mark.pico
def test_pico_holds_the_files_it_was_given(pico):
    assert tell(pico, "print(open('/data/note.txt').read())") == "as it was put there"


@pytest.mark.pico
def test_pico_loads_the_library_and_its_native_module(pico):
    code = "from trimtab import kernels, format; import _kernels; print(kernels.choose().name, _kernels.ABI)"
    assert tell(pico, code) == f"c {ABI}"


@pytest.mark.pico
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


@pytest.mark.pico
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


@pytest.mark.pico
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


@pytest.mark.pico
def test_pico_keeps_its_files_over_reset_and_power_cut(pico):
    tell(pico, "f = open('/kept', 'w'); f.write('x' * 5000); f.close(); import os; os.sync()")
    emulated.mpremote(pico.url, "reset")
    emulated.wait_for_prompt(pico.url)
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


@pytest.mark.pico
def test_unaligned_access_is_a_fault_as_on_the_chip(capfd):
    provide("pico")
    code = "@micropython.viper\ndef f() -> int:\n return ptr32(0x20000001)[0]\nf()"
    with emulated.Pico() as board:
        process = board._process
        with pytest.raises(BoardError):
            emulated.mpremote(board.url, "exec", code, timeout=60)
        assert process.wait(10) == 3
    assert "unaligned access to 0x20000001" in capfd.readouterr().err


@pytest.mark.pico
def test_a_board_that_stops_while_it_boots_is_told(tmp_path, capfd):
    provide("pico")
    flash = tmp_path / "flash.bin"
    flash.write_bytes(b"\xff" * emulated.FLASH_BYTES)  # no firmware
    with pytest.raises(BoardError, match="stopped: its last message stands above"):
        emulated.Pico(flash=flash)
    assert "pico: " in capfd.readouterr().err


@pytest.mark.pico
def test_romfs_is_read_in_place(tmp_path):
    provide("pico")
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)) * 1000)
    image = tmp_path / "image.romfs"
    subprocess.run(
        [sys.executable, "-m", "mpremote", "romfs", "-o", image, "build", tmp_path],
        check=True,
        capture_output=True,
    )
    with emulated.Pico("trimtab", romfs=image.read_bytes()) as board:
        said = tell(
            board,
            "import uctypes, trimtab; m = memoryview(open('/rom/weights.bin', 'rb')); "
            "print(len(m), m[70000], hex(uctypes.addressof(m))[:5], trimtab.__file__)",
        )
    assert said == f"256000 {70000 % 256} 0x100 trimtab/__init__.py"


def test_romfs_that_does_not_fit_is_refused():
    with pytest.raises(BoardError, match="put less into it"):
        emulated.flash_image("trimtab", romfs=bytes(705 * 1024))


# -- the unix port -------------------------------------------------------------------------------------------


@pytest.mark.unix
def test_unix_has_the_library_the_kernels_and_the_heap_asked_for():
    provide("unix")
    code = f"import gc; print(gc.mem_free() + gc.mem_alloc()); {NAME_TIER}"
    with emulated.Unix("-c", code, heap="192k") as board:
        heap, tier = board.output().split()
    assert 180_000 < int(heap) <= 192 * 1024 and tier == "c"
    with emulated.Unix("-c", NAME_TIER, kernels=False) as board:
        assert board.output().strip() == "viper"


@pytest.mark.unix
def test_unix_speaks_through_pipes_and_finds_its_files():
    provide("unix")
    code = "import sys; print(open('a/b').read(), sys.stdin.readline().strip())"
    with emulated.Unix("-c", code, files={"/a/b": b"hello"}) as board:
        board.stdin.write(b"there\n")
        assert board.output() == "hello there\n"


@pytest.mark.unix
def test_unix_error_is_told():
    provide("unix")
    with (
        emulated.Unix("-c", "raise SystemExit(7)") as board,
        pytest.raises(BoardError, match="status 7"),
    ):
        board.output()


# -- the toolchain -------------------------------------------------------------------------------------------


@pytest.mark.pico
@pytest.mark.parametrize("arch, code", [("x64", 2), ("armv6m", 4)])
def test_native_module_names_its_architecture(arch, code):
    provide("pico")
    header = builds.natmod(arch).read_bytes()[:4]
    assert header[:2] == b"M\x06" and header[2] >> 2 & 15 == code


def test_unknown_architecture_names_the_known_ones():
    with pytest.raises(ToolchainError, match="armv6m"):
        builds.natmod("z80")


def test_missing_packages_are_named_with_the_command(monkeypatch):
    monkeypatch.setattr(builds.shutil, "which", lambda name: None if name == "cmake" else "/bin/" + name)
    monkeypatch.setattr(builds.os, "geteuid", lambda: 1000)
    assert "cmake" in builds.missing("pico")
    with pytest.raises(ToolchainError, match="run sudo apt-get install -y .*cmake"):
        builds.provide("pico")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return builds.cache()


def test_a_thing_is_built_once_for_what_goes_into_it(cache, tmp_path):
    source = tmp_path / "source"
    source.write_text("1")
    built = []

    def build(out):
        built.append(out)
        (out / "thing").write_text(source.read_text())

    first = builds._built("thing", [source, "-O2"], build)
    assert builds._built("thing", [source, "-O2"], build) == first and len(built) == 1
    assert builds._built("thing", [source, "-O3"], build) != first
    source.write_text("2")
    assert (builds._built("thing", [source, "-O2"], build) / "thing").read_text() == "2"


def test_a_failed_build_leaves_nothing_behind(cache):
    def build(out):
        (out / "half").write_text("")
        builds._run("false")

    with pytest.raises(ToolchainError, match="false failed with status 1"):
        builds._built("thing", [], build)
    assert [p.name for p in cache.iterdir()] == ["thing.lock"]


def test_an_archive_that_changed_is_refused(tmp_path):
    archive = next(a for a in builds.ARCHIVES if a.sha256)
    with pytest.raises(ToolchainError, match="no longer"):
        builds._verified(tmp_path, archive)
    (tmp_path / archive.pattern.replace("*", "1")).write_bytes(b"something else")
    with pytest.raises(ToolchainError, match="is not the file that trimtab was tested with"):
        builds._verified(tmp_path, archive)


def test_host_library_takes_flags():
    provide("sim")
    plain, checked = builds.host_library(), builds.host_library(["-fsanitize=undefined"])
    assert plain != checked and plain.is_file() and checked.stat().st_size > plain.stat().st_size


@pytest.mark.pico
def test_emulator_ends_with_its_parent(pico, tmp_path):
    flash = tmp_path / "flash.bin"
    flash.write_bytes(emulated.flash_image())
    parent = subprocess.run(
        ["sh", "-c", 'sleep 1 | node "$0" --flash "$1"', builds.emulator(), flash],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert parent.returncode == 0
    pid = json.loads(parent.stdout.splitlines()[0])["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_mip_installs_every_file_of_the_library():
    listed = json.loads((builds.library().parent / "package.json").read_text())
    sources = sorted(path.relative_to(builds.library()).as_posix() for path in builds.library().rglob("*.py"))
    names = [
        f"trimtab/{name}" for name in sources if name != emulated.VIPER
    ]  # no board should compile that one
    assert listed["urls"] == [[name, name] for name in names]
