"""Which kernels a PC takes: native ones, else WebAssembly, else plain Python, and what it says."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import toys
from helpers import compiled, provide_webassembly
from trimtab_tools.boards import simulated, train
from trimtab_tools.errors import ToolchainError

LOAD = "import trimtab; net = trimtab.load('net.ttp'{}); print(type(net.mem).__name__)"
FORMS = {"native": "Memory", "WebAssembly": "Spaces", "plain": "tuple"}  # form -> what its memory is
SAID = {"WebAssembly": "run as WebAssembly", "plain": "run in plain Python"}


@pytest.fixture(params=FORMS)
def computer(request, tmp_path):
    """(form, run): a computer that has this form of kernels at most; run(words) runs Python there."""
    (tmp_path / "net.ttp").write_bytes(compiled(toys.deep(), "bias").data)
    env = dict(os.environ)
    if request.param != "native":  # no compiler, and a cache that holds no native code
        env.update(PATH=str(tmp_path), TRIMTAB_CACHE=str(tmp_path / "cache"))
    if request.param == "WebAssembly":
        built = provide_webassembly().parent
        shutil.copytree(built, tmp_path / "cache" / built.name)

    def run(*words):
        command = [sys.executable, *words]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    run.folder = tmp_path
    return request.param, run


def said(done):
    """What stands on stderr beside what is built."""
    return [line for line in done.stderr.splitlines() if not line.startswith(("building ", "built "))]


def test_load_takes_the_fastest_and_says_when_it_is_not_native(computer):
    form, run = computer
    done = run("-c", LOAD.format(""))
    assert done.stdout.strip() == FORMS[form], done.stderr
    lines = said(done)
    assert len(lines) == (form in SAID) and all(SAID[form] in line for line in lines)


def test_kernels_by_name_are_those_or_a_sentence(computer):
    form, run = computer
    done = run("-c", LOAD.format(", 'c'"))
    if form == "plain":
        assert (
            done.returncode and "the C kernels run neither as native code nor as WebAssembly" in done.stderr
        )
    else:
        assert done.stdout.strip() == FORMS[form] and not said(done), done.stderr
    assert run("-c", LOAD.format(", 'plain'")).stdout.strip() == FORMS["plain"]


def test_commands_run_everywhere_with_one_result(computer):
    form, run = computer
    done = run("-m", "trimtab_tools.cli", "simulate", "net.ttp", "--steps", "3", "--json")
    assert done.returncode == 0 and len(said(done)) == (form in SAID), done.stderr
    wanted = train.simulate(run.folder / "net.ttp", "sim", "c", 3)
    assert json.loads(done.stdout)["state_crc"] == wanted["state_crc"]


def test_nothing_is_tried_twice(monkeypatch, capsys):
    tried = []

    class Without:
        @staticmethod
        def tier():
            tried.append(1)
            raise ToolchainError("not here: get it\nand ten lines more")

    simulated._compiled.cache_clear()
    simulated._say.cache_clear()
    monkeypatch.setattr(simulated, "native", Without)
    monkeypatch.setattr(simulated, "webassembly", Without)
    try:
        assert simulated.best_tier().name == simulated.best_tier().name == "plain"
        assert len(tried) == 2
        assert capsys.readouterr().err == (
            "the kernels run in plain Python, some hundred times slower: not here: get it; not here: get it\n"
        )
        with pytest.raises(ToolchainError, match="neither"):
            simulated.tier("c")
    finally:
        simulated._compiled.cache_clear()
        simulated._say.cache_clear()
