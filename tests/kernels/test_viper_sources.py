"""The sources of the viper kernels name what they read, and the build expands the names as idioms.py says."""

import ast
import graphlib
import shutil

import pytest
from kernel_cases import NAMES
from methods import left_out
from trimtab_tools.errors import ToolchainError
from trimtab_tools.toolchain import viper, viper_idioms

FILES = [path for path in sorted(viper.FOLDER.glob("*.py")) if path.name != "idioms.py"]
METHODS = [name for name in ("tinytl", "mobiletl", "tinytrain", "prototypes") if not left_out(name)]
IDIOMS = viper_idioms.Idioms((viper.FOLDER / "idioms.py").read_text())


def functions(path):
    return [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]


def names(node):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def has_number(node):
    return any(isinstance(n, ast.Constant) for n in ast.walk(node))


def terms(node):
    """What a sum adds up."""
    return [*terms(node.left), *terms(node.right)] if isinstance(node, ast.BinOp) else [node]


def into_records(function):
    """Names of pointers into records: r, and what is computed from it."""
    assigned = [node for node in ast.walk(function) if isinstance(node, ast.Assign)]
    pointers = [node for node in assigned if isinstance(node.value, ast.Call) and "r" in names(node.value)]
    return {"r", *(node.targets[0].id for node in pointers if node.value.func.id == "ptr32")}


def bare(function):
    """Where a function finds a field by its number."""
    found = []
    for node in ast.walk(function):
        if isinstance(node, ast.Subscript) and names(node.value) & into_records(function):
            found += [node] if has_number(node.slice) else []
        if isinstance(node, ast.BinOp) and "AT" in map(ast.unparse, terms(node)):
            found += [node] if any(isinstance(term, ast.Constant) for term in terms(node)) else []
    return [ast.unparse(node) for node in found]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_field_is_read_by_its_number(path):
    assert {f.name: bare(f) for f in functions(path) if bare(f)} == {}


@pytest.mark.parametrize(
    "line",
    [
        "x = r[3]",
        "x = s[AT + 2]",
        "x = s[2 + AT + a]",
        "g = ptr32(int(r) + 4 * a)\n y = g[1]",
        "x = r[a + 1]",
    ],
)
def test_the_check_finds_numbers(line):
    assert bare(ast.parse(f"def f(words, a):\n {line}").body[0])


def test_places_of_fields_are_passed_by_name():
    found = {f.name: f for path in FILES for f in functions(path)}
    takers = {
        name: [i for i, arg in enumerate(f.args.args) if ast.unparse(arg.annotation or arg) == "Field"]
        for name, f in found.items()
    }
    passed = [
        ast.unparse(call.args[i])
        for f in found.values()
        for call in ast.walk(f)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        for i in takers.get(call.func.id, ())
    ]
    assert len(passed) > 40
    assert {text for text in passed if not text.startswith("FIELD.")} <= {"0", "plane"}  # none; one of two


def test_groups_stand_in_scratch_words_as_in_records():
    geometry = viper_idioms.GROUPS["GEOMETRY"]
    first = IDIOMS.scratch["ih"]
    words = {name: first + place for name, place in geometry.items() if name != "ic"}
    assert words.items() <= IDIOMS.scratch.items()
    weights = viper_idioms.GROUPS["WEIGHTS"]
    assert weights["k"] == weights["w"] + 1  # FIELD.w + plane


def test_imports_name_what_the_files_define_and_go_one_way():
    """The build joins the files whatever they import: this is for readers and editors."""
    defined = {path.stem: {f.name for f in functions(path)} for path in FILES}
    imports = {}
    for path in FILES:
        nodes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)]
        named = {node.module: {alias.name for alias in node.names} for node in nodes}
        assert named.pop("idioms") == {"*"}
        calls = {n for f in functions(path) for n in names(f)} & set().union(*defined.values())
        assert set().union(*named.values()) == calls - defined[path.stem], path.name
        assert all(taken <= defined[module] for module, taken in named.items()), path.name
        imports[path.stem] = set(named)
    graphlib.TopologicalSorter(imports).prepare()


def test_every_kernel_of_the_format_is_there():
    assert set(NAMES) <= viper.functions(viper.FOLDER).keys()


@pytest.mark.parametrize("method", METHODS)
def test_a_method_can_be_left_out(method, tmp_path):
    folder = shutil.copytree(viper.FOLDER, tmp_path / "viper")
    gone = {f.name for f in functions(folder / f"{method}.py")}
    (folder / f"{method}.py").unlink()
    assert viper.functions(folder).keys() == viper.functions(viper.FOLDER).keys() - gone


def test_a_package_gets_what_its_kernels_call():
    text = viper.source({"lut_fwd"})
    assert {f.name for f in ast.parse(text).body if isinstance(f, ast.FunctionDef)} == {
        "address",
        "put",
        "bind",
        "open_record",
        "lut_fwd",
    }


# -- expanding -----------------------------------------------------------------------------------------------


def expand(text):
    node = ast.parse(text).body[0]
    return ast.unparse(viper_idioms.expanded(node, IDIOMS, "a.py")).splitlines()


def test_a_kernel_opens_its_record_and_reads_it_by_names():
    places = viper_idioms.RECORDS["lut_fwd"]
    lines = expand("@kernel\ndef lut_fwd(mem, off: int) -> int:\n return r.n + ref.table")
    assert lines == [
        "@micropython.viper",
        "def lut_fwd(mem, off: int) -> int:",
        "    words = mem[0]",
        "    s = ptr32(words)",
        "    open_record(words, off)",
        "    r = ptr32(int(s) - s[2] + s[1])",
        f"    return r[{places['n']}] + s[{IDIOMS.numbers['AT'].value + places['table']}]",
    ]


@pytest.mark.parametrize(
    "written, meant",
    [
        ("signed(x[i])", "(x[i] ^ 128) - 128"),
        ("rsh(v, n)", "(v >> n) + (v >> n - 1 & 1)"),
        ("rsh(v, -n)", "(v >> -n) + (v >> -1 - n & 1)"),
        ("rsh(v, 15 - e)", "(v >> 15 - e) + (v >> 14 - e & 1)"),
        ("rsh(v, e - 32)", "(v >> e - 32) + (v >> e - 33 & 1)"),
        ("AT + ERROR_OUT.mask + out", "17 + out"),
    ],
)
def test_an_expression_takes_the_place_of_its_name(written, meant):
    assert expand(f"@helper\ndef f(words):\n a = {written}")[-1] == f"    a = {meant}"


def test_a_statement_takes_the_place_of_its_name():
    lines = expand("@helper\ndef f(v: int):\n v = saturate(v, 127)")
    assert lines[2:] == ["    if v > 127:", "        v = 127", "    elif v < -127:", "        v = -127"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("@kernel\ndef lut_fwd(mem, off):\n return r.zx", "r.zx"),
        ("@reads('conv_fwd', 'conv_dx')\ndef f(words):\n return r.ih", "r.ih"),
        ("@helper\ndef f(words):\n return s.nothing", "s.nothing"),
        ("@helper\ndef f(v, w):\n v = saturate(w, 1)", "one variable"),
    ],
)
def test_a_name_that_stands_nowhere_is_refused(text, message):
    with pytest.raises(ToolchainError, match=message):
        expand(text)


def test_names_that_a_board_would_miss_are_refused(tmp_path):
    folder = shutil.copytree(viper.FOLDER, tmp_path / "viper")
    (folder / "own.py").write_text("@helper\ndef mine(words):\n missing(words)\n")
    with pytest.raises(ToolchainError, match="mine uses unknown names: missing"):
        viper.functions(folder)
