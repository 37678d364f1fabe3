"""Expands the names of firmware/viper/idioms.py in a function's syntax tree.

That file says what the names mean. Its numbers, expressions and statements are copied from there.
"""

import ast
import copy
import operator
from collections.abc import Callable, Mapping

from trimtab import format

from ..errors import ToolchainError

Places = dict[str, int]  # name -> the word where it lies

BOUND = ("s", "origin", "r", "wide")  # at the head of a function that uses them, in this order
GROUPS: dict[str, Places] = {
    name.upper(): {field[0]: place for place, field in enumerate(format.fields(text))}
    for name, text in format.GROUPS.items()
}
RECORDS: dict[str, Places] = {
    row[0]: {field[0]: place for place, field in enumerate(format.fields(row[1]), 1)}  # word 0 is the opcode
    for row in format.RECORDS
}


def loaded(node: ast.AST) -> set[str]:
    """Names that a function reads."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def own(node: ast.FunctionDef) -> set[str]:
    """Parameters and local names of a function."""
    stored = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return stored | {arg.arg for arg in node.args.args}


def expanded(node: ast.FunctionDef, idioms: "Idioms", file: str) -> ast.FunctionDef:
    """The function as MicroPython compiles it: names expanded, its head filled in, no docstring."""
    kind, records = _decorator(node)
    expander = Expander(idioms, _places(records), f"{file}, {node.name}")
    node = expander.visit(node)
    if ast.get_docstring(node) is not None:
        node.body = node.body[1:]
    if kind:
        head = [expander.visit(line) for line in idioms.head(loaded(node), own(node))]
        node.body = (_opened(head) if kind == "kernel" else head) + node.body
        node.decorator_list = [ast.parse("micropython.viper", mode="eval").body]
    return ast.fix_missing_locations(node)


def _decorator(node):
    """(the decorator's name or "", the records that the function reads)."""
    if not node.decorator_list:
        return "", ()
    decorator = node.decorator_list[0]
    if isinstance(decorator, ast.Call):
        return decorator.func.id, [record.value for record in decorator.args]
    return decorator.id, [node.name] if decorator.id == "kernel" else ()


def _places(records):
    """The places of the fields that lie at the same place in all these records."""
    rows = [RECORDS[name].items() for name in records]
    return dict(set(rows[0]).intersection(*rows[1:])) if rows else {}


def _opened(head):
    """The head of a kernel. It binds s, opens the record through it, then binds the rest."""
    take, read = ast.parse("words = mem[0]\nopen_record(words, off)").body
    first = [line for line in head if line.targets[0].id == "s"]
    return [take, *first, read, *head[len(first) :]]


class Idioms:
    """The content of idioms.py, by name."""

    def __init__(self, text: str):
        self.numbers: dict[str, ast.expr] = {}
        self.scratch: Places = {}
        self.expressions: dict[str, tuple[list[str], ast.expr]] = {}  # (parameters, what the call stands for)
        self.statements: dict[str, tuple[list[str], list[ast.stmt]]] = {}
        self.bound: dict[str, ast.expr] = {}  # what a head assigns to the names in BOUND
        for node in ast.parse(text).body:
            self._add(node)
        for name in ("words", "ref"):
            del self.numbers[name]

    def _add(self, node):
        if isinstance(node, ast.Assign):
            name = node.targets[0].id
            (self.bound if name in BOUND else self.numbers)[name] = node.value
        elif isinstance(node, ast.ClassDef) and node.name == "Scratch":
            lines = [line for line in node.body if isinstance(line, ast.Assign)]
            self.scratch = {line.targets[0].id: line.value.value for line in lines}
        elif isinstance(node, ast.FunctionDef) and isinstance(node.body[-1], ast.Return):
            self._add_function(node)

    def _add_function(self, node):
        parameters = [arg.arg for arg in node.args.args]
        if len(node.body) == 2:  # behind the docstring
            self.expressions[node.name] = (parameters, node.body[1].value)
        else:
            self.statements[node.name] = (parameters, node.body[1:-1])

    def head(self, loaded: set[str], own: set[str]) -> list[ast.Assign]:
        """Assigns the names in BOUND that a function loads and does not own.

        An absent name that another one needs is replaced there by what it stands for.
        """
        used = loaded & set(BOUND) - own
        if used:
            used |= {"s"} - own
        absent = Filled({name: value for name, value in self.bound.items() if name not in used | own})
        return [
            ast.Assign([ast.Name(name, ast.Store())], absent.visit(copy.deepcopy(self.bound[name])))
            for name in BOUND
            if name in used
        ]


class Filled(ast.NodeTransformer):
    """Replaces names by expressions."""

    def __init__(self, values: Mapping[str, ast.expr]):
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return copy.deepcopy(self.values.get(node.id, node))


class Expander(ast.NodeTransformer):
    """Expands the names of idioms.py in a function whose record has its fields at `places`."""

    def __init__(self, idioms: Idioms, places: Places, where: str):
        self.idioms, self.where = idioms, where
        at = ast.literal_eval(idioms.numbers["AT"])
        self.numbers: dict[str, Places] = {"Scratch": idioms.scratch, "FIELD": places, **GROUPS}
        self.words: dict[str, tuple[str, Places]] = {  # name -> the pointer, and places behind it
            "s": ("s", idioms.scratch),
            "r": ("r", places),
            "ref": ("s", {name: at + place for name, place in places.items()}),
        }

    def visit_Name(self, node: ast.Name) -> ast.expr:
        number = self.idioms.numbers.get(node.id)
        return self.visit(copy.deepcopy(number)) if number else node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        base = getattr(node.value, "id", "")
        if base in self.numbers:
            return self._number(self.numbers[base], node)
        if base in self.words:
            pointer, places = self.words[base]
            return ast.Subscript(ast.Name(pointer, ast.Load()), self._number(places, node), node.ctx)
        return self.generic_visit(node)

    def _number(self, places, node):
        if node.attr not in places:
            raise ToolchainError(
                f"{self.where}: {ast.unparse(node)} has no place, or another one in another record"
            )
        return ast.Constant(places[node.attr])

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = getattr(node.func, "id", "")
        if name not in self.idioms.expressions:
            return node
        parameters, value = self.idioms.expressions[name]
        return self.visit(Filled(dict(zip(parameters, node.args))).visit(copy.deepcopy(value)))

    def visit_Assign(self, node: ast.Assign) -> ast.AST | list[ast.stmt]:
        call = node.value
        if not (isinstance(call, ast.Call) and getattr(call.func, "id", "") in self.idioms.statements):
            return self.generic_visit(node)
        name = ast.unparse(call.func)
        parameters, lines = self.idioms.statements[name]
        if ast.unparse(call.args[0]) != ast.unparse(node.targets[0]):
            raise ToolchainError(f"{self.where}: write v = {name}(v, ...), with one variable in both places")
        filled = Filled(dict(zip(parameters, call.args)))
        return [self.visit(filled.visit(line)) for line in copy.deepcopy(lines)]

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        return folded(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        if isinstance(node.annotation, ast.Name) and node.annotation.id == "Field":
            node.annotation.id = "int"
        return node


FOLDED: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.LShift: operator.lshift,
}


def folded(node: ast.BinOp) -> ast.expr:
    """Computes what is known while we compile: 3 + 4, and -x - 1, (14 - x) - 1, (x - 32) - 1."""
    left, op, right = node.left, type(node.op), _integer(node.right)
    if op not in FOLDED or right is None:
        return node
    known = _integer(left)
    if known is not None:
        return ast.Constant(FOLDED[op](known, right))
    difference = _folded_difference(left, right) if op is ast.Sub else None
    return difference or node


def _folded_difference(left, right):
    """`left` minus a number as one subtraction, if `left` holds a number to take it from."""
    if isinstance(left, ast.UnaryOp) and isinstance(left.op, ast.USub):
        return ast.BinOp(ast.Constant(-right), ast.Sub(), left.operand)
    if isinstance(left, ast.BinOp) and isinstance(left.op, ast.Sub):
        first, second = _integer(left.left), _integer(left.right)
        if first is not None:
            return ast.BinOp(ast.Constant(first - right), ast.Sub(), left.right)
        if second is not None:
            return ast.BinOp(left.left, ast.Sub(), ast.Constant(second + right))
    return None


def _integer(node: ast.expr) -> int | None:
    """The number that an expression is, None if it is anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int) else None
