"""The kernels that one package calls, out of the files with all: native code lives in a board's RAM."""

import ast
import re

from trimtab.format import RECORDS
from trimtab.package import Package


def kernels_of(source):
    """Names of the kernels that a package's records call."""
    package = Package(source)
    phases = package.records(package.section("steps"), package.section("const"))
    return {RECORDS[code][0] for codes, _ in phases for code in codes}


def pruned(text, names):
    """A module's source without the functions that neither `names` nor bind need."""
    tree = ast.parse(text)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    kept, called = set(), {"bind", *names}
    while called - kept:
        kept |= called
        nodes = [node for name in kept for node in ast.walk(functions[name])]
        called = {node.id for node in nodes if isinstance(node, ast.Name)} & functions.keys()
    tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef) or node.name in kept]
    return ast.unparse(tree)


def listed(text, names):
    """records.h with only those kernels in its lists."""
    return re.sub(r"    X\((\w+)\) \\\n", lambda row: row[0] if row[1] in names else "", text)
