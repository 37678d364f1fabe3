"""Board `sim`: the device library inside this interpreter, on the fastest kernels that run here.

Native code is the fastest, built by a compiler of this machine or brought by the wheel; then WebAssembly;
then plain Python.
"""

import sys
from functools import cache
from typing import Any

from trimtab.kernels import Tier, plain
from trimtab.net import Net
from trimtab.package import Package

from ..errors import ToolchainError, UsageError
from . import native, webassembly


def tier(name: str | None = None) -> Tier:
    """Kernels by name: "c" (native or WebAssembly) or "plain"; by default the fastest."""
    if name == "viper":
        raise UsageError("viper kernels run on MicroPython: use --board unix, or another kind of kernels")
    if name == "plain":
        return plain()
    if name is None:
        return best_tier()
    found, reason = _compiled()
    if not found:
        raise ToolchainError(f"the C kernels run neither as native code nor as WebAssembly: {reason}")
    return found


def best_tier() -> Tier:
    """The fastest kernels that run here. A sentence on stderr says which, once, if they are not native."""
    found, reason = _compiled()
    if not found:
        _say(f"the kernels run in plain Python, some hundred times slower: {reason}")
    elif reason:
        _say(f"the kernels run as WebAssembly, a few times slower than native code: {reason}")
    return found or plain()


def load(source: bytes | str, kernels: str | Tier | None = None, store: Any = None) -> Net:
    """A Net from package bytes or a path."""
    return Net(Package(source), kernels if isinstance(kernels, Tier) else tier(kernels), store)


@cache
def _compiled() -> tuple[Tier | None, str]:
    """(the C kernels in their fastest form, why it is not a faster one)."""
    reasons: list[str] = []
    for form in (native, webassembly):
        try:
            return form.tier(), "; ".join(reasons)
        except ToolchainError as error:
            reasons.append(str(error).partition("\n")[0])
    return None, "; ".join(reasons)


@cache
def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)
