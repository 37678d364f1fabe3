"""Arithmetic broken on purpose, one fault at a time: the checks that pass on the right kernels must fail on these."""

import functools
import importlib.util
import shutil
import sys

import pytest
import trimtab.kernels_py
from helpers import (
    check_forward, check_gradients, check_same_rounding, check_updates, compiled, inputs, tier,
)
from test_gradients import case
from trimtab.format import RECORDS
from trimtab.kernels import Tier, plain
from trimtab_tools import autodiff, native, toolchain
from trimtab_tools import compile as compiler

CHECKS = {
    "forward": lambda c, kernels, xs, ys: check_forward(c, kernels, xs),
    "gradients": check_gradients,
    "same rounding": check_same_rounding,
    "updates": check_updates,
    "large updates": lambda c, kernels, xs, ys: check_updates(c, kernels, xs, ys, steps=90),
}

# fault: (network, check, what the kernel says, what it says when broken)
PLAIN = {
    "skip gradient dropped": (
        "two_skips_and_a_branch", "gradients",
        "        self.down = self.up = 0\n", "        self.down = self.up = 0\n        self.add = NULL\n"),
    "zero point not subtracted in conv": ("conv3x3", "forward", "acc += (xb[px + i] - zx) * wb[pw]", "acc += xb[px + i] * wb[pw]"),
    "zero point not subtracted in depthwise": (
        "depthwise", "forward", "acc += (xb[px + o // many] - zx)", "acc += xb[px + o // many]"),
    "zero point not subtracted in add": ("add", "forward", "(bb[bo + i] - zx2) << 20", "bb[bo + i] << 20"),
    "zero point not subtracted in mean": ("mean", "forward", "requant(a - n * zx,", "requant(a,"),
    "zero point not subtracted in head": (
        "depthwise", "gradients", "a += row[i] * (xb[xo + i] - zx)", "a += row[i] * xb[xo + i]"),
    "zero point not subtracted in conv's update": (
        "conv3x3", "same rounding", "dw += gb[p] * (xb[q + i] - zx)", "dw += gb[p] * xb[q + i]"),
    "zero point not subtracted in depthwise's update": (
        "depthwise", "gradients", "dw += gb[p + o] * (xb[q + o // many] - zx)", "dw += gb[p + o] * xb[q + o // many]"),
    "zero point not subtracted in head's update": (
        "conv3x3", "updates", "t = errors[k] * (xb[xo + i] - zx) * m", "t = errors[k] * xb[xo + i] * m"),
    "mask ignored": ("conv_stride2", "gradients", "if not _bit(mb, mo, i):", "if False:"),
    "error truncated": ("conv3x3", "same rounding", "gb[go + i] = shifted(v, self.shift, 127)",
                        "gb[go + i] = clamp(v >> max(self.shift, 0) << max(-self.shift, 0), -127, 127)"),
    "weight update truncated": ("conv3x3", "updates", "delta = shifted(t, s, 127 << bits)",
                                "delta = clamp(t >> s if s > 0 else t << -s, -127 << bits, 127 << bits)"),
    "bias update truncated": ("conv3x3", "updates", "delta = shifted(t, s - exp, 1 << 28)",
                              "delta = clamp(t >> s - exp if s > exp else t << exp - s, -1 << 28, 1 << 28)"),
    "head update truncated": ("conv3x3", "updates", "delta = shifted(t, s, limit)", "delta = clamp(t >> s, -limit, limit)"),
    "update wraps at 127": ("conv3x3", "large updates", "w = clamp(w - delta, -limit, limit)",
                            "w = (w - delta + limit) % (2 * limit) - limit"),
    "update changes sign": ("dense", "updates", "w = clamp(w - delta, -limit, limit)", "w = clamp(w + delta, -limit, limit)"),
    "mask exclusive": ("conv_stride2", "forward", "lo <= v <= hi", "lo < v < hi"),
}
C = {
    "skip gradient dropped": (
        "two_skips_and_a_branch", "gradients", "error.c",
        "e->add = r->add_exp < 0 ? 0 : at(mem, r->add);", "e->add = 0;"),
    "zero point not subtracted in conv": ("conv3x3", "forward", "conv.c", "p = x0[i] - zx, q", "p = x0[i] - 0 * zx, q"),
    "zero point not subtracted in conv's update": (
        "conv3x3", "same rounding", "conv.c", "a = mac(a, *g, *p - zx);", "a = mac(a, *g, *p);"),
    "weight update truncated": (
        "conv3x3", "updates", "update.c", ": trimtab_shifted(t, s, 127 * (1 << up->bits))",
        ": clamp(s > 0 ? t >> min32(s, 31) : t << -s, -127 * (1 << up->bits), 127 * (1 << up->bits))"),
    "update wraps at 127": (
        "conv3x3", "large updates", "update.c", "w = clamp(sub32(w, delta), -limit, limit);",
        "w = (sub32(w, delta) + 3 * limit) % (2 * limit) - limit;"),
}


def patched(text, old, new):
    assert text.count(old) == 1, f"the code to break has changed: {old}"
    return text.replace(old, new)


def broken_module(module, old, new):
    """A module with one piece of its source exchanged, under another name."""
    name = module.__name__ + "_broken"
    spec = importlib.util.spec_from_loader(name, loader=None)
    broken = importlib.util.module_from_spec(spec)
    broken.__package__ = module.__name__.rpartition(".")[0]
    sys.modules[name] = broken
    with open(module.__file__) as f:
        exec(compile(patched(f.read(), old, new), module.__file__, "exec"), broken.__dict__)
    return broken


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
def test_plain_kernels_with(fault):
    network, check, old, new = PLAIN[fault]
    c, xs, ys = right(network, check)
    module = broken_module(trimtab.kernels_py, old, new)
    kernels = Tier("plain", {row[0]: getattr(module, row[0]) for row in RECORDS}, plain().alloc, plain().bind)
    fails(check, c, kernels, xs, ys)


@pytest.mark.parametrize("fault", C)
def test_c_kernels_with(fault, tmp_path, monkeypatch):
    network, check, file, old, new = C[fault]
    c, xs, ys = right(network, check)
    CHECKS[check](c, tier("c"), xs, ys)
    shutil.copytree(toolchain.FIRMWARE / "kernels", tmp_path / "kernels")
    source = tmp_path / "kernels" / file
    source.write_text(patched(source.read_text(), old, new))
    monkeypatch.setattr(toolchain, "FIRMWARE", tmp_path)
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    library = native.ctypes.CDLL(str(toolchain.host_library()))
    fails(check, c, Tier("c", native.functions(library), bytearray, native.bind), xs, ys)


@pytest.mark.parametrize("network", ("add", "two_skips_and_a_branch", "four_multiples"))
def test_autodiff_that_drops_a_skip_gradient(network, monkeypatch):
    """Only the last consumer's contribution is kept."""
    _, xs, ys = right(network, "gradients")
    broken = broken_module(autodiff, "= error.partial or (None, None, 0, 0)", "= None, None, 0, 0")
    monkeypatch.setattr(compiler, "lower", broken.lower)
    fails("gradients", case(network, accumulate=2)[0], tier("plain"), xs, ys)
