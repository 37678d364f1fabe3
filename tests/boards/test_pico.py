"""The emulated Pico: a board as the chip is, as far as trimtab can tell."""

import json
import os
import subprocess
import sys
import time
import zlib

import pytest
import serial
from helpers import provide
from talk import tell
from trimtab.format import ABI
from trimtab_tools.boards.files import FLASH_BYTES, flash_image, library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.errors import BoardError
from trimtab_tools.link.repl import mpremote, wait_for_prompt
from trimtab_tools.toolchain import firmware


@pytest.fixture(scope="module")
def pico():
    provide("pico")
    files = {**library_files("armv6m"), "/data/note.txt": b"as it was put there"}
    with Pico(files=files) as board:
        yield board


@pytest.mark.pico
def test_thumb_core_agrees_with_rp2040js():
    provide("pico")
    done = subprocess.run(
        ["node", firmware.emulator().with_name("check.mjs"), "4"], capture_output=True, text=True
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


@pytest.mark.pico
def test_unaligned_access_is_a_fault_as_on_the_chip(capfd):
    provide("pico")
    code = "@micropython.viper\ndef f() -> int:\n return ptr32(0x20000001)[0]\nf()"
    with Pico() as board:
        process = board.process
        with pytest.raises(BoardError):
            mpremote(board.url, "exec", code, timeout=60)
        assert process.wait(10) == 3
    assert "unaligned access to 0x20000001" in capfd.readouterr().err


@pytest.mark.pico
def test_a_board_that_stops_while_it_boots_is_told(tmp_path, capfd):
    provide("pico")
    flash = tmp_path / "flash.bin"
    flash.write_bytes(b"\xff" * FLASH_BYTES)  # no firmware
    with pytest.raises(BoardError, match="stopped: its last message stands above"):
        Pico(flash=flash)
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


@pytest.mark.pico
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
