"""Layers with one position, on the emulated Cortex-M0+ and in the loops' C: the plain kernel's numbers."""

import ctypes

import kernel_cases
import pytest
from helpers import provide
from kernel_cases import run_c
from networks import trained_layers
from trimtab.kernels import Tier
from trimtab_tools.boards import bare, native
from trimtab_tools.boards.simulated import best_tier
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.toolchain import subset
from trimtab_tools.toolchain.kernels import PACKED, host_library

SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 26, 63, 64, 130, 257, 300)
CASES = 200


class Dense(kernel_cases.Case):
    """A record whose layer sees each input once; at times a window that reaches beyond its input."""

    def _geometry(self):
        size, oc = self._pick(*SIZES), self._between(1, 40)
        v = dict(ih=1, iw=1, ic=size, oh=1, ow=1, oc=oc, kh=1, kw=1, sh=1, sw=1, pt=0, pl=0)
        if self.rng.random() < 0.2:
            v.update(ih=2, iw=3, kh=3, kw=3, pt=self._between(0, 1), pl=self._between(0, 1), ic=min(size, 30))
        return v

    def _numbers(self):
        values = super()._numbers()
        values["words"] = self._pick(600, 600, 600, self._between(1, 600))
        if self.rng.random() < 0.8:
            values["nk"] = values["ic"]  # the trained plane has all weights, if there is one
        return values


@pytest.fixture(scope="module")
def cases():
    return [Dense("conv_fwd", 9000 + seed) for seed in range(CASES)]


def test_loops_equal_plain_ones(cases):
    table = native.functions(ctypes.CDLL(str(host_library(PACKED["armv6m"]))))
    tier = Tier("c", table, bytearray, native.bind)
    for case in cases:
        assert run_c(case, tier) == run_c(case), case.numbers


@pytest.mark.pico
def test_emulated_core_equals_plain_loops(cases):
    provide("pico")
    for case, done in zip(cases, bare.run([(case.name, [*case.spaces, case.program]) for case in cases])):
        assert (done.values[0], case.result(done.arena, done.state)) == run_c(case), case.numbers
        assert done.stack <= 1024


def test_only_packages_with_such_a_layer_carry_its_loops():
    graph = trained_layers()
    predicts = compiler.compile_inference(graph, kernels=best_tier()).data
    trains = compiler.compile_graph(graph, "last", classes=4, kernels=best_tier()).data
    assert subset.kernels_of(predicts) - subset.kernels_of(trains) == {subset.DENSE}
