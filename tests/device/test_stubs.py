"""The stubs for editors tell of the same names and arguments as the sources that boards get."""

import ast

import pytest
from trimtab_tools.toolchain.sources import library

STUBS = sorted(path.name for path in library().glob("*.pyi"))


def signatures(path):
    """{name: [(arguments, how many have defaults)]} of all functions but private ones."""
    found = {}
    for scope in ast.walk(ast.parse(path.read_text())):
        prefix = scope.name + "." if isinstance(scope, ast.ClassDef) else ""
        if not isinstance(scope, ast.Module | ast.ClassDef):
            continue
        for node in scope.body:
            if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or node.name[0] != "_"):
                arguments = [argument.arg for argument in node.args.args]
                found.setdefault(prefix + node.name, []).append((arguments, len(node.args.defaults)))
    return found


@pytest.mark.parametrize("name", STUBS)
def test_a_stub_has_the_arguments_of_its_source(name):
    stub = signatures(library() / name)
    source = signatures(library() / name.removesuffix("i"))
    assert stub and {key: source.get(key) for key in stub} == stub


def test_the_stub_of_net_is_complete():
    stub, source = (signatures(library() / name) for name in ("net.pyi", "net.py"))
    assert set(source) - set(stub) == {"Net.follow"}  # Engine's stub has it
