"""The project's own source files: where they are, what they import, what they define."""

import ast
import functools
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
HOST = ROOT / "host_tools" / "trimtab_tools"
DEVICE = ROOT / "device_lib" / "trimtab"
FIRMWARE = ROOT / "firmware"
BUILT = {("trimtab", "kernels_viper")}  # modules that only a build makes


def python(*folders):
    """Every Python file below these folders, in order."""
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def name(path):
    """A file as the tests write it: host_tools/trimtab_tools/cli/demo.py is cli/demo.py."""
    return str(path.relative_to(HOST if HOST in path.parents else ROOT))


@functools.cache
def tree(path):
    return ast.parse(path.read_text())


def imports(path):
    """(parts of the dotted name, the name it has here) for each import of a file."""
    package = _parts(path)[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield tuple(alias.name.split(".")), alias.asname or alias.name
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            start += tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield start + (alias.name,), alias.asname or alias.name


@functools.cache
def imported_files(path):
    """The files of ours that a file imports, wherever in it the import stands."""
    return {found for parts, _ in imports(path) if (found := file(parts)) and found != path}


@functools.cache
def file(parts):
    """The file of a dotted name: of the module itself, or of the module that holds the name."""
    if parts in BUILT:
        return None
    for dotted in filter(None, (parts, parts[:-1])):
        for root in (HOST.parent, DEVICE.parent):
            path = root.joinpath(*dotted)
            for found in (path.with_suffix(".py"), path / "__init__.py"):
                if found.is_file():
                    return found
    return None


@functools.cache
def is_module(parts):
    """Whether a dotted name of ours is a module, not a name in one."""
    return bool(parts) and any(
        path.with_suffix(".py").is_file() or path.is_dir()
        for path in (root.joinpath(*parts) for root in (HOST.parent, DEVICE.parent))
    )


def _parts(path):
    """The dotted name of a file's module; a package's __init__ is a module inside it."""
    for root in (HOST.parent, DEVICE.parent):
        if root in path.parents:
            return path.relative_to(root).with_suffix("").parts
    return (path.stem,)


def functions(path):
    """Every function and method of a file, those inside functions too."""
    return [n for n in ast.walk(tree(path)) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


def circles(edges):
    """Groups of files that import each other, each in order: strongly connected parts of {file: files}."""
    reach = {start: _reached(start, edges) for start in edges}
    groups = {
        tuple(sorted({a} | {b for b in reach[a] if a in reach.get(b, ())})) for a in edges if a in reach[a]
    }
    return sorted(groups)


def _reached(start, edges):
    seen, todo = set(), list(edges[start])
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo += edges.get(node, ())
    return seen
