"""Board `sim`: the device library inside this interpreter, on the C kernels or on the plain ones."""

from trimtab.kernels import plain
from trimtab.net import Net
from trimtab.package import Package

from ..errors import UsageError


def tier(name="c"):
    """Kernels by name: "c" (the shared library, built when first needed) or "plain"."""
    if name == "plain":
        return plain()
    if name == "viper":
        raise UsageError("viper kernels run on MicroPython: use --board unix, or another kind of kernels")
    from .native import tier as native

    return native()


def best_tier():
    """C if it can be built here, else plain."""
    from ..errors import ToolchainError

    try:
        return tier("c")
    except ToolchainError:
        return tier("plain")


def load(source, kernels="c", store=None):
    """A Net from package bytes or a path."""
    return Net(Package(source), tier(kernels) if isinstance(kernels, str) else kernels, store)
