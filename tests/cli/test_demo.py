"""The demo and the examples, as a user runs them."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from trimtab.package import Package
from trimtab_tools import cli
from trimtab_tools.boards import loading
from trimtab_tools.cli import demo
from trimtab_tools.errors import ToolchainError
from trimtab_tools.formats import read_tflite
from trimtab_tools.toolchain import boards

EXAMPLES = demo.EXAMPLE.parent
LAST = re.compile(
    r"demo: board=(\w+) before=(\d\.\d\d) after=(\d\.\d\d) rebooted=(\d\.\d\d) ram=(\d+) "
    r"ms_per_step=[\d.]+"
)


def python(folder, *words):
    result = subprocess.run(
        [sys.executable, *map(str, words)], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def trimtab(*words):
    assert cli.main([str(word) for word in words]) == 0


@pytest.mark.parametrize("board", ["sim", "unix"])
def test_demo_learns_saves_and_comes_back(board, capsys):
    assert demo.main(["--board", board]) == 0
    name, before, after, rebooted, ram = LAST.fullmatch(capsys.readouterr().out.splitlines()[-1]).groups()
    assert name == board
    assert float(after) >= float(before) + 0.3
    assert after == rebooted
    assert int(ram) > 0


@pytest.mark.pico
@pytest.mark.slow
def test_demo_on_the_emulated_pico(monkeypatch, capsys):
    """Deploy, train, save and reboot with few samples: the demo compares weights with the simulation's."""
    load = loading.load
    monkeypatch.setattr(loading, "load", lambda contents, file: load(contents, file)[:8])
    assert demo.main(["--board", "pico"]) == 0
    said = capsys.readouterr().out
    name, _, after, rebooted, ram = LAST.fullmatch(said.splitlines()[-1]).groups()
    assert name == "pico" and after == rebooted
    assert "kernels (armv6m)" in said and "kernels c, self-test passed" in said
    assert 20_000 < int(ram) < 200_000


def test_demo_refuses_a_board_that_differs_from_the_simulation(monkeypatch, capsys):
    monkeypatch.setattr(demo, "expected_crc", lambda package, samples: 0)
    assert demo.main(["--board", "sim"]) == 1
    assert "not the simulation's" in capsys.readouterr().err


def test_demo_goes_on_with_sim_where_packages_are_missing(monkeypatch, capsys):
    def provide(board):
        raise ToolchainError(f"board {board} needs nodejs: run sudo apt-get install nodejs")

    monkeypatch.setattr(boards, "provide", provide)
    assert demo.available("pico") == "sim"
    said = capsys.readouterr().err
    assert "board pico needs nodejs: run sudo" in said and "going on with BOARD=sim" in said
    assert demo.available("sim") == "sim" and not capsys.readouterr().err  # its kernels take another form


def test_demo_network_has_depthwise_layers_and_skips():
    kinds = [op.kind for op in read_tflite.read(demo.pretrained() / "digits.tflite").ops]
    assert kinds.count("depthwise") == 3 and kinds.count("add") == 2


def test_camera_is_another_domain():
    """Same labels, no picture shared between adaptation and test, and darkness gone."""
    folder = demo.pretrained()
    clear, train, test = (np.load(folder / f"{name}.npz") for name in ("clear", "train", "test"))
    assert np.array_equal(clear["y"], test["y"])
    assert (len(train["x"]), len(test["x"])) == (400, 150)
    assert clear["x"].min() == 0 and test["x"].min() > 50
    assert not {x.tobytes() for x in train["x"]} & {x.tobytes() for x in test["x"]}


def test_digits_by_hand_equal_the_demo(tmp_path, monkeypatch, capsys):
    """The README's commands give the demo's numbers."""
    monkeypatch.chdir(EXAMPLES / "02_adapt_digits")
    data, package = demo.pretrained(), str(tmp_path / "digits.ttp")
    trimtab("compile", data / "digits.tflite", "--policy", "plan:plan.json", "--lr", demo.RATE, "-o", package)
    capsys.readouterr()
    trimtab(
        "train", package, "--board", "sim", "--data", data / "train.npz", "--val", data / "test.npz", "--json"
    )
    byhand = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert demo.main(["--board", "sim"]) == 0
    shown = capsys.readouterr().out
    before, after = LAST.fullmatch(shown.splitlines()[-1]).group(2, 3)
    assert (f"{byhand['before']:.2f}", f"{byhand['after']:.2f}") == (before, after)
    assert f"weights {byhand['state_crc']:08x}" in shown


def test_first_step(tmp_path):
    said = python(EXAMPLES / "01_first_step", "main.py", tmp_path)
    before, after = map(float, re.search(r"before: (\S+), after: (\S+)", said).groups())
    assert before < 0.5 and after > 0.9
    assert "a cross is called cross" in said
    assert Package(str(tmp_path / "stripes.ttp")).labels()[1:] == ["flat", "steep", "cross"]
    assert (tmp_path / "stripes.ttp.s0").exists()


@pytest.mark.parametrize("source", ["photos", "photos.npz"])
def test_stream_from_folders_and_from_a_file(tmp_path, source, capsys):
    python(tmp_path, EXAMPLES / "01_first_step" / "stripes.py", "data")
    package = str(tmp_path / "stripes.ttp")
    trimtab(
        "compile",
        EXAMPLES / "01_first_step" / "stripes.tflite",
        "--policy",
        "bias",
        "--labels",
        "flat,steep,cross",
        "--lr",
        0.02,
        "-o",
        package,
    )
    capsys.readouterr()
    data = tmp_path / "data"
    trimtab(
        "train",
        package,
        "--board",
        "sim",
        "--data",
        data / source,
        "--val",
        data / "test.npz",
        "--epochs",
        2,
        "--json",
    )
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["before"] < 0.5 and result["after"] > 0.9
