"""The viper kernels as one module: the files of firmware/viper joined, names of its idioms.py expanded.

Boards get the module through the cross compiler, MicroPython's unix port as source.
"""

import ast
import builtins
import collections
import functools
import shutil
from collections.abc import Iterable
from pathlib import Path

from ..errors import ToolchainError
from . import cache, viper_idioms
from .sources import FIRMWARE
from .sources import library as device_library
from .viper_idioms import loaded, own

NAME = "kernels_viper.py"  # in the library's folder
FOLDER = FIRMWARE / "viper"
HEAD = "import sys\nimport micropython\n"
BUILTINS = {"ptr8", "ptr16", "ptr32", "uint", "sys", "micropython", *dir(builtins)}


def source(kernels: Iterable[str] | None = None, folder: Path = FOLDER) -> str:
    """The module's source: all kernels of the folder, or those named and what they call."""
    found = functions(folder)
    if kernels is not None:
        found = _called(found, {"bind", *kernels})
    return HEAD + "\n".join(map(ast.unparse, found.values())) + "\n"


def library() -> Path:
    """A folder with a copy of the device library and the module, for interpreters that compile viper."""

    def build(out):
        shutil.copytree(device_library(), out / "trimtab", ignore=shutil.ignore_patterns("__pycache__"))
        (out / "trimtab" / NAME).write_text(source())

    tools = Path(__file__), Path(viper_idioms.__file__)
    return cache.built("library", [device_library(), FOLDER, *tools], build)


# -- joining -------------------------------------------------------------------------------------------------


@functools.cache
def functions(folder: Path) -> dict[str, ast.FunctionDef]:
    """Every function of the folder's files by name, expanded."""
    idioms = viper_idioms.Idioms((folder / "idioms.py").read_text())
    found = {}
    for node, file in _parsed(folder):
        if node.name in found:
            raise ToolchainError(
                f"{file} defines {node.name}, and so does another file: rename one of the two"
            )
        found[node.name] = viper_idioms.expanded(node, idioms, file)
    for node in found.values():
        _check(node, found)
    # Functions with many callers come first: an ARMv6-M reaches the first 32 names in one instruction.
    callers = collections.Counter(name for node in found.values() for name in loaded(node))
    return dict(sorted(found.items(), key=lambda item: -callers[item[0]]))


def _parsed(folder):
    """Every function of the kernels' files, with its file's name."""
    files = [path for path in sorted(folder.glob("*.py")) if path.name != "idioms.py"]
    nodes = [(node, path.name) for path in files for node in ast.parse(path.read_text()).body]
    return [(node, file) for node, file in nodes if isinstance(node, ast.FunctionDef)]


def _called(found, names):
    """The functions with these names and all that they call."""
    kept, called = set(), names & found.keys()
    while called - kept:
        kept |= called
        called = set().union(*(loaded(found[name]) for name in kept)) & found.keys()
    return {name: node for name, node in found.items() if name in kept}


def _check(node, found):
    """Refuse what the cross compiler accepts and a board would fail at."""
    unknown = loaded(node) - own(node) - found.keys() - BUILTINS
    if unknown:
        raise ToolchainError(f"viper function {node.name} uses unknown names: {', '.join(sorted(unknown))}")
    calls = {getattr(call.func, "id", "") for call in ast.walk(node) if isinstance(call, ast.Call)}
    hidden = calls & own(node) & found.keys()
    if hidden:
        raise ToolchainError(f"viper function {node.name} hides what it calls: rename {', '.join(hidden)}")
