"""The files on a board: the device library, its kernels, and the flash images that hold them."""

import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from ..errors import BoardError
from ..toolchain import firmware, packages, sources, subset, viper
from ..toolchain.kernels import NATMODS, UNPROVEN, natmod
from .packed import always_packed

SMALL = {"xtensa"}  # the ESP8266: its RAM holds no kernels in native code

FLASH_BYTES = 2 * 1024 * 1024
BLOCK = 4096


class Layout(NamedTuple):
    """Where things lie in a Pico's flash, in bytes."""

    romfs_start: int
    romfs_bytes: int
    files_start: int
    files_bytes: int


LAYOUTS = {
    "stock": Layout(0, 0, 640 * 1024, 1408 * 1024),
    "trimtab": Layout(640 * 1024, 704 * 1024, 1344 * 1024, 704 * 1024),
}


# -- library and kernels


def kernels_for(arch: str | None) -> str:
    """The fastest proven kernels for boards of this architecture: "c", "viper" or "plain"."""
    if arch in NATMODS and arch not in UNPROVEN:
        return "c"
    return "viper" if arch and arch not in SMALL else "plain"


def library_files(
    arch: str | None = None, kernels: str | None = None, package: bytes | None = None, cores: int = 1
) -> dict[str, bytes]:
    """The device library as bytecode and, for a known architecture, kernels: {path on the board: bytes}.

    If a package is given, only the kernels that it calls are taken. With two cores, C kernels share records.
    """
    kernels = kernels or kernels_for(arch)
    called = subset.kernels_of(package) if package else None
    library = sources.library()
    texts = {path.relative_to(library).as_posix(): path.read_text() for path in sorted(library.rglob("*.py"))}
    if kernels == "viper":
        texts[viper.NAME] = viper.source(called)
    files = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in texts.items():
            files[f"/lib/trimtab/{name.removesuffix('.py')}.mpy"] = _bytecode(name, text, arch, Path(scratch))
    if kernels == "c":
        assert arch, "C kernels are built for one architecture"
        packed = always_packed(package, arch) if package else ()
        files["/lib/_kernels.mpy"] = natmod(arch, called, packed, cores).read_bytes()
    return files


def _bytecode(name: str, text: str, arch: str | None, scratch: Path) -> bytes:
    source, target = scratch / "source.py", scratch / "target.mpy"
    source.write_text(text)
    march = [f"-march={arch}"] if arch else []
    options = [*march, "-s", f"trimtab/{name}", "-o", str(target)]
    subprocess.run([str(sources.mpy_cross()), *options, str(source)], check=True)
    return target.read_bytes()


# -- flash images


def littlefs_image(files: dict[str, bytes], size: int) -> bytes:
    """A littlefs image of that size with these files, formatted as MicroPython's rp2 port does."""
    packages.need_python(littlefs="littlefs-python")
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


def flash_image(kind: str = "stock", files: dict[str, bytes] | None = None, romfs: bytes = b"") -> bytes:
    """The 2 MB of a Pico's flash: firmware of that kind, a ROMFS image, a file system if there are files."""
    layout = LAYOUTS[kind]
    if len(romfs) > layout.romfs_bytes:
        raise BoardError(
            f"the ROMFS image has {len(romfs)} bytes and the partition of {kind} firmware "
            f"{layout.romfs_bytes}: put less into it"
        )
    image = bytearray(b"\xff" * FLASH_BYTES)
    parts = [(0, (firmware.pico(kind) / "firmware.bin").read_bytes()), (layout.romfs_start, romfs)]
    if files:
        parts.append((layout.files_start, littlefs_image(files, layout.files_bytes)))
    for start, data in parts:
        image[start : start + len(data)] = data
    return bytes(image)
