"""A board may lack the file of a method that it does not use. A file that is there must load."""

import shutil
import subprocess
import sys

import pytest
from helpers import provide
from trimtab.format import RECORDS
from trimtab.kernels import plain
from trimtab.plain import METHODS
from trimtab_tools.boards.unix import unix_command
from trimtab_tools.toolchain import sources

TELL = "from trimtab.kernels import plain; print(' '.join(plain().functions))"


def library(folder, method, text=None):
    """A copy of the library in which a method's file is missing, or has this text."""
    shutil.copytree(sources.library(), folder / "trimtab")
    file = folder / "trimtab" / "plain" / (method + ".py")
    file.unlink() if text is None else file.write_text(text)
    return folder


def on_cpython(folder):
    run = subprocess.run([sys.executable, "-c", TELL], cwd=folder, capture_output=True, text=True)
    return run.stdout + run.stderr


def on_micropython(folder):
    provide("unix")
    command, env = unix_command("-c", TELL, paths=[folder], heap="4m")
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    return run.stdout + run.stderr


@pytest.mark.unix
@pytest.mark.parametrize("tell", [on_cpython, on_micropython])
def test_a_method_may_be_missing(tell, tmp_path):
    for method in METHODS:
        kernels = tell(library(tmp_path / method, method)).split()
        gone = [row[0] for row in RECORDS if row[0] not in kernels]
        assert gone and all(name.startswith((method, method.removesuffix("s"))) for name in gone)
        assert sorted(kernels) == sorted(name for name in plain().functions if name not in gone)


@pytest.mark.unix
@pytest.mark.parametrize("tell", [on_cpython, on_micropython])
@pytest.mark.parametrize("text", ["import nowhere", "from .fixed import nothing"])
def test_a_broken_method_says_so(tell, text, tmp_path):
    assert "ImportError" in tell(library(tmp_path, "tinytl", text)).replace("ModuleNotFound", "Import")
