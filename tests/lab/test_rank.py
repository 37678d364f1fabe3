"""A task's samples say which package learns it best."""

import json

import numpy as np
import pytest
from helpers import calibrated
from models import Builder
from toys import digits, reader
from trimtab_tools import cli
from trimtab_tools.formats import write_tflite


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trunk that tells digits apart and one that sees only how bright they are."""
    at = tmp_path_factory.mktemp("rank")
    b = Builder((8, 8, 1), seed=3, scale=1 / 255, zero=-128)
    b.conv(4, (1, 1), scale=0.03, zero=-128, act="relu")
    b.mean(scale=0.02, zero=-128)
    x = (digits().train[0, :200] ^ 128).view(np.int8)
    np.savez(at / "task.npz", x=x, y=digits().y[:200])
    for name, graph in (("reader", reader()), ("light", calibrated(b.graph(), x[:40]))):
        (at / f"{name}.tflite").write_bytes(write_tflite.write(graph))
        command = ["compile", f"{at}/{name}.tflite", "--policy=last", "--classes=10", "--lr=0.01"]
        assert cli.main([*command, "-o", f"{at}/{name}.ttp"]) == 0
    return at


def ranked(folder, capsys, *options):
    capsys.readouterr()
    packages = [str(folder / f"{name}.ttp") for name in ("light", "reader")]
    assert cli.main(["rank", *packages, "--data", str(folder / "task.npz"), *options]) == 0
    return capsys.readouterr().out


def test_the_better_trunk_comes_first(folder, capsys):
    places = json.loads(ranked(folder, capsys, "--epochs=4", "--json"))["places"]
    assert [place["package"] for place in places] == [
        str(folder / f"{name}.ttp") for name in ("reader", "light")
    ]
    assert places[0]["accuracy"] > 0.6 > 0.4 > places[1]["accuracy"]
    assert places[0]["error"] == pytest.approx(
        (places[0]["accuracy"] * (1 - places[0]["accuracy"]) / 50) ** 0.5
    )
    assert json.loads(ranked(folder, capsys, "--epochs=4", "--json"))["places"] == places


def test_what_people_read(folder, capsys):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    lines = ranked(folder, capsys, "--epochs=4").splitlines()
    assert len(lines) == 2 and "reader.ttp" in lines[0] and "%" in lines[0] and "arena" in lines[0]
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_what_is_refused(folder, capsys):
    np.savez(folder / "few.npz", x=np.zeros((3, 8, 8, 1), np.int8), y=[0, 1, 2])
    np.savez(folder / "nameless.npz", x=np.zeros((9, 8, 8, 1), np.int8))
    for data, options, cure in (
        ("few", [], "samples held out"),
        ("nameless", [], "every class"),
        ("task", ["--epochs=0"], "use 1 or more"),
    ):
        command = ["rank", str(folder / "light.ttp"), "--data", str(folder / f"{data}.npz"), *options]
        assert cli.main(command) == 1
        assert cure in capsys.readouterr().err
