"""Arithmetic broken on purpose, one fault at a time: checks that pass on the right kernels must fail here."""

import functools
import importlib
import shutil
import sys
import types

import pytest
from checks import check_forward, check_gradients, check_same_rounding, check_updates
from helpers import tier
from operator_graphs import case
from sampled import others_slow
from trimtab.kernels import Tier, plain
from trimtab_tools.boards import native
from trimtab_tools.compiler import autodiff
from trimtab_tools.toolchain import kernels
from trimtab_tools.toolchain.sources import FIRMWARE, library

CHECKS = {
    "forward": lambda c, kernels, xs, ys: check_forward(c, kernels, xs),
    "gradients": check_gradients,
    "same rounding": check_same_rounding,
    "updates": check_updates,
    "large updates": lambda c, kernels, xs, ys: check_updates(c, kernels, xs, ys, steps=90),
}

NO_ZERO = "= record(mem, off)\n", "= record(mem, off)\n    zx = zx2 = 0\n"
TRUNCATED = "shifted(", "truncated("
WRAPPED = "clamp(", "wrapped("

# fault: (network, check, file, the part of it that is broken, what it says, what it says when broken)
# fmt: off
PLAIN = {
    "skip gradient dropped":
        ("two_skips_and_a_branch", "gradients", "error.py", "class ErrorOut", "self.add != NULL", "False"),
    "zero point not subtracted in conv": ("conv3x3", "forward", "conv.py", "def conv_fwd", *NO_ZERO),
    "zero point not subtracted in depthwise":
        ("depthwise", "forward", "depthwise.py", "def depthwise_fwd", *NO_ZERO),
    "zero point not subtracted in add": ("add", "forward", "elementwise.py", "def add_fwd", *NO_ZERO),
    "zero point not subtracted in mul": ("mul", "forward", "spread.py", "def mul_fwd", *NO_ZERO),
    "zero point not subtracted in sub": ("sub", "forward", "spread.py", "def sum_fwd", "- zx)", ")"),
    "sub adds": ("sub", "forward", "spread.py", "def sum_fwd", "sign2 *", ""),
    "error of repeated input not summed":
        ("squeeze_and_excite", "gradients", "spread.py", "def mul_dx", "range(q, n, gn)", "range(q, q + 1)"),
    "elements in the old order": ("transpose", "forward", "move.py", "def move_fwd", "i3 * s3", "i3"),
    "error not put where it came from": ("slice", "gradients", "move.py", "def move_dx", "f3 + i3", "i3"),
    "zero point not subtracted in mean": ("mean", "forward", "pool.py", "def mean_fwd", *NO_ZERO),
    "zero point not subtracted in head": ("depthwise", "gradients", "head.py", "def head_fwd", *NO_ZERO),
    "zero point not subtracted in conv's update":
        ("conv3x3", "same rounding", "conv.py", "def conv_dw", *NO_ZERO),
    "zero point not subtracted in depthwise's update":
        ("depthwise", "gradients", "depthwise.py", "def depthwise_dw", *NO_ZERO),
    "zero point not subtracted in head's update": ("conv3x3", "updates", "head.py", "def head_dw", *NO_ZERO),
    "mask ignored": ("conv3x3", "gradients", "error.py", "class ErrorOut", "self.mask != NULL", "False"),
    "mask exclusive": ("conv3x3", "forward", "record.py", "def store", "lo <= v <= hi", "lo < v < hi"),
    "error truncated": ("conv3x3", "same rounding", "error.py", "class ErrorOut", *TRUNCATED),
    "weight update truncated": ("conv3x3", "updates", "update.py", "class Update", *TRUNCATED),
    "bias update truncated": ("conv3x3", "updates", "update.py", "def move_bias", *TRUNCATED),
    "head update truncated": ("conv3x3", "updates", "head.py", "def head_dw", *TRUNCATED),
    "update wraps at 127": ("conv3x3", "large updates", "update.py", "def move_weight", *WRAPPED),
    "update goes uphill": ("conv3x3", "updates", "update.py", "def move_weight", "w - delta", "w + delta"),
}
# fmt: on
PLAIN_HELPERS = """

def truncated(v, s, limit):
    return max(-limit, min(limit, v >> s if s >= 0 else v << -s))


def wrapped(v, lo, hi):
    return (v - lo) % (hi - lo) + lo
"""

# the same of a C file; the part that is broken starts there
C = {
    "skip gradient dropped": (
        "two_skips_and_a_branch",
        "gradients",
        "error.c",
        "trimtab_error_open(",
        "at(mem, r->add)",
        "nowhere()",
    ),
    "zero point not subtracted in conv": ("conv3x3", "forward", "conv.c", "", "r->zx", "r->zx == 256"),
    "zero point not subtracted in conv's update": (
        "conv3x3",
        "same rounding",
        "conv.c",
        "trimtab_conv_dw(",
        "r->zx",
        "r->zx == 256",
    ),
    "update truncated": ("conv3x3", "updates", "update.c", "", "trimtab_shifted(", "truncated("),
    "update wraps at 127": (
        "conv3x3",
        "large updates",
        "update.c",
        "void move_weight(",
        "clamp(",
        "wrapped(",
    ),
}
C_HELPERS = """
#include "fixed.h"
static inline int32_t truncated(int32_t v, int32_t s, int32_t limit) {
    return s >= 0 ? clamp(v >> min32(s, 31), -limit, limit) : trimtab_shifted(v, s, limit);
}
static inline void *nowhere(void) {
    return 0;
}
static inline int32_t wrapped(int32_t v, int32_t lo, int32_t hi) {
    return (v + 3 * hi) % (hi - lo) + lo;
}
"""


def patched(text, part, end, old, new):
    """The text with `old` exchanged for `new` wherever it stands between `part` and the next `end`."""
    start = text.index(part)
    stop = text.find(end, start) if end in text[start:] and end else len(text)
    assert old in text[start:stop], f"the code to break has changed: {old}"
    return text[:start] + text[start:stop].replace(old, new) + text[stop:]


def broken_module(module, part, old, new):
    """A module with a piece of its source exchanged, under another name."""
    name = module.__name__ + "_broken"
    broken = types.ModuleType(name)
    broken.__package__ = module.__name__.rpartition(".")[0]
    sys.modules[name] = broken  # dataclasses look there
    with open(module.__file__) as f:
        exec(compile(patched(f.read(), part, "\n\n\n", old, new), name, "exec"), broken.__dict__)
    return broken


def broken_kernels(folder, monkeypatch, file, part, old, new):
    """The plain kernels of a copy of the library, in which a piece of one file is exchanged."""
    shutil.copytree(library(), folder / "trimtab_broken")
    source = folder / "trimtab_broken" / "plain" / file
    source.write_text(patched(source.read_text(), part, "\n\n\n", old, new) + PLAIN_HELPERS)
    monkeypatch.syspath_prepend(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == "trimtab_broken"]:
        del sys.modules[name]
    return importlib.import_module("trimtab_broken.kernels").plain()


@functools.cache
def right(network, check):
    """The network compiled for a check, which it passes on the right kernels."""
    options = {} if "updates" in check else {"accumulate": 2}
    c, xs, ys = case(network, **options)
    CHECKS[check](c, plain(), xs, ys)
    return c, xs, ys


def fails(check, c, kernels, xs, ys):
    with pytest.raises(AssertionError) as found:
        CHECKS[check](c, kernels, xs, ys)
    return str(found.value)


@pytest.mark.parametrize("fault", PLAIN)
def test_plain_kernels_with(fault, tmp_path, monkeypatch):
    network, check, *what = PLAIN[fault]
    c, xs, ys = right(network, check)
    broken = broken_kernels(tmp_path, monkeypatch, *what)
    assert list(broken.functions) == list(plain().functions)
    fails(check, c, Tier("plain", broken.functions, plain().alloc, plain().bind), xs, ys)


@pytest.mark.parametrize("fault", others_slow(C, "zero point not subtracted in conv", "update truncated"))
def test_c_kernels_with(fault, tmp_path, monkeypatch):
    network, check, file, part, old, new = C[fault]
    c, xs, ys = right(network, check)
    CHECKS[check](c, tier("c"), xs, ys)
    shutil.copytree(FIRMWARE / "kernels", tmp_path / "kernels")
    source = tmp_path / "kernels" / file
    source.write_text(C_HELPERS + patched(source.read_text(), part, "", old, new))
    monkeypatch.setattr(kernels, "FIRMWARE", tmp_path)
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    library = native.ctypes.CDLL(str(kernels.host_library()))
    fails(check, c, Tier("c", native.functions(library), bytearray, native.bind), xs, ys)


@pytest.mark.parametrize("network", ("add", "two_skips_and_a_branch", "four_multiples"))
def test_autodiff_that_drops_a_skip_gradient(network, monkeypatch):
    """Only the last consumer's contribution is kept."""
    _, xs, ys = right(network, "gradients")
    broken = broken_module(autodiff, "def _added", "partial or (None, None, 0, 0)", "(None, None, 0, 0)")
    monkeypatch.setattr(autodiff, "_added", broken._added)
    fails("gradients", case(network, accumulate=2)[0], tier("plain"), xs, ys)
