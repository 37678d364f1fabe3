"""Leave out the kernels that a package does not call: native code lives in a board's RAM."""

import re
from collections.abc import Collection

from trimtab.format import RECORDS
from trimtab.package import Package


def kernels_of(source: bytes | str) -> set[str]:
    """The names of the kernels that a package's records call; the package as bytes or by its path."""
    package = Package(source)
    phases = package.records(package.section("program"), package.section("const"))
    return {RECORDS[code][0] for codes, _ in phases for code in codes}


def listed(text: str, names: Collection[str]) -> str:
    """records.h with only those kernels in its lists."""
    return re.sub(r"    X\((\w+)\) \\\n", lambda row: row[0] if row[1] in names else "", text)
