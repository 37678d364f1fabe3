"""A method can be deleted: in a copy of the project without its files, everything else passes its tests."""

import os
import shutil
import subprocess
import sys

import pytest
from kernel_cases import NAMES
from methods import METHODS, files, needs
from sources import ROOT
from trimtab.format import RECORDS

FOLDERS = ("host_tools", "device_lib", "firmware", "tests", "benchmarks", "examples")
ROOMS = ("kernels", "operators", "policies", "compiler", "device")
QUICK = "not pico and not qemu and not unix and not keras and not slow"
SAME = "not sanitized and not any_content"  # these builds take minutes


@needs(*METHODS)
def test_with_all_methods_every_kernel_is_tested():
    assert NAMES == [row[0] for row in RECORDS]


@pytest.mark.slow
@pytest.mark.parametrize("method", [pytest.param(method, marks=needs(method)) for method in METHODS])
def test_without(method, tmp_path):
    leave_out = shutil.ignore_patterns("__pycache__", "node_modules")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=leave_out)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    deleted = list(files(method, *(tmp_path / folder for folder in FOLDERS[:4])))
    assert len(deleted) >= 4, "on the host, on the device, in C, in the tests"
    for path in deleted:
        path.unlink()
    found = os.pathsep.join(str(tmp_path / folder) for folder in ("host_tools", "device_lib"))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        QUICK,
        "-k",
        SAME,
        *(f"tests/{room}" for room in ROOMS),
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": found}, capture_output=True, text=True
    )
    assert done.returncode == 0, "\n".join(done.stdout.splitlines()[-40:])
