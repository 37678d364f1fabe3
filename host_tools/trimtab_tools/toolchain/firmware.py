"""MicroPython for the boards, and the emulator that stands in for a Pico."""

import shutil
import sys
from pathlib import Path

from . import cache, packages
from .sources import FIRMWARE, library, micropython, mpy_cross

UNIX_TOOLS = ["gcc", "make"]
RP2_TOOLS = ["gcc", "make", "cmake", "ninja", *packages.ARM_CPP]
EMULATOR_TOOLS = ["node", "npm"]

UNIX_MANIFEST = 'include("$(MPY_DIR)/extmod/asyncio")\n'
STOCK_MANIFEST = 'freeze("$(PORT_DIR)/modules")\ninclude("$(MPY_DIR)/extmod/asyncio")\n'

RP2040_FAMILY = "0xe48bff56"
FLASH_START = "0x10000000"


# -- the unix port


def unix() -> Path:
    """MicroPython's unix port: the standard variant without TLS, btree and ffi, with asyncio frozen in."""
    source = micropython()

    def build(out):
        packages.need(UNIX_TOOLS)
        (out / "manifest.py").write_text(UNIX_MANIFEST)
        settings = {
            "FROZEN_MANIFEST": out / "manifest.py",
            "MICROPY_PY_SSL": 0,
            "MICROPY_SSL_MBEDTLS": 0,
            "MICROPY_PY_BTREE": 0,
            "MICROPY_PY_FFI": 0,
        }
        _make(source / "ports/unix", out, settings)
        shutil.move(out / "build/micropython", out / "micropython")
        shutil.rmtree(out / "build")

    return cache.built("unix", [source.name, UNIX_MANIFEST], build) / "micropython"


def _make(port: Path, out: Path, settings: dict) -> None:
    """Build one of MicroPython's ports in out/build."""
    settings = {
        "BUILD": out / "build",
        "MICROPY_MPYCROSS": mpy_cross(),
        "PYTHON": sys.executable,
        **settings,
    }
    cache.run("make", "-j2", "-C", port, *(f"{key}={value}" for key, value in settings.items()))


# -- the Pico


def pico(kind: str = "stock") -> Path:
    """The folder of firmware.bin and firmware.uf2: "stock" MicroPython, or "trimtab" with ours inside."""
    source = micropython()
    if kind == "stock":
        return cache.built("firmware-stock", [source.name, STOCK_MANIFEST], _stock)
    parts = [FIRMWARE / part for part in ("TRIMTAB_PICO", "kernels", "manifest.py", "micropython.cmake")]
    return cache.built("firmware-trimtab", [source.name, *parts, library()], _trimtab)


def _stock(out: Path) -> None:
    manifest = cache.folder() / "stock-manifest.py"
    manifest.write_text(STOCK_MANIFEST)
    _rp2(out, {"MICROPY_BOARD": "RPI_PICO", "MICROPY_FROZEN_MANIFEST": manifest})


def _trimtab(out: Path) -> None:
    settings = {
        "MICROPY_BOARD": "TRIMTAB_PICO",
        "MICROPY_BOARD_DIR": FIRMWARE / "TRIMTAB_PICO",
        "MICROPY_FROZEN_MANIFEST": FIRMWARE / "manifest.py",
        "USER_C_MODULES": FIRMWARE / "micropython.cmake",
    }
    _rp2(out, settings, {"TRIMTAB_LIBRARY": str(library().parent)})


def _rp2(out: Path, settings: dict, env: dict[str, str] | None = None) -> None:
    """Build firmware.bin and firmware.uf2. The object files stay, so that the next build is short."""
    source = micropython()
    packages.need(RP2_TOOLS)
    objects = (
        cache.folder() / f"objects-{settings['MICROPY_BOARD']}-{cache.digest([str(source), str(FIRMWARE)])}"
    )
    options = {"PICO_NO_PICOTOOL": 1, "Python3_EXECUTABLE": sys.executable, **settings}
    front = ["cmake", "-S", source / "ports/rp2", "-B", objects, "-G", "Ninja"]
    env = {"MICROPY_MPYCROSS": str(mpy_cross()), **(env or {})}
    cache.run(*front, *(f"-D{key}={value}" for key, value in options.items()), env=env)
    # The build would keep this file even after the manifest has lost one of its modules.
    (objects / "frozen_content.c").unlink(missing_ok=True)
    cache.run("ninja", "-j2", "-C", objects, env=env)
    shutil.copy(objects / "firmware.bin", out)
    uf2 = [sys.executable, source / "tools/uf2conv.py", "-c", "-f", RP2040_FAMILY, "-b", FLASH_START]
    cache.run(*uf2, "-o", out / "firmware.uf2", out / "firmware.bin")


def emulator() -> Path:
    """The emulated Pico's pico.mjs, beside the npm package that it runs on."""

    def build(out):
        packages.need(EMULATOR_TOOLS)
        shutil.copytree(FIRMWARE / "emulator", out, dirs_exist_ok=True)
        cache.run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=out)

    return cache.built("emulator", [FIRMWARE / "emulator"], build) / "pico.mjs"


# -- QEMU's boards


def qemu(board: str, tools: list[str], variables: dict[str, str]) -> Path:
    """MicroPython for a board of QEMU's, as an ELF file. Its definition is firmware/qemu/TRIMTAB_BOARD."""
    source, folder = micropython(), FIRMWARE / "qemu"

    def build(out):
        packages.need(tools)
        name = f"TRIMTAB_{board.upper()}"
        _make(source / "ports/qemu", out, {"BOARD": name, "BOARD_DIR": folder / name, **variables})
        shutil.move(out / "build/firmware.elf", out)
        shutil.rmtree(out / "build")

    return cache.built(f"firmware-{board}", [source.name, folder, variables], build) / "firmware.elf"
