"""Leave out the kernels that a package does not call: native code lives in a board's RAM."""

import re
import struct
from collections.abc import Collection

from trimtab.format import RECORDS, fields
from trimtab.package import Package

DENSE = "dense"  # beside the names of kernels: that some layer has one position


def kernels_of(source: bytes | str) -> set[str]:
    """The names of the kernels that a package's records call; the package as bytes or by its path.

    DENSE is among them if some layer has one position.
    """
    package = Package(source)
    steps = package.section("steps")
    phases = package.records(steps, package.section("const"))
    called = {(RECORDS[code][0], at) for codes, offsets in phases for code, at in zip(codes, offsets)}
    names = {name for name, _ in called}
    if any(name == "conv_fwd" and _positions(steps, at) == 1 for name, at in called):
        names.add(DENSE)
    return names


def _positions(steps, at):
    (opcode,) = struct.unpack_from("<i", steps, at)
    names = [name for name, *_ in fields(RECORDS[opcode][1])]
    high, wide = (struct.unpack_from("<i", steps, at + 4 + 4 * names.index(name))[0] for name in ("oh", "ow"))
    return high * wide


def listed(text: str, names: Collection[str]) -> str:
    """records.h with only those kernels in its lists."""
    return re.sub(r"    X\((\w+)\) \\\n", lambda row: row[0] if row[1] in names else "", text)
