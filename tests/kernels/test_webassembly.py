"""The kernels as WebAssembly: the bits of all other tiers, in memory that is given back."""

import gc
import json

import gates
import kernel_cases
import numpy as np
import pytest
from helpers import provide_webassembly
from kernel_cases import NAMES, run_c
from trimtab_tools.boards import webassembly

CASES = 60


@pytest.fixture(scope="module")
def tier():
    provide_webassembly()
    return webassembly.tier()


@pytest.fixture
def memory(tier):
    """The Memory of the tier, with nothing left over from other tests."""
    gc.collect()
    return tier.alloc.__self__


@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_equals_plain_loops(name, tier):
    for seed in range(CASES):
        case = kernel_cases.Case(name, 7000 + seed, channels=48)
        assert run_c(case, tier) == run_c(case), (seed, case.numbers)


@pytest.mark.slow
def test_packages_of_every_policy_train_alike(tier):
    """The states of the gate are those that native kernels left; its packages are of its own test."""
    stored = json.loads(gates.STORED.read_text())["packages"]
    assert states(gates.packages(tier)) == states(stored)


def states(packages):
    """{case: CRC of the state} of what the gate holds."""
    return {case: row.split()[1] for case, row in packages.items()}


def test_memory_is_zero_and_is_used_again(memory):
    piece = memory.alloc(1000)
    at = memory.offset(piece)
    piece[:] = 255
    view = piece[10:20]  # holds the piece
    del piece
    assert memory.offset(memory.alloc(1000)) != at
    del view
    again = memory.alloc(1000)
    assert memory.offset(again) == at and not again.any()


def test_memory_that_grows_stays_where_it_is(memory):
    before = memory.alloc(8)
    before[:] = np.arange(8)
    size = memory.memory.data_len(memory.store)
    large = memory.alloc(size)
    assert memory.memory.data_len(memory.store) > size and not large.any()
    assert list(before) == list(range(8)) and memory.holds(before)
    large[-1] = 1
    with pytest.raises(MemoryError, match="cannot grow"):
        memory.alloc(1 << 32)


def test_neighbours_become_one_gap():
    assert webassembly.merged([(64, 64), (256, 64), (0, 64), (128, 64)]) == [(0, 192), (256, 64)]


def test_a_kernel_writes_only_to_memory_of_its_own(tier):
    arena, state = tier.alloc(16), tier.alloc(16)
    with pytest.raises(ValueError, match="take it from alloc"):
        tier.bind(bytearray(16), state, b"", b"")
    bound = tier.bind(arena, state, b"constants", bytearray(8))
    assert bytes(bound.pieces[2]) == b"constants" and bound.pieces[0].base is arena.base


def test_what_stops_the_module_is_said_and_harms_nothing(tier):
    import wasmtime

    for _ in range(2):
        with pytest.raises(wasmtime.Trap, match="out of bounds"):
            tier.functions["end_step"](-4, 0)
    case = kernel_cases.Case("add_fwd", 1)
    assert run_c(case, tier) == run_c(case)
