"""Multipliers: what they stand for, and where they step."""

import numpy as np
from trimtab_tools.graph import rounding


def test_exact_multiplier_steps_where_float64_steps():
    rng = np.random.default_rng(7)
    for real in np.concatenate([10 ** rng.uniform(-4, 0.3, 60), 2.0 ** -np.arange(14)]):
        m, shift = rounding.exact_multiplier(float(real), 255)
        steps = np.round((np.arange(256) + 0.5) / real).astype(np.int64)
        acc = (np.concatenate([steps, -steps])[:, None] + np.arange(-2, 3)).ravel()
        expected = rounding.round_away(acc * float(real))
        ours = rounding.multiply_once_rounded(acc, m, shift)
        assert np.array_equal(np.clip(ours, -255, 255), np.clip(expected, -255, 255)), real


def test_quantize_multiplier_is_normalized():
    for real in (1e-7, 0.1, 0.5, 0.75, 1.0, 1 - 1e-12, 3.7):
        m, shift = rounding.quantize_multiplier(real)
        assert 2**30 <= m < 2**31 and abs(m * 2.0 ** (shift - 31) / real - 1) < 2**-30
    assert rounding.quantize_multiplier(0.0) == rounding.quantize_multiplier(2.0**-40) == (0, 0)
