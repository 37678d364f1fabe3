"""`python -m trimtab_tools.toolchain.wheel FOLDER` writes trimtab's wheels, with kernels that are built.

One wheel is for every system and brings WebAssembly. The other is for Linux on x86-64 and brings native
kernels as well.
"""

import platform
import shutil
import sys
import tempfile
from pathlib import Path

from ..errors import ToolchainError
from . import cache, kernels, webassembly
from .sources import HERE, READY

ROOT = HERE.parents[1]
PARTS = ("pyproject.toml", "README.md", "LICENSE", "device_lib", "host_tools", "firmware")
LEAVE_OUT = shutil.ignore_patterns("__pycache__", "build", "node_modules", "*.egg-info")
LINUX = "manylinux_2_17_x86_64"  # the libraries take nothing of a younger C library


def wheels(folder: Path) -> list[Path]:
    """Write both wheels into a folder; where this machine is no such Linux, only the first."""
    modules = {f"{name}.wasm": webassembly.module(name) for name in webassembly.BUILDS}
    found = [wheel(folder, modules)]
    if sys.platform == "linux" and platform.machine() == "x86_64":
        libraries = {f"{name}.so": kernels.wide_library(name) for name in kernels.LEVELS}
        libraries["level.so"] = kernels.level_library()
        found.append(wheel(folder, {**modules, **libraries}, LINUX))
    return found


def wheel(folder: Path, ready: dict[str, Path], tag: str = "") -> Path:
    """Write one wheel, which brings these files built, by name."""
    if not (ROOT / "pyproject.toml").is_file():
        raise ToolchainError("a wheel is built from a checkout: clone the repository")
    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch) / "source", Path(scratch) / "out"
        copy(source)
        place = source / READY.relative_to(ROOT)
        place.mkdir()
        for name, path in ready.items():
            shutil.copy(path, place / name)
        if libraries := list(place.glob("*.so")):
            cache.run("strip", *libraries)
        cache.run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", out, source)
        made = next(out.iterdir())
        if tag:
            cache.run(sys.executable, "-m", "wheel", "tags", "--remove", "--platform-tag", tag, made)
            made = next(out.iterdir())
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(made, folder))


def copy(source: Path) -> None:
    """The checkout without what was built in it."""
    source.mkdir()
    for name in PARTS:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=LEAVE_OUT)
        else:
            shutil.copy(path, source)


def main(words: list[str]) -> int:
    try:
        if len(words) != 1:
            raise ToolchainError("name the folder that the wheels go to")
        for path in wheels(Path(words[0])):
            print(f"{path} {path.stat().st_size} bytes")
    except ToolchainError as error:
        print(f"toolchain: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
