"""The kernels that one package calls, out of the files with all: native code lives in a board's RAM."""

import re

from trimtab.format import RECORDS
from trimtab.package import Package


def kernels_of(source):
    """Names of the kernels that a package's records call."""
    package = Package(source)
    phases = package.records(package.section("steps"), package.section("const"))
    return {RECORDS[code][0] for codes, _ in phases for code in codes}


def listed(text, names):
    """records.h with only those kernels in its lists."""
    return re.sub(r"    X\((\w+)\) \\\n", lambda row: row[0] if row[1] in names else "", text)
