"""Public functions of the host tools say what they take and give."""

import ast
import functools

from sources import HOST, name, python, tree


def without_types(path):
    """Public functions and methods of a module that leave an argument or the result open."""
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if is_public(method) and not is_typed(method, is_method=not is_static(method)):
                    yield f"{name(path)}: {node.name}.{method.name}"
        elif is_public(node) and not is_rule(path, node) and not is_typed(node, is_method=False):
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


def is_rule(path, function):
    """Whether a function of operators/ is named like the rule of a row and takes as many arguments."""
    arguments = function.args.posonlyargs + function.args.args
    return path.parent == HOST / "operators" and rules().get(function.name) == len(arguments)


@functools.cache
def rules():
    """{field of a row: how many arguments its rule takes}, from the aliases in operators/operator.py."""
    aliases, found = {}, {}
    for node in tree(HOST / "operators" / "operator.py").body:
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("Callable[["):
            aliases[node.targets[0].id] = len(node.value.slice.elts[0].elts)
        elif isinstance(node, ast.ClassDef) and node.name in ("Operator", "Tflite"):
            for field in (field for field in node.body if isinstance(field, ast.AnnAssign)):
                alias = ast.unparse(field.annotation).removesuffix(" | None")
                if alias in aliases:
                    found[field.target.id] = aliases[alias]
    return found


def test_rules_are_typed_by_their_rows():
    fields = {"read", "write", "arguments", "params", "oracle", "forward", "gradient"}
    fields |= {"update", "update_bias", "state", "sums", "paper_rows"}
    assert set(rules()) == fields


def test_public_functions_have_types():
    found = [function for path in python(HOST) for function in without_types(path)]
    assert not found, "give every argument and the result a type"
