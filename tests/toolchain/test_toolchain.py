"""What boards need: packages that are missing, sources that changed, kernels that are built."""

import json

import helpers
import pytest
from trimtab_tools.errors import ToolchainError
from trimtab_tools.toolchain import packages
from trimtab_tools.toolchain.boards import BOARDS, NAMES, missing, provide
from trimtab_tools.toolchain.kernels import NATMODS, host_library, natmod
from trimtab_tools.toolchain.sources import ARCHIVES, library, verified


@pytest.mark.pico
@pytest.mark.parametrize("arch, code", [("x64", 2), ("armv6m", 4)])
def test_native_module_names_its_architecture(arch, code):
    helpers.provide("pico")
    header = natmod(arch).read_bytes()[:4]
    assert header[:2] == b"M\x06" and header[2] >> 2 & 15 == code


def test_unknown_architecture_names_the_known_ones():
    with pytest.raises(ToolchainError, match="armv6m"):
        natmod("z80")


def test_missing_packages_are_named_with_the_command(monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda name: None if name == "cmake" else "/bin/" + name)
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    assert "cmake" in missing("pico")
    with pytest.raises(ToolchainError, match="run sudo apt-get install -y .*cmake"):
        provide("pico")
    monkeypatch.setattr(packages.shutil, "which", lambda name: None)  # no Debian
    with pytest.raises(ToolchainError, match="board sim needs gcc: install it"):
        provide("sim")


def test_an_archive_that_changed_is_refused(tmp_path):
    archive = next(a for a in ARCHIVES if a.sha256)
    with pytest.raises(ToolchainError, match="no longer"):
        verified(tmp_path, archive)
    (tmp_path / archive.pattern.replace("*", "1")).write_bytes(b"something else")
    with pytest.raises(ToolchainError, match="is not the file that trimtab was tested with"):
        verified(tmp_path, archive)


def test_host_library_takes_flags():
    helpers.provide("sim")
    plain, checked = host_library(), host_library(["-fsanitize=undefined"])
    assert plain != checked and plain.is_file() and checked.stat().st_size > plain.stat().st_size


def test_mip_installs_every_file_of_the_library():
    listed = json.loads((library().parent / "package.json").read_text())
    sources = sorted(path.relative_to(library()).as_posix() for path in library().rglob("*.py"))
    names = [f"trimtab/{name}" for name in sources]
    assert listed["urls"] == [[name, name] for name in names]


def test_every_row_of_the_table_says_how_it_is_built_and_started():
    from trimtab_tools.boards.connect import STARTS

    for name, board in BOARDS.items():
        assert board.about and board.parts and set(board.tools) <= set(packages.TOOLS), name
        assert board.start is None or board.start in STARTS, name
        assert (board.machine is not None) == (board.start == "qemu"), name
        assert board.arch is None or board.arch in NATMODS, name
    assert {BOARDS[name].start for name in NAMES} == set(STARTS)


def test_a_board_that_nobody_knows_is_answered_with_those_that_are(capsys):
    from trimtab_tools.toolchain.__main__ import main

    for words in (["toaster"], [], ["natmod"], ["natmod", "z80"]):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert said.startswith("toolchain: ") and ("pico" in said or "armv6m" in said)
