"""Finds the kernels of a package that need no plain loops on a board; its native module leaves those out."""

import sys

from trimtab.format import RECORDS
from trimtab.kernels import Tier
from trimtab.package import Package

from ..compiler import scratch
from ..errors import ToolchainError
from ..toolchain import kernels, packages
from . import native, webassembly


def always_packed(data: bytes, arch: str) -> set[str]:
    """The kernels whose records can all use the packed loops of an architecture.

    Each record runs once on this machine, with kernels that have only packed loops. They decline a record
    that needs plain loops.
    """
    if arch not in kernels.PACKED:
        return set()
    package = Package(data)
    const, program, weights = (bytearray(package.section(name)) for name in ("const", "program", "weights"))
    phases = package.records(program, const)
    records = {(RECORDS[code][0], at) for codes, offsets in phases for code, at in zip(codes, offsets)}
    names = {name for name, _ in records if name in scratch.WORDS}
    if "tinytrain_fisher" in {name for name, _ in records}:
        return set()  # the board rewrites such records
    try:
        tier = _packed_only(arch)
    except ToolchainError as error:
        print(f"the kernels for {arch} keep all their plain loops: {error}", file=sys.stderr)
        return set()
    arena, state = tier.alloc(package.arena_bytes), tier.alloc(package.state_bytes)
    state[:] = package.section("state")
    call, memory = tier.functions, tier.bind(arena, state, const, program, weights)
    mixed = {name for name, at in records if name in names and call[name](memory, at) == native.DECLINED}
    return names - mixed


def _packed_only(arch: str) -> Tier:
    """This machine's twin of an architecture's packed loops, by its compiler or as WebAssembly."""
    if packages.absent(["gcc"]):
        return webassembly.tier(arch)
    flags = *kernels.PACKED[arch], kernels.packed_only(scratch.WORDS)
    return native.loaded(kernels.host_library(flags))
