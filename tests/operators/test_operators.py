"""The one table of operators: its rows hold together, and the files of methods may be left out."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trimtab_tools
from methods import left_out
from models import Builder
from trimtab.format import RECORDS
from trimtab_tools.errors import ModelError
from trimtab_tools.formats.tflite_file import OP_NAMES
from trimtab_tools.graph.ir import Op
from trimtab_tools.operators.check import check
from trimtab_tools.operators.registry import CODES, MACS, OPERATORS, ROWS, WEIGHTED, row
from trimtab_tools.toolchain.sources import FIRMWARE

METHODS = [method for method in ("tinytl", "mobiletl") if not left_out(method)]
TRAIN = """
import numpy as np
from helpers import calibrated, compiled, inputs, load, step
from models import Builder
from trimtab_tools.operators.registry import MARKS, OPERATORS
b = Builder((6, 6, 3), 1)
b.conv(6, act="relu", scale=0.1, zero=-128)
b.depthwise(scale=0.1, zero=3)
b.mean(scale=0.02, zero=-5)
graph = calibrated(b.graph(), inputs(b.graph(), 4))
c = compiled(graph)
step(load(c), inputs(graph, 1)[0], 2)
print("tinytl" in OPERATORS, "slope" in MARKS, [op.kind for op in c.trunk.ops])
"""


def test_no_kind_and_no_code_has_two_rows():
    assert len({r.kind for r in ROWS}) == len(ROWS)
    assert len(CODES) == sum(r.tflite is not None for r in OPERATORS.values())
    assert set(CODES) <= set(OP_NAMES.values())


def test_every_row_can_be_run_and_read():
    for r in OPERATORS.values():
        assert r.oracle and (r.forward or r.kind == "reshape"), r.kind
        assert r.tflite is None or r.tflite.read, r.kind
        assert bool(r.update) == bool(r.update_bias), r.kind


def test_multiplications_are_counted_of_kernels_that_exist():
    assert set(MACS) <= {name for name, *_ in RECORDS}


def test_layers_with_weights():
    assert WEIGHTED == ("conv", "depthwise", "dense")


def test_a_mark_changes_the_rules_and_nothing_else():
    plain, marked = (row(Op("conv", "c", (), (), attrs)) for attrs in ({}, {"slope": "bare"}))
    assert plain.masks and not marked.masks and plain.gradient != marked.gradient
    assert (plain.oracle, plain.tflite, plain.params) == (marked.oracle, marked.tflite, marked.params)


def test_a_node_without_its_attributes_is_refused():
    b = Builder((4, 4, 2), 1)
    b.layer("softmax", b.shape())
    with pytest.raises(ModelError, match="softmax lacks the attribute beta"):
        b.graph()
    b.ops[0] = Op("cosine", "y", b.ops[0].inputs, b.ops[0].outputs)
    with pytest.raises(ModelError, match="operator cosine is not supported"):
        check(b.graph())


@pytest.mark.parametrize("missing", [(), METHODS], ids=["all files", "no methods"])
def test_a_network_trains_without_the_files_of_methods(missing, tmp_path):
    """In another process, from a copy of the tools."""
    tools = Path(trimtab_tools.__file__).parent
    copy = tmp_path / "trimtab_tools"
    shutil.copytree(tools, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "firmware").symlink_to(FIRMWARE)
    for name in missing:
        (copy / "operators" / f"{name}.py").unlink()
    support = Path(__file__).resolve().parents[1] / "support"
    path = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(support)!r}]\n"
    done = subprocess.run([sys.executable, "-c", path + TRAIN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    there = [method in METHODS and method not in missing for method in ("tinytl", "mobiletl")]
    assert done.stdout.strip() == f"{there[0]} {there[1]} ['conv', 'depthwise', 'mean']"
