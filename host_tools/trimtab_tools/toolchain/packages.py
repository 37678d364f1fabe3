"""What the builds need from outside: installed Debian packages, unpacked ones, Python modules."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from ..errors import ToolchainError
from . import cache

# What a build runs -> the Debian package that has it. A name with a slash is a file, not a command.
TOOLS = {
    "gcc": "build-essential",
    "make": "build-essential",
    "node": "nodejs",
    "npm": "npm",
    "cmake": "cmake",
    "ninja": "ninja-build",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "/usr/lib/arm-none-eabi/newlib/libc.a": "libnewlib-arm-none-eabi",
    "/usr/lib/arm-none-eabi/newlib/thumb/v6-m/nofp/libstdc++.a": "libstdc++-arm-none-eabi-newlib",
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf",
    "/usr/lib/picolibc/riscv64-unknown-elf/picolibc.specs": "picolibc-riscv64-unknown-elf",
    "qemu-system-arm": "qemu-system-arm",
    "qemu-system-riscv32": "qemu-system-misc",
    "qemu-xtensa": "qemu-user",
    "qemu-aarch64": "qemu-user",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "/usr/aarch64-linux-gnu/lib/libc.a": "libc6-dev-arm64-cross",
    "xtensa-lx106-elf-ld": "binutils-xtensa-lx106",
    "/usr/lib/xtensa-lx106-elf/include/stdio.h": "picolibc-xtensa-lx106-elf",
}


def _of(packages: str) -> list[str]:
    return [tool for tool, package in TOOLS.items() if packages in package]


ARM_CPP = _of("arm-none-eabi")
ARM = ARM_CPP[:2]  # the compiler and the C library
RV32 = _of("riscv64")
XTENSA = _of("xtensa-lx106")
NEON = ["qemu-aarch64", *_of("aarch64"), *_of("arm64")]

# Packages that are unpacked but not installed come from this release.
RELEASE = "trixie"


# -- tools on this system


def absent(tools: Collection[str]) -> list[str]:
    """The packages of those tools that are not installed."""
    return sorted({TOOLS[tool] for tool in tools if not _is_there(tool)})


def _is_there(tool: str) -> bool:
    return Path(tool).exists() if "/" in tool else bool(shutil.which(tool))


def need(tools: Collection[str], what: str = "this") -> None:
    """Refuse to go on without these tools; the error has the command that installs them on Debian."""
    packages = absent(tools)
    if packages and shutil.which("apt-get"):
        raise ToolchainError(f"{what} needs {', '.join(packages)}: run sudo {' '.join(_install(packages))}")
    if packages:
        raise ToolchainError(f"{what} needs {', '.join(t for t in tools if not _is_there(t))}: install it")


def provide(tools: Collection[str], what: str = "this") -> None:
    """Install what is missing of these tools, as root; anyone else is told which command does it."""
    packages = absent(tools)
    if not packages:
        return
    if not shutil.which("apt-get") or os.geteuid():
        need(tools, what)
    print(f"installing {', '.join(packages)} ...", file=sys.stderr, flush=True)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        cache.run(*_install(packages), env=quiet)
    except ToolchainError:  # the package lists are absent or stale
        cache.run("apt-get", "update", env=quiet)
        cache.run(*_install(packages), env=quiet)


def _install(packages: list[str]) -> list[str]:
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


def need_python(**modules: str) -> None:
    """Refuse to go on without these Python modules, given as module="package"."""
    missing = [package for module, package in modules.items() if not importlib.util.find_spec(module)]
    if missing:
        raise ToolchainError(f"this needs {', '.join(missing)}: run pip install 'trimtab[boards]'")


# -- packages of one Debian release, which this system need not run


def apt(state: Path) -> list[str]:
    """The front of an apt-get command that knows only RELEASE and keeps its state in a folder of ours."""
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "debian.sources").write_text(
        f"Types: deb deb-src\nURIs: {_mirror()}\nSuites: {RELEASE}\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )
    options = {
        "Dir::Etc::sourcelist": state / "debian.sources",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state / "cache",
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]


def _mirror() -> str:
    """The Debian mirror that this system already uses; TRIMTAB_MIRROR names one where there is none."""
    if os.environ.get("TRIMTAB_MIRROR"):
        return os.environ["TRIMTAB_MIRROR"]
    if shutil.which("apt-get"):
        targets = cache.run(
            "apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages"
        ).split("\n")
        for uri, _, component in (line.partition(" ") for line in targets):
            if component == "main" and uri.rstrip("/").endswith("/debian"):
                return uri
    raise ToolchainError(
        "boards are built from Debian's sources: set TRIMTAB_MIRROR to the address of a Debian mirror"
    )


def unpacked(out: Path, packages: Iterable[str]) -> None:
    """Download binary packages of RELEASE and unpack them into a folder, without installing anything."""
    state = out / "apt"
    command = apt(state)
    cache.run(*command, "update")
    cache.run(*command, "download", *packages, cwd=state)
    for package in state.glob("*.deb"):
        cache.run("dpkg-deb", "-x", package, out)
    shutil.rmtree(state)
