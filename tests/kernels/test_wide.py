"""The vector loops of this machine equal the plain ones on every level that its processor has."""

import kernel_cases
import pytest
from kernel_cases import NAMES, run_c
from trimtab_tools.boards import native
from trimtab_tools.toolchain.kernels import LEVELS, level

HERE = list(LEVELS)[: list(LEVELS).index(level()) + 1]
CASES = 60


@pytest.mark.parametrize("on", HERE)
@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_equals_plain_loops(name, on):
    """Up to 48 channels: three tiles of sixteen, and what is left over."""
    for seed in range(CASES):
        case = kernel_cases.Case(name, 7000 + seed, channels=48)
        assert run_c(case, native.tier(on)) == run_c(case), (seed, case.numbers)


@pytest.mark.parametrize("shifts", [(0, 0), (-31, 30), (-32, 5), (31, 2)])
def test_shifts_that_vectors_do_not_take_go_to_plain_loops(shifts):
    """A package's table of shifts may hold anything."""
    case = kernel_cases.Case("conv_fwd", 11, channels=48)
    space, at, n = case.places["shift"]
    case.spaces[space][at : at + n] = bytes(shifts[i % 2] & 255 for i in range(n))
    assert run_c(case, native.tier()) == run_c(case)
