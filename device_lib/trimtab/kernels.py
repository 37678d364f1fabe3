"""Choose which kernels run: C if the board has them, else native code from Python, else plain Python."""

import sys
from array import array

from .format import ABI, RECORDS


class Tier:
    """Kernels by name, and how they want their memory."""

    def __init__(self, name, functions, alloc, bind, run=None, share=None):
        self.name = name
        self.functions = functions  # of one package's records at least
        self.alloc = alloc  # bytes -> writable buffer of zeros
        self.bind = bind  # (arena, state, const, program, weights) -> first argument of every kernel
        # (mem, offsets, i, stop, value) -> index behind the last record that ran; value[0] becomes what its
        # kernel returned. None: Python calls each kernel.
        self.run = run
        # scratch bytes -> why there is no second core; else bind() gives it to kernels. None: one core.
        self.share = share

    def function(self, name):
        if name not in self.functions:
            raise ImportError(
                "the board lacks kernel %s of this package: run `trimtab deploy` with it" % name
            )
        return self.functions[name]


def _named(modules):
    """{name: kernel} of all kernels that these modules have."""
    return {row[0]: getattr(m, row[0]) for row in RECORDS for m in modules if hasattr(m, row[0])}


def plain():
    """The specification itself: slow, runs everywhere."""
    from .plain import modules

    try:
        if (1 << 40) >> 38 != 4:
            raise OverflowError
    except OverflowError:
        raise ImportError(
            "plain kernels need long integers, which this interpreter lacks: install native kernels"
        )

    def bind(arena, state, const, program, weights=b""):
        if not isinstance(weights, array):  # an array is a window that fills with other weights
            weights = array("b", bytes(weights))
        return (arena, state, array("b", bytes(const)), array("i", bytes(program)), weights)

    return Tier("plain", _named(modules()), lambda n: array("b", bytes(n)), bind)


def native():
    """C, in a native module or in the firmware. ImportError, or ValueError for another architecture's."""
    from time import ticks_us

    import _kernels

    if _kernels.ABI != ABI:
        raise ImportError(
            "the board's kernels have ABI %d, the library needs %d: deploy again" % (_kernels.ABI, ABI)
        )

    second = []  # the box of core 1

    def share(scratch):
        from . import cores

        box, why = cores.share(_kernels, scratch)
        second[:] = [box] if box else []
        return why

    def bind(arena, state, const, program, weights=b""):
        return (arena, state, const, program, weights, ticks_us) + tuple(second)

    functions = {RECORDS[code][0]: _kernels.run for code in _kernels.OPCODES}
    return Tier("c", functions, bytearray, bind, _kernels.run, share if hasattr(_kernels, "serve") else None)


def viper():
    """Precompiled for this architecture; ImportError or ValueError where it is absent or of another one."""
    if sys.implementation.name != "micropython":  # the others cannot even compile it
        raise ImportError("only MicroPython runs these kernels: choose others")
    from . import kernels_viper

    return Tier("viper", _named((kernels_viper,)), bytearray, kernels_viper.bind)


TIERS = {"c": native, "viper": viper, "plain": plain}  # the fastest first


def choose(name=None):
    """The tier of that name, or the fastest that loads."""
    if sys.implementation.name == "cpython" and name in (None, "c"):
        try:  # a name in a string, because the library does without trimtab's tools
            from importlib import import_module

            return import_module("trimtab_tools.boards.simulated").tier(name)
        except ImportError:
            pass
    if name:
        return TIERS[name]()
    for tier in (native, viper):
        try:
            return tier()
        except (ImportError, ValueError):
            pass
    return plain()
