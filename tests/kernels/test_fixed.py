"""The fixed point of the C kernels against exact integers, with 64-bit products and with 16-bit halves."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from trimtab.plain import fixed as plain
from trimtab_tools.graph import rounding
from trimtab_tools.toolchain.sources import FIRMWARE

MIN, MAX = -(1 << 31), (1 << 31) - 1
POWERS = {(1 << b) + d for b in range(31) for d in (-1, 0, 1)}
EDGES = sorted(POWERS | {-v for v in POWERS} | {MIN, MIN + 1, MAX})
MULTIPLIERS = [1 << 29, 1 << 30, (1 << 30) + 1, 0x5A82799A, MAX - 1, MAX]


@pytest.fixture(scope="module", params=[1, 0], ids=["wide", "halves"])
def fixed(request, tmp_path_factory):
    library = tmp_path_factory.mktemp("fixed") / "fixed.so"
    kernels = FIRMWARE / "kernels"
    sources = kernels / "fixed.c", Path(__file__).with_name("fixed_exports.c")
    subprocess.run(
        [
            "gcc",
            "-O2",
            "-std=c99",
            "-shared",
            "-fPIC",
            "-I%s" % kernels,
            "-DTRIMTAB_WIDE_MULTIPLY=%d" % request.param,
            *map(str, sources),
            "-o",
            str(library),
        ],
        check=True,
    )
    library = ctypes.CDLL(str(library))
    for name in ("fixed_rsh_unsigned", "fixed_magnitude", "fixed_compare"):
        getattr(library, name).restype = ctypes.c_uint32
    return library


def nearest(v, s, away=False):
    """v / 2^s to the nearest by exact integers; ties up, or away from zero."""
    if away and v < 0:
        return -nearest(-v, s)
    return (2 * v + (1 << s)) >> (s + 1) if s > 0 else v


def test_products_of_both_kinds_are_exact(fixed):
    edges = (ctypes.c_int32 * len(EDGES))(*EDGES)
    assert fixed.fixed_compare(edges, len(EDGES), 4_000_000, 2463534242) <= 1  # MIN * MIN does not fit


def test_shifts_round_to_nearest(fixed):
    for v in EDGES:
        for s in range(32):
            assert fixed.fixed_rsh(v, s) == plain.rsh(v, s) == nearest(v, s)
            assert fixed.fixed_rsh_unsigned(v & 0xFFFFFFFF, s) == nearest(v & 0xFFFFFFFF, s)
            if v != MIN:
                assert fixed.fixed_rsh_away(v, s) == plain.rsh_away(v, s) == nearest(v, s, away=True)
        assert fixed.fixed_rsh(v, 32) == fixed.fixed_rsh(v, 1000) == 0
        assert fixed.fixed_rsh(v, 0) == fixed.fixed_rsh(v, -5) == v


def test_shifted_saturates_both_ways(fixed):
    for limit in (0, 1, 127, 127 << 8, 1 << 28, MAX):
        for v in EDGES:
            for s in (-(1 << 31), -40, -31, -30, -9, -1, 0, 1, 7, 31, 32):
                exact = v << min(-s, 64) if s < 0 else nearest(v, s) if s < 32 else 0
                want = max(-limit, min(exact, limit))
                assert fixed.trimtab_shifted(v, s, limit) == want
                assert plain.shifted(v, s, limit) == want


def test_requantization_equals_the_reference(fixed):
    for m in MULTIPLIERS:
        for shift in range(-31, 1):
            got = [fixed.trimtab_requant(a, m, shift) for a in EDGES]
            assert got == list(rounding.multiply_twice_rounded(np.array(EDGES), m, shift))
            assert got == [plain.requant(a, m, shift) for a in EDGES]
            once = [fixed.trimtab_requant_once(a, m, shift) for a in EDGES]
            assert once == [plain.requant_once(a, m, shift) for a in EDGES]
        for shift in range(1, 31):
            a = [v for v in EDGES if abs(v) < 1 << (30 - shift)]
            got = [fixed.trimtab_requant(v, m, shift) for v in a]
            assert got == list(rounding.multiply_twice_rounded(np.array(a), m, shift))


def test_sums_and_products_saturate(fixed):
    for a in EDGES[::3]:
        assert fixed.fixed_magnitude(a) == abs(a)
        for b in EDGES[::5]:
            assert fixed.fixed_add_saturated(a, b) == max(-MAX, min(a + b, MAX))
            for s in (0, 1, 15, 31, 32, 40, 62):
                assert fixed.trimtab_multiply_saturated(a, b, s) == max(-MAX, min((a * b) >> s, MAX))


def test_bit_length(fixed):
    for v in EDGES:
        v &= 0xFFFFFFFF
        assert fixed.trimtab_bit_length(ctypes.c_uint32(v)) == plain.bit_length(v) == v.bit_length()
