"""What stands in two places is the same in both, and imports go one way."""

import ast
import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from methods import METHODS, left_out
from trimtab import format, kernels
from trimtab_tools.boards import native
from trimtab_tools.toolchain import kernels as kernel_builds
from trimtab_tools.toolchain import records_header
from trimtab_tools.toolchain.sources import FIRMWARE

NAMES = [row[0] for row in format.RECORDS]
KERNELS = FIRMWARE / "kernels"
DEVICE = sorted(Path(kernels.__file__).parent.rglob("*.py"))


def test_header_is_the_table():
    assert records_header.PATH.read_text() == records_header.text(), "run records_header again"


def test_structs_have_the_layout_of_records(tmp_path):
    """Opcode, size and the place of every field, as the compiler sees them."""
    checks = []
    for code, (name, members) in enumerate((row[0], format.fields(row[1])) for row in format.RECORDS):
        checks.append("TRIMTAB_OP_%s == %d" % (name, code))
        checks.append("sizeof(struct trimtab_%s) == %d" % (name, 4 + 4 * len(members)))
        for i, member in enumerate(records_header.paths(members)):
            checks.append("offsetof(struct trimtab_%s, %s) == %d" % (name, member, 4 + 4 * i))
    source = tmp_path / "layout.c"
    source.write_text(
        '#include <stddef.h>\n#include "records.h"\n'
        + "".join('_Static_assert(%s, "");\n' % check for check in checks)
    )
    command = ["gcc", "-std=c11", "-fsyntax-only", "-I%s" % (FIRMWARE / "kernels"), str(source)]
    subprocess.run(command, check=True)


def test_every_tier_exports_the_same_kernels():
    there = list(kernels.plain().functions)
    assert list(native.tier().functions) == there == list(native.plain_loops().functions)
    if not any(map(left_out, METHODS)):
        assert there == NAMES
    listed = re.findall(r"    X\((\w+)\)", records_header.text())
    assert sorted(listed) == sorted(
        row[0] for row in format.RECORDS
    )  # by families; also where a method's file is missing


def test_numbers_with_limits_are_fields():
    numbers = {spec[0] for row in format.RECORDS for spec in format.fields(row[1]) if spec[1] is None}
    assert set(format.LIMITS) <= numbers
    assert all(low <= high for low, high in format.LIMITS.values())


def test_every_extent_and_bound_is_a_number_of_its_record():
    for name, members in ((row[0], format.fields(row[1])) for row in format.RECORDS):
        numbers = {member[0] for member in members if member[1] is None}
        for field, _, extent, bound in members:
            names = {x for x in extent if not x.isdigit()} | ({bound} if bound else set())
            assert names <= numbers, (name, field)


@pytest.mark.parametrize(
    "method", [name for name, file in records_header.METHODS.items() if (KERNELS / file).exists()]
)
def test_without_its_file_a_method_is_absent_and_all_else_is_there(method, tmp_path, monkeypatch):
    """In the list that native modules and firmware read, and in the library that this machine links."""
    shutil.copytree(FIRMWARE / "kernels", tmp_path / "kernels")
    (tmp_path / "kernels" / records_header.METHODS[method]).unlink()
    here = list(native.plain_loops().functions)
    left = [name for name in here if records_header.family(name) != method]
    assert len(left) < len(here)
    source = '#include "records.h"\n#define NAME(name) name\nTRIMTAB_KERNELS(NAME)\n'
    command = ["gcc", "-std=c99", "-E", "-P", "-I%s" % (tmp_path / "kernels"), "-xc", "-"]
    text = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    assert [word for word in text.split() if word in NAMES] == left
    monkeypatch.setattr(kernel_builds, "FIRMWARE", tmp_path)
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    library = ctypes.CDLL(str(kernel_builds.host_library()))
    assert list(native.functions(library)) == left


@pytest.mark.parametrize("path", DEVICE, ids=lambda path: path.name)
def test_the_device_imports_nothing_of_the_host(path):
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").split(".")[0])
    assert not modules & {"trimtab_tools", "numpy", "typing", "dataclasses", "pathlib"}


def test_kernels_have_no_writable_data(tmp_path):
    """Nothing is kept between calls: a native module could not even hold it."""
    for source in sorted((FIRMWARE / "kernels").rglob("*.c")):
        if source.name != "module.c":
            object_file = str(tmp_path / "kernel.o")
            subprocess.run(
                ["gcc", "-O2", "-std=c99", "-fno-pie", "-c", str(source), "-o", object_file], check=True
            )
            symbols = subprocess.run(["nm", object_file], capture_output=True, text=True, check=True).stdout
            assert not re.findall(r" [bBdDC] (\w+)", symbols), source.name
