"""The layout of the code: data flows one way, files are short, and what is private stays where it is."""

import ast
import re
import statistics

import pytest
from sources import (
    DEVICE,
    FIRMWARE,
    HOST,
    circles,
    file,
    functions,
    imported_files,
    imports,
    is_module,
    name,
    python,
    tree,
)

# From left to right. A file imports from its own room and from rooms to the left. Rooms in one row do not
# know each other. errors, output and samples are files.
ROOMS = (
    ("errors",),
    ("output",),
    ("samples",),
    ("graph",),
    ("operators",),
    ("formats",),
    ("policies",),
    ("compiler",),
    ("toolchain",),
    ("link",),
    ("boards",),
    ("lab",),
    ("report",),
    ("api",),
    ("studio", "fleet"),
    ("cli",),
)
PLACE = {room: i for i, row in enumerate(ROOMS) for room in row}
LONGEST_FILE = 450
MEDIAN_FUNCTION = 10
GENERATED = {"firmware/kernels/records.h"}
SOURCES = (".py", ".c", ".h", ".S", ".s", ".mjs")


def room(path):
    """The room of a file of the host tools; None for the package itself and for what boards run."""
    if HOST not in path.parents or path.name == "__init__.py" and path.parent == HOST:
        return None
    return path.relative_to(HOST).parts[0].removesuffix(".py")


def test_every_file_is_in_a_room():
    strangers = {room(path) for path in python(HOST)} - {None, *PLACE}
    assert not strangers, f"give {sorted(strangers)} a place in ROOMS"


def test_files_import_to_the_left():
    found = set()
    for path in python(HOST, DEVICE):
        for other in imported_files(path):
            here, there = room(path), room(other)
            if there and here != there and (here is None or PLACE[there] >= PLACE[here]):
                found.add(f"{name(path)} -> {name(other)}")
    assert not found, "a file imports to the right"


def test_no_circles():
    edges = {name(path): {name(other) for other in imported_files(path)} for path in python(HOST, DEVICE)}
    assert not circles(edges), "files import each other"


# -- private names -------------------------------------------------------------------------------------------

# Names of Python, of flatbuffers, of Keras and of wasmtime: there is no public way to what they give.
NOT_OURS = {"_replace", "_asdict", "_tab", "_flatten_layers", "_outbound_nodes", "_func"}


def test_private_names_stay_in_their_file():
    found = {}
    for path in python(HOST, DEVICE, FIRMWARE):
        names = taken(path) | reached(path)
        if names:
            found[name(path)] = names
    assert not found


def taken(path):
    """Private names that a file imports from another."""
    return {
        parts[-1] for parts, _ in imports(path) if file(parts) and private(parts[-1]) and not is_module(parts)
    }


def reached(path):
    """Private attributes that a file reads of what is not its own: it neither defines nor sets them."""
    nodes = list(ast.walk(tree(path)))
    own = {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    own |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    used = set()
    for node in nodes:
        if isinstance(node, ast.Attribute) and private(node.attr):
            of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            (own if of_self and isinstance(node.ctx, ast.Store) else used).add(node.attr)
    return used - own


def private(word):
    return word.startswith("_") and not word.startswith("__") and word not in NOT_OURS


# -- sizes ---------------------------------------------------------------------------------------------------


def test_no_file_is_long():
    found = set()
    for path in sorted(
        p for folder in (HOST, DEVICE, FIRMWARE) for p in folder.rglob("*") if p.suffix in SOURCES
    ):
        if name(path) not in GENERATED and len(path.read_text().splitlines()) > LONGEST_FILE:
            found.add(name(path))
    assert not found, f"more than {LONGEST_FILE} lines"


@pytest.mark.parametrize("folder", [HOST, DEVICE], ids=["host", "device"])
def test_the_median_function_is_short(folder):
    lengths = [f.end_lineno - f.lineno + 1 for path in python(folder) for f in functions(path)]
    assert statistics.median(lengths) <= MEDIAN_FUNCTION


def test_the_median_function_of_c_is_short():
    lengths = []
    for path in FIRMWARE.rglob("*.c"):
        lines = path.read_text().splitlines()
        starts = [i for i, line in enumerate(lines) if re.match(r"\w.*\) \{$", line)]
        lengths += [lines.index("}", i) - i + 1 for i in starts]
    assert statistics.median(lengths) <= MEDIAN_FUNCTION
