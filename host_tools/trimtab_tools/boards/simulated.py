"""Board `sim`: the device library inside this interpreter, on the C kernels or on the plain ones."""

from typing import Any

from trimtab.kernels import Tier, plain
from trimtab.net import Net
from trimtab.package import Package

from ..errors import ToolchainError, UsageError


def tier(name: str = "c") -> Tier:
    """Kernels by name: "c" (the shared library, built when it is first needed) or "plain"."""
    if name == "plain":
        return plain()
    if name == "viper":
        raise UsageError("viper kernels run on MicroPython: use --board unix, or another kind of kernels")
    from .native import tier as native

    return native()


def best_tier() -> Tier:
    """C if it can be built here, else plain."""
    try:
        return tier("c")
    except ToolchainError:
        return tier("plain")


def load(source: bytes | str, kernels: str | Tier = "c", store: Any = None) -> Net:
    """A Net from package bytes or a path."""
    return Net(Package(source), tier(kernels) if isinstance(kernels, str) else kernels, store)
