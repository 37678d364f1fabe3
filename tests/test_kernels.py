"""The C kernels equal the plain ones, byte for byte; and nothing in them is undefined, whatever they are given."""

import struct
from array import array

import kernel_cases
import pytest
from trimtab import kernels_py
from trimtab.format import RECORDS

from trimtab_tools import native

NAMES = [row[0] for row in RECORDS]


def run_plain(case):
    arena, state, const = (array("b", bytes(space)) for space in case.spaces)
    value = getattr(kernels_py, case.name)((arena, state, const, array("i", case.steps)), 0)
    return value, case.result(arena, state)


def run_c(case):
    tier = native.tier()
    arena, state = bytearray(case.spaces[0]), bytearray(case.spaces[1])
    mem = tier.bind(arena, state, bytes(case.spaces[2]), case.steps)
    value = tier.functions[case.name](mem, 0)
    return value, case.result(arena, state)


@pytest.mark.parametrize("name", NAMES)
def test_c_equals_plain(name):
    for seed in range(60):
        case = kernel_cases.Case(name, seed)
        assert run_c(case) == run_plain(case), "seed %d: %s" % (seed, case.numbers)
