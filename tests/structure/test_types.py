"""Public functions of the host tools say what they take and give."""

import ast

from sources import HOST, name, python, tree

# Debts: rooms that still have public functions without types. A room that has none is taken off the list.
UNTYPED = {
    "operators",
}


def without_types(path):
    """Public functions and methods of a module that leave an argument or the result open."""
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if is_public(method) and not is_typed(method, is_method=not is_static(method)):
                    yield f"{name(path)}: {node.name}.{method.name}"
        elif is_public(node) and not is_typed(node, is_method=False):
            yield f"{name(path)}: {node.name}"


def is_public(node):
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return node.name == "__init__" or not node.name.startswith("_")


def is_static(method):
    return any(
        isinstance(d, ast.Name) and d.id == "staticmethod" for d in getattr(method, "decorator_list", ())
    )


def is_typed(function, is_method):
    a = function.args
    given = [*a.posonlyargs, *a.args][is_method:] + a.kwonlyargs + [x for x in (a.vararg, a.kwarg) if x]
    result = function.returns or function.name == "__init__"
    return bool(result) and all(argument.annotation for argument in given)


def test_public_functions_have_types():
    open_ones = {}
    for path in python(HOST):
        room = name(path).split("/")[0]
        open_ones.setdefault(room, []).extend(without_types(path))
    found = {room for room, functions in open_ones.items() if functions}
    assert not found - UNTYPED, [f for room in found - UNTYPED for f in open_ones[room]]
    assert not UNTYPED - found, "paid: take it off the list"
