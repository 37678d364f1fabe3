"""Copy the device library, the board's kernels and a package to a board.

Only files that differ are copied. The board hashes what it wrote, and the hash must be that of what was sent.
"""

import ast
import base64
import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import trimtab
from trimtab.format import SECTIONS
from trimtab.package import Package

from ..errors import BoardError
from ..link.repl import Repl, connected
from .files import kernels_for, library_files

CHUNK = 2048  # bytes for each command to the board
PART = ".part"  # ends the name of a file while it is written
KEEP = 8  # chunks between two flushes; what was flushed outlives a power cut
SPARE_BLOCKS = 6  # for directories and littlefs's own records

# sys.implementation._mpy holds the architecture in bits 10..13.
ARCHITECTURES = (
    "",
    "x86",
    "x64",
    "armv6",
    "armv6m",
    "armv7m",
    "armv7em",
    "armv7emsp",
    "armv7emdp",
    "xtensa",
    "xtensawin",
    "rv32imc",
)
CORES = {"rp2": 2}  # sys.platform -> cores that share a record
# An ARM core runs the module of a smaller one, since no function of ours takes a float in a register.
INSTEAD = {"armv7em": "armv7m", "armv7emdp": "armv7m"}


class About(NamedTuple):
    """What a board says about itself."""

    implementation: str
    mpy: int  # sys.implementation._mpy
    block: int  # bytes
    free_blocks: int
    frozen: str | None  # version of the library in its firmware
    platform: str


ASK = """
import os, sys
def about():
    kept = sys.path[:]
    sys.path[:] = ['.frozen']
    try:
        import trimtab
        frozen = getattr(trimtab, '__version__', '?')
    except ImportError:
        frozen = None
    sys.path[:] = kept
    fs = os.statvfs('/')
    mpy = getattr(sys.implementation, '_mpy', 0)
    print(repr((sys.implementation.name, mpy, fs[1], fs[3], frozen, sys.platform)))
about()
"""

HELP = """
import os, hashlib
from binascii import a2b_base64, hexlify
def there(path):
    try:
        size = os.stat(path)[6]
    except OSError:
        return None
    digest, buffer = hashlib.sha256(), bytearray(512)
    with open(path, 'rb') as file:
        count = file.readinto(buffer)
        while count:
            digest.update(memoryview(buffer)[:count])
            count = file.readinto(buffer)
    return size, hexlify(digest.digest()).decode()
def make(folder):
    try:
        os.mkdir(folder)
    except OSError:
        pass
def clear(path):
    try:
        os.remove(path)
    except OSError:
        pass
def sources(folder):
    return [folder + '/' + name for name in os.listdir(folder) if name.endswith('.py')]
"""


def architecture(mpy: int) -> str | None:
    """The name of a board's native architecture, if it has one."""
    index = (mpy >> 10) & 15
    name = ARCHITECTURES[index] if index < len(ARCHITECTURES) else ""
    return INSTEAD.get(name, name) or None


def ask(board: Repl) -> About:
    """Ask a board about itself. Refuses one that cannot take the library."""
    about = About(*ast.literal_eval(board.exec(ASK).decode()))
    if about.implementation != "micropython":
        raise BoardError(
            f"the board runs {about.implementation}: deploy speaks to MicroPython; copy the library "
            "and the package to the board's drive"
        )
    if about.frozen not in (None, trimtab.__version__):
        raise BoardError(
            f"the board's firmware holds trimtab {about.frozen} and this is {trimtab.__version__}: "
            "run trimtab flash"
        )
    return about


def changed(board: Repl, files: dict[str, bytes]) -> tuple[list[str], dict[str, int]]:
    """(paths of the files to send, {path: bytes} of the files on the board that they replace)."""
    old = {path: board.eval(f"there({path!r})") for path in files}
    new = [path for path, data in files.items() if old[path] != summary(data)]
    old.update({path + PART: board.eval(f"there({path + PART!r})") for path in new})
    return new, {path: old[path][0] for name in new for path in (name, name + PART) if old[path]}


def summary(data: bytes) -> tuple[int, str]:
    """What there() on the board returns for a file with these bytes."""
    return len(data), hashlib.sha256(data).hexdigest()


def check_space(about: About, files: dict[str, bytes], new: Iterable[str], freed: dict[str, int]) -> None:
    """Refuse files that the board's flash cannot hold, before anything is written."""

    def blocks(size):
        return -(-size // about.block)

    needed = sum(blocks(len(files[path])) for path in new) + SPARE_BLOCKS
    free = about.free_blocks + sum(map(blocks, freed.values()))
    if new and needed > free:
        raise BoardError(
            f"the board needs {needed * about.block // 1024} KB of free flash and has "
            f"{free * about.block // 1024} KB: remove files from it with mpremote rm"
        )


def send(board: Repl, path: str, data: bytes, moved: Callable[[int], None]) -> None:
    """Write one file, or the rest of it if an earlier attempt was interrupted. Calls moved(bytes)."""
    make_folders(board, path)
    part = path + PART
    held = board.eval(f"there({part!r})")
    done = held[0] if held and held == summary(data[: held[0]]) else 0
    moved(done)
    board.exec(f"clear({path!r})")
    board.exec(f"file = open({part!r}, {'ab' if done else 'wb'!r})")
    for start in range(done, len(data), CHUNK):
        chunk = data[start : start + CHUNK]
        board.exec(b"file.write(a2b_base64(b'" + base64.b64encode(chunk) + b"'))")
        if start // CHUNK % KEEP == KEEP - 1:
            board.exec("file.flush()")
        moved(len(chunk))
    board.exec("file.close()")
    if board.eval(f"there({part!r})") != summary(data):
        board.exec(f"clear({part!r})")
        raise BoardError(f"{path} on the board at {board.port} is not what was sent: deploy again")
    board.exec(f"os.rename({part!r}, {path!r})")


def make_folders(board: Repl, path: str) -> None:
    folders = path.split("/")[1:-1]
    for depth in range(len(folders)):
        board.exec(f"make({'/' + '/'.join(folders[: depth + 1])!r})")


def check_package(path: Path | str) -> None:
    """Refuse a damaged package before the board is touched."""
    package = Package(str(path))
    for name in SECTIONS:
        package.section(name)


def push(
    board: Repl, about: About, files: dict[str, bytes], progress: Callable[[int, int], None]
) -> list[str]:
    """Copy the files that differ; returns their paths."""
    board.exec(HELP)
    new, freed = changed(board, files)
    check_space(about, files, new, freed)
    total = sum(len(files[path]) for path in new)
    done = 0

    def moved(count):
        nonlocal done
        done += count
        progress(done, total)

    for path in new:
        send(board, path, files[path], moved)
    if any(path.startswith("/lib/trimtab/") for path in files):
        # MicroPython would import a .py in place of the .mpy beside it.
        board.exec("for path in sources('/lib/trimtab') + sources('/lib/trimtab/plain'): os.remove(path)")
    return new


def deploy(
    port: str, package: Path | str, progress: Callable[[int, int], None] | None = None, cores: int = 2
) -> dict:
    """Copy what a board needs to run a package; returns what was done. progress(done, total) counts bytes.

    With one core, the kernels come without what lets two share the work.
    """
    package = Path(package)
    check_package(package)
    start = time.monotonic()
    with connected(port) as board:
        about = ask(board)
        arch = architecture(about.mpy)
        data = package.read_bytes()
        files = (
            {}
            if about.frozen
            else library_files(arch, package=data, cores=min(cores, CORES.get(about.platform, 1)))
        )
        files["/" + package.name] = data
        copied = push(board, about, files, progress or (lambda done, total: None))
    return {
        "port": port,
        "architecture": arch,
        "library": "firmware" if about.frozen else "copied",
        "kernels": "c" if about.frozen else kernels_for(arch),
        "copied": copied,
        "bytes": sum(len(files[path]) for path in copied),
        "seconds": round(time.monotonic() - start, 1),
    }
