"""Expands the names of firmware/viper/idioms.py in a function's syntax tree.

What the names mean stands in that file: its numbers, expressions and statements are taken from there.
"""

import ast
import copy
import operator

from trimtab import format

from ..errors import ToolchainError

BOUND = ("s", "origin", "r", "wide")  # at the head of a function that uses them, in this order
GROUPS = {
    name.upper(): {field[0]: place for place, field in enumerate(format.fields(text))}
    for name, text in format.GROUPS.items()
}
RECORDS = {
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
    """The decorator's name, "" where there is none, and the records that the function reads."""
    if not node.decorator_list:
        return "", ()
    decorator = node.decorator_list[0]
    if isinstance(decorator, ast.Call):
        return decorator.func.id, [record.value for record in decorator.args]
    return decorator.id, [node.name] if decorator.id == "kernel" else ()


def _places(records):
    """{field: its place} of the fields that have one and the same place in all these records."""
    rows = [RECORDS[name].items() for name in records]
    return dict(set(rows[0]).intersection(*rows[1:])) if rows else {}


def _opened(head):
    """The head of a kernel: s is bound first, and the rest once the record is open."""
    take, read = ast.parse("words = mem[0]\nopen_record(words, off)").body
    first = [line for line in head if line.targets[0].id == "s"]
    return [take, *first, read, *head[len(first) :]]


class Idioms:
    """idioms.py by name: numbers, scratch words, expressions and statements, and what a head binds."""

    def __init__(self, text):
        self.numbers, self.scratch, self.expressions, self.statements, self.bound = {}, {}, {}, {}, {}
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign):
                name = node.targets[0].id
                (self.bound if name in BOUND else self.numbers)[name] = node.value
            elif isinstance(node, ast.ClassDef) and node.name == "Scratch":
                lines = [line for line in node.body if isinstance(line, ast.Assign)]
                self.scratch = {line.targets[0].id: line.value.value for line in lines}
            elif isinstance(node, ast.FunctionDef) and isinstance(node.body[-1], ast.Return):
                self._add(node)
        for name in ("words", "ref"):
            del self.numbers[name]

    def _add(self, node):
        parameters = [arg.arg for arg in node.args.args]
        if len(node.body) == 2:  # behind the docstring
            self.expressions[node.name] = (parameters, node.body[1].value)
        else:
            self.statements[node.name] = (parameters, node.body[1:-1])

    def head(self, loaded, own):
        """Assignments of the names that a function loads and does not own. A name that only another one needs
        is written out there."""
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
    """Puts expressions in the places of names."""

    def __init__(self, values):
        self.values = values

    def visit_Name(self, node):
        return copy.deepcopy(self.values.get(node.id, node))


class Expander(ast.NodeTransformer):
    """Expands the names of idioms.py in a function whose record has its fields at `places`."""

    def __init__(self, idioms, places, where):
        self.idioms, self.where = idioms, where
        at = ast.literal_eval(idioms.numbers["AT"])
        self.numbers = {"Scratch": idioms.scratch, "FIELD": places, **GROUPS}
        self.words = {  # name -> the pointer, and places behind it
            "s": ("s", idioms.scratch),
            "r": ("r", places),
            "ref": ("s", {name: at + place for name, place in places.items()}),
        }

    def visit_Name(self, node):
        number = self.idioms.numbers.get(node.id)
        return self.visit(copy.deepcopy(number)) if number else node

    def visit_Attribute(self, node):
        base = getattr(node.value, "id", None)
        if base in self.numbers:
            return self._number(self.numbers[base], node)
        if base in self.words:
            pointer, places = self.words[base]
            return ast.Subscript(ast.Name(pointer, ast.Load()), self._number(places, node), node.ctx)
        return self.generic_visit(node)

    def _number(self, places, node):
        if node.attr not in places:
            raise ToolchainError(
                f"{self.where}: {ast.unparse(node)} stands nowhere, or not at one place only"
            )
        return ast.Constant(places[node.attr])

    def visit_Call(self, node):
        node = self.generic_visit(node)
        name = getattr(node.func, "id", None)
        if name not in self.idioms.expressions:
            return node
        parameters, value = self.idioms.expressions[name]
        return self.visit(Filled(dict(zip(parameters, node.args))).visit(copy.deepcopy(value)))

    def visit_Assign(self, node):
        name = getattr(getattr(node.value, "func", None), "id", None)
        if name not in self.idioms.statements:
            return self.generic_visit(node)
        parameters, lines = self.idioms.statements[name]
        arguments = node.value.args
        if ast.unparse(arguments[0]) != ast.unparse(node.targets[0]):
            raise ToolchainError(f"{self.where}: write v = {name}(v, ...), with one variable in both places")
        filled = Filled(dict(zip(parameters, arguments)))
        return [self.visit(filled.visit(line)) for line in copy.deepcopy(lines)]

    def visit_BinOp(self, node):
        return folded(self.generic_visit(node))

    def visit_arg(self, node):
        if getattr(node.annotation, "id", None) == "Field":
            node.annotation.id = "int"
        return node


FOLDED = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.LShift: operator.lshift}


def folded(node: ast.BinOp) -> ast.expr:
    """An operation on numbers as its result; -x - 1, (14 - x) - 1 and (x - 32) - 1 as one subtraction."""
    left, op, right = node.left, type(node.op), node.right
    if op not in FOLDED or not isinstance(right, ast.Constant):
        return node
    if isinstance(left, ast.Constant):
        return ast.Constant(FOLDED[op](left.value, right.value))
    if op is ast.Sub and isinstance(left, ast.UnaryOp) and isinstance(left.op, ast.USub):
        return ast.BinOp(ast.Constant(-right.value), ast.Sub(), left.operand)
    if op is ast.Sub and isinstance(left, ast.BinOp) and isinstance(left.op, ast.Sub):
        if isinstance(left.left, ast.Constant):
            return ast.BinOp(ast.Constant(left.left.value - right.value), ast.Sub(), left.right)
        if isinstance(left.right, ast.Constant):
            return ast.BinOp(left.left, ast.Sub(), ast.Constant(left.right.value + right.value))
    return node
