"""The C kernels as WebAssembly: one file that runs on every PC, without a C compiler.

`python -m trimtab_tools.toolchain webassembly` builds the modules. A wheel brings them; a checkout builds
them when they are first needed.
"""

import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from trimtab.format import RECORDS

from ..compiler.scratch import WORDS
from ..errors import ToolchainError
from . import cache, llvm
from .kernels import PACKED, kernel_sources, packed_only
from .sources import FIRMWARE, ready

KERNELS, HEADERS = FIRMWARE / "kernels", FIRMWARE / "wasm"
COMPILE = (
    *("--target=wasm32", "-ffreestanding", "-O2", "-msimd128", "-mbulk-memory", "-flto"),
    *(
        "-std=gnu11",
        "-fwrapv",
        "-fno-strict-aliasing",
        "-Wall",
        "-Werror",
        "-Wno-unknown-pragmas",
        "-Wno-unknown-attributes",
    ),
)
LINK = ("--no-entry", "--lto-O2", "--strip-all", "-z", "stack-size=65536")


class Build(NamedTuple):
    flags: tuple[str, ...]
    kernels: tuple[str, ...]  # what it exports


def _builds():
    """{name: Build}: pc runs packages; an architecture's module tells which records its packed loops take."""
    found = {"pc": Build(("-DTRIMTAB_WIDE=1",), tuple(row[0] for row in RECORDS))}
    for arch, flags in PACKED.items():
        found[arch] = Build((*flags, packed_only(WORDS)), tuple(WORDS))
    return found


BUILDS: dict[str, Build] = _builds()


def module(name: str = "pc") -> Path:
    """The module of that name in BUILDS."""
    return ready(f"{name}.wasm") or _built(name)


def _built(name):
    flags, kernels = BUILDS[name]

    def build(out):
        objects = list(_objects(out, flags))
        exports = [f"--export-if-defined=trimtab_{kernel}" for kernel in kernels]
        llvm.wasm_ld(*LINK, *exports, *objects, "-o", out / f"{name}.wasm")
        for path in objects:
            path.unlink()

    inputs = [KERNELS, HEADERS, *COMPILE, *LINK, *flags, *kernels, *llvm.LLVM]
    return cache.built("webassembly", inputs, build) / f"{name}.wasm"


def _objects(out: Path, flags: Iterable[str]):
    for i, source in enumerate(kernel_sources()):
        path = out / f"{i}.o"
        llvm.clang(*COMPILE, *flags, f"-I{HEADERS}", f"-I{KERNELS}", "-c", source, "-o", path)
        yield path


def version() -> str:
    """The compiler's name and version, in one line."""
    return llvm.clang("--version").partition("\n")[0]


def machine_code(name: str = "pc") -> Path:
    """The module, compiled by wasmtime for this machine's processor."""
    source = module(name)

    def build(out):
        code = _wasmtime().Module(_wasmtime().Engine(), source.read_bytes())
        (out / "code").write_bytes(code.serialize())

    inputs = [source, importlib.metadata.version("wasmtime"), platform.platform()]
    return cache.built("webassembly-code", inputs, build) / "code"


def _wasmtime():
    """The module wasmtime, which refuses to be imported on processors that it does not know."""
    try:
        import wasmtime
    except (ImportError, RuntimeError, OSError) as error:
        raise ToolchainError(f"WebAssembly does not run here ({error}): install gcc") from None
    return wasmtime
