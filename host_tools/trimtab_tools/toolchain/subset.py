"""Leave out the kernels that a package does not call: native code lives in a board's RAM."""

import ast
import re
from collections.abc import Collection

from trimtab.format import RECORDS
from trimtab.package import Package


def kernels_of(source: bytes | str) -> set[str]:
    """The names of the kernels that a package's records call; the package as bytes or by its path."""
    package = Package(source)
    phases = package.records(package.section("steps"), package.section("const"))
    return {RECORDS[code][0] for codes, _ in phases for code in codes}


def pruned(text: str, names: Collection[str]) -> str:
    """A Python module's source with only `bind`, the named functions and what these call."""
    tree = ast.parse(text)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    kept: set[str] = set()
    called = {"bind", *names}
    while called - kept:
        kept |= called
        nodes = [node for name in kept for node in ast.walk(functions[name])]
        called = {node.id for node in nodes if isinstance(node, ast.Name)} & functions.keys()
    tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef) or node.name in kept]
    return ast.unparse(tree)


def listed(text: str, names: Collection[str]) -> str:
    """records.h whose list of kernels has only those named."""
    return re.sub(r"    X\((\w+)\)( \\)?\n", lambda row: row[0] if row[1] in names else "", text)
