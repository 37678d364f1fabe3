"""Scratch memory: the planner gives what the kernels can use, and nothing that is in use."""

import ctypes

import kernel_cases
import pytest
from helpers import provide
from models import Builder
from trimtab_tools.boards import native, simulated
from trimtab_tools.compiler import compile, memory, scratch
from trimtab_tools.toolchain.kernels import host_library

CASES = 60


class Sized(kernel_cases.Case):
    """A case with so many words of scratch memory."""

    def __init__(self, name, seed, words):
        self.words = words
        super().__init__(name, seed)

    def _number(self, name):
        return max(self.words, 1) if name == "words" else super()._number(name)

    def _absent(self, name):
        return name not in ("w", "scratch") if name in ("w", "k", "scratch") else super()._absent(name)

    def takes_it(self, functions):
        """Whether the kernel writes there."""
        spaces = [bytearray(space) for space in self.spaces]
        space, offset, size = self.places["scratch"]
        spaces[space][offset : offset + size] = b"\x5a" * size
        functions[self.name](native.bind(*spaces, self.program), 0)
        return spaces[space][offset : offset + size] != b"\x5a" * size


@pytest.fixture(scope="module")
def functions():
    provide("sim")
    return native.functions(ctypes.CDLL(str(host_library(("-DTRIMTAB_PACKED=1",)))))


@pytest.mark.parametrize("name", scratch.WORDS)
def test_kernels_take_what_the_planner_gives(name, functions):
    taken = 0
    for seed in range(CASES):
        least, most = scratch.WORDS[name](Sized(name, seed, 1).numbers)
        assert least <= most
        if name in ("conv_dw", "depthwise_dw") and Sized(name, seed, 1).numbers["residual"] != 8:
            continue  # a generator may be at work, for which no order but one will do
        if least:
            assert Sized(name, seed, least).takes_it(functions), Sized(name, seed, least).numbers
            assert not Sized(name, seed, least - 1).takes_it(functions)
            assert Sized(name, seed, most).takes_it(functions)
        else:
            assert not Sized(name, seed, 5000).takes_it(functions)
        taken += least > 0
    assert taken >= CASES // 20


def small(weight=None):
    """A network of two layers; one weight of the first may be chosen."""
    b = Builder((12, 12, 8), seed=2)
    b.conv(16)
    b.conv(4)
    graph = b.graph()
    if weight is not None:
        graph[graph.ops[0].inputs[1]].data[0, 0, 0, 0] = weight
    return compile.compile_inference(graph, kernels=simulated.best_tier())


def given(made):
    return [
        step.values["scratch"] is not None
        for step in made.program.phases["forward"]
        if step.kernel == "conv_fwd"
    ]


def test_it_lies_where_nothing_lives_and_stays_below_the_peak():
    made = small()
    assert given(made) == [True, True]
    assert memory.overlap(made.placement.lives, made.placement.ties) is None
    assert all(v.offset + v.size <= made.placement.size for v in made.placement.lives)


def test_a_weight_of_minus_128_takes_the_slow_way():
    assert given(small(-127)) == [True, True]
    assert given(small(-128)) == [False, True]
