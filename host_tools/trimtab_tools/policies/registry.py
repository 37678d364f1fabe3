"""All policies: the files of this room that define POLICY. A file that is deleted takes its policy along."""

import functools
import importlib
import pkgutil
from pathlib import Path

from ..errors import ModelError
from .policy import Policy

NONE = "Nothing is trained: this package predicts."


@functools.cache
def policies() -> dict[str, Policy]:
    """Every policy by its name."""
    names = [name for _, name, _ in pkgutil.iter_modules([str(Path(__file__).parent)])]
    files = [importlib.import_module(f"{__package__}.{name}") for name in names]
    found = [file.POLICY for file in files if hasattr(file, "POLICY")]
    return {policy.name: policy for policy in sorted(found, key=lambda policy: policy.name)}


def find(name: str) -> Policy:
    """The policy of this name."""
    if name not in policies():
        raise ModelError(f"policy {name} is unknown: use {usage()}")
    return policies()[name]


def usage() -> str:
    """How policies are written, in one line."""
    *most, last = (policy.usage for policy in policies().values())
    return f"{', '.join(most)} or {last}"


def why(name: str) -> str:
    """A sentence about a policy, for a package that may come from elsewhere."""
    if name == "none":
        return NONE
    return policies()[name].why if name in policies() else name
