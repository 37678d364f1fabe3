"""LLVM from Debian's packages, unpacked but not installed: for the ESP32's cores and for WebAssembly."""

import shutil
from pathlib import Path
from typing import Any

from ..errors import ToolchainError
from . import cache, packages

# With the C library that it wants, since this system's may be older.
LLVM = (
    "clang-22 libclang-cpp22 libllvm22 llvm-22 libclang-common-22-dev libc6 libstdc++6 libgcc-s1 zlib1g "
    "libzstd1 libxml2 libedit2 libtinfo6 libffi8 libbsd0 libmd0 liblzma5 libicu76"
).split()
LINKER = ["lld-22"]
SYSTEM = "usr/lib/x86_64-linux-gnu"
PARTS = "usr/lib/llvm-22"


def folder() -> Path:
    """Where the compiler's packages are unpacked."""
    return _unpacked("llvm", LLVM)


def clang(*options: Any) -> str:
    """Run the compiler; returns what it prints. It has headers of its own and no C library's."""
    headers = folder() / PARTS / "lib/clang/22"
    return _run(folder() / PARTS / "bin/clang", "-resource-dir", headers, "-nostdlibinc", *options)


def wasm_ld(*options: Any) -> str:
    """Run the linker for WebAssembly."""
    return _run(_unpacked("lld", LINKER) / PARTS / "bin/wasm-ld", *options)


def _unpacked(name, names):
    if not shutil.which("apt-get"):
        raise ToolchainError("clang is taken from Debian's packages: use a system that has apt-get")
    return cache.built(name, [packages.RELEASE, *names], lambda out: packages.unpacked(out, names))


def _run(binary, *options):
    system = folder() / SYSTEM
    loader = [system / "ld-linux-x86-64.so.2", "--library-path", f"{system}:{folder() / PARTS / 'lib'}"]
    return cache.run(*loader, "--argv0", binary, binary, *options)
