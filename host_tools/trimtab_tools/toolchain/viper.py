"""The viper kernels as one module: the files of firmware/viper joined, the names of its idioms.py expanded.

Boards get the module through the cross compiler, so what is done here costs a board nothing. Only this file knows how
a name of idioms.py is expanded; what it means stands there.
"""

import ast
import builtins
import collections
import copy
import functools
import operator
import shutil
from pathlib import Path

from trimtab import format

from ..errors import ToolchainError
from . import builds

NAME = "kernels_viper.py"  # in the library's folder
FOLDER = builds.FIRMWARE / "viper"
HEAD = "import sys\nimport micropython\n"
BUILTINS = {"ptr8", "ptr16", "ptr32", "uint", "sys", "micropython", *dir(builtins)}
BOUND = ("s", "origin", "r", "wide")  # at the head of a function that uses them, in this order
FOLDED = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.LShift: operator.lshift}
GROUPS = {
    name.upper(): {row[0]: place for place, row in enumerate(format.fields(text))}
    for name, text in format.GROUPS.items()
}
RECORDS = {
    row[0]: {field[0]: place for place, field in enumerate(format.fields(row[1]), 1)}  # word 0 is the opcode
    for row in format.RECORDS
}


def source(kernels: set[str] | None = None, folder: Path = FOLDER) -> str:
    """The module's source: all kernels that the folder has, or those named and what they call."""
    found = functions(folder)
    if kernels is not None:
        found = _called(found, {"bind", *kernels})
    return HEAD + "\n".join(map(ast.unparse, found.values())) + "\n"


def library() -> Path:
    """A copy of the device library that has the module too, for interpreters that compile viper themselves."""

    def build(out):
        shutil.copytree(builds.library(), out / "trimtab", ignore=shutil.ignore_patterns("__pycache__"))
        (out / "trimtab" / NAME).write_text(source())

    return builds._built("library", [builds.library(), source()], build)


# -- joining -----------------------------------------------------------------------------------------------------------


@functools.cache
def functions(folder: Path) -> dict[str, ast.FunctionDef]:
    """Every function of the folder, expanded, by name, files and functions in order."""
    idioms = Idioms(ast.parse((folder / "idioms.py").read_text()))
    found = {}
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_text()).body if path.name != "idioms.py" else ():
            if isinstance(node, ast.FunctionDef):
                if node.name in found:
                    raise ToolchainError(f"{path.name} defines {node.name} again: rename one of the two")
                found[node.name] = _expanded(node, idioms, path.name)
    for node in found.values():
        _check(node, found)
    # An ARMv6-M reaches the first 32 names of a module in one instruction, so what many functions call comes first.
    callers = collections.Counter(name for node in found.values() for name in _loaded(node))
    return dict(sorted(found.items(), key=lambda item: -callers[item[0]]))


def _check(node, found):
    """What the cross compiler would let pass, and a board would stumble over."""
    unknown = _loaded(node) - _own(node) - found.keys() - BUILTINS
    if unknown:
        raise ToolchainError(f"viper function {node.name} uses unknown names: {', '.join(sorted(unknown))}")
    calls = {getattr(call.func, "id", "") for call in ast.walk(node) if isinstance(call, ast.Call)}
    hidden = calls & _own(node) & found.keys()
    if hidden:
        raise ToolchainError(f"viper function {node.name} calls its own variable: rename {', '.join(sorted(hidden))}")


def _called(found, names):
    """The functions named that are there, and what they call."""
    kept, called = set(), names & found.keys()
    while called - kept:
        kept |= called
        called = set().union(*(_loaded(found[name]) for name in kept)) & found.keys()
    return {name: node for name, node in found.items() if name in kept}


def _loaded(node):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _own(node):
    """Parameters and local names of a function."""
    stored = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {arg.arg for arg in node.args.args}


# -- expanding one function --------------------------------------------------------------------------------------------


def _expanded(node, idioms, file):
    """The function as MicroPython compiles it."""
    kind, records = _decorator(node)
    expander = Expander(idioms, _places(records), f"{file}, {node.name}")
    node = expander.visit(node)
    if ast.get_docstring(node) is not None:
        node.body = node.body[1:]
    if not kind:
        return node
    bound = [expander.visit(line) for line in idioms.bindings(_loaded(node), _own(node))]
    if kind == "kernel":
        own = ast.parse("words = mem[0]\nopen_record(words, off)").body
        first = [line for line in bound if line.targets[0].id == "s"]
        bound = [own[0], *first, own[1], *bound[len(first) :]]
    node.body = bound + node.body
    node.decorator_list = [ast.parse("micropython.viper", mode="eval").body]
    return ast.fix_missing_locations(node)


def _decorator(node):
    """The decorator's name, or "" for plain Python, and the records that the function reads."""
    if not node.decorator_list:
        return "", ()
    decorator = node.decorator_list[0]
    if isinstance(decorator, ast.Call):
        return decorator.func.id, [arg.value for arg in decorator.args]
    return decorator.id, [node.name] if decorator.id == "kernel" else ()


def _places(records):
    """{field: its place} of the fields that have one place in all these records."""
    rows = [RECORDS[name].items() for name in records]
    return dict(set(rows[0]).intersection(*rows[1:])) if rows else {}


class Idioms:
    """idioms.py: numbers, scratch words, expressions and statements by name, and what a function's head binds."""

    def __init__(self, tree):
        self.numbers, self.scratch, self.expressions, self.statements, self.bound = {}, {}, {}, {}, {}
        for node in tree.body:
            if isinstance(node, ast.Assign) and node.targets[0].id in BOUND:
                self.bound[node.targets[0].id] = node.value
            elif isinstance(node, ast.Assign) and node.targets[0].id.isupper():
                self.numbers[node.targets[0].id] = ast.unparse(node.value)
            elif isinstance(node, ast.ClassDef) and node.name == "Scratch":
                lines = [line for line in node.body if isinstance(line, ast.Assign)]
                self.scratch = {line.targets[0].id: line.value.value for line in lines}
            elif isinstance(node, ast.FunctionDef) and isinstance(node.body[-1], ast.Return):
                self._function(node)

    def _function(self, node):
        parameters = [arg.arg for arg in node.args.args]
        if len(node.body) == 2:  # behind the docstring
            self.expressions[node.name] = (parameters, node.body[1].value)
        else:
            self.statements[node.name] = (parameters, node.body[1:-1])

    def bindings(self, loaded, own):
        """Assignments of the names that a function uses. What only another binding needs becomes part of that one."""
        used = loaded & set(BOUND) - own
        if used:
            used |= {"s"} - own
        missing = {name: value for name, value in self.bound.items() if name not in used | own}
        return [
            ast.Assign([ast.Name(name, ast.Store())], Filled(missing).visit(copy.deepcopy(self.bound[name])))
            for name in BOUND
            if name in used
        ]


class Filled(ast.NodeTransformer):
    """Puts expressions in the places of names."""

    def __init__(self, values):
        self.values = values

    def visit_Name(self, node):
        return copy.deepcopy(self.values.get(node.id, node))


class Expander(ast.NodeTransformer):
    """Expands the names of idioms.py in a function that reads fields at `places`."""

    def __init__(self, idioms, places, where):
        self.idioms, self.where = idioms, where
        self.spaces = {
            "s": idioms.scratch, "Scratch": idioms.scratch, "r": places, "ref": places, "FIELD": places, **GROUPS
        }  # fmt: skip

    def visit_Name(self, node):
        if node.id in self.idioms.numbers:
            return self.visit(ast.parse(self.idioms.numbers[node.id], mode="eval").body)
        return node

    def visit_Attribute(self, node):
        base = node.value.id if isinstance(node.value, ast.Name) else None
        if base not in self.spaces:
            return self.generic_visit(node)
        if node.attr not in self.spaces[base]:
            raise ToolchainError(f"{self.where}: {base} has no {node.attr}")
        place = self.spaces[base][node.attr]
        if base == "ref":
            place += ast.literal_eval(self.idioms.numbers["AT"])
        number = ast.Constant(place)
        if base not in ("s", "r", "ref"):
            return number
        return ast.Subscript(ast.Name("r" if base == "r" else "s", ast.Load()), number, node.ctx)

    def visit_Call(self, node):
        node = self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name not in self.idioms.expressions:
            return node
        parameters, value = self.idioms.expressions[name]
        return self.visit(Filled(dict(zip(parameters, node.args))).visit(copy.deepcopy(value)))

    def visit_Assign(self, node):
        call = node.value
        if not (isinstance(call, ast.Call) and getattr(call.func, "id", None) in self.idioms.statements):
            return self.generic_visit(node)
        parameters, lines = self.idioms.statements[call.func.id]
        filled = Filled(dict(zip(parameters, call.args)))
        return [self.visit(filled.visit(line)) for line in copy.deepcopy(lines)]

    def visit_BinOp(self, node):
        return folded(self.generic_visit(node))

    def visit_arg(self, node):
        if isinstance(node.annotation, ast.Name) and node.annotation.id == "Field":
            node.annotation.id = "int"
        return node


def folded(node):
    """A sum or product of numbers as one number; what is subtracted one after the other, at once."""
    left, right = node.left, node.right
    if not isinstance(right, ast.Constant) or type(node.op) not in FOLDED:
        return node
    if isinstance(left, ast.Constant):
        return ast.Constant(FOLDED[type(node.op)](left.value, right.value))
    if isinstance(node.op, ast.Sub) and isinstance(left, ast.UnaryOp) and isinstance(left.op, ast.USub):
        return ast.BinOp(ast.Constant(-right.value), ast.Sub(), left.operand)  # -x - 1 is -1 - x
    if isinstance(node.op, ast.Sub) and isinstance(left, ast.BinOp) and isinstance(left.op, ast.Sub):
        if isinstance(left.left, ast.Constant):  # (14 - x) - 1 is 13 - x
            return ast.BinOp(ast.Constant(left.left.value - right.value), ast.Sub(), left.right)
        if isinstance(left.right, ast.Constant):  # (x - 32) - 1 is x - 33
            return ast.BinOp(left.left, ast.Sub(), ast.Constant(left.right.value + right.value))
    return node
