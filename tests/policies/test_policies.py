"""Every policy trains a DS-CNN on the emulated Pico, and its state is the simulation's, bit for bit."""

import json

import pytest
from helpers import provide
from models import Builder
from sampled import others_slow
from trimtab_tools import cli
from trimtab_tools.formats import write_tflite

STEPS = 20
POLICIES = {
    "last": ["--policy=last"],
    "bias": ["--policy=bias"],
    "full": ["--policy=full"],
    "mobiletl": ["--policy=mobiletl:2"],
    "sparse": ["--policy=sparse", "--scheme=5:4=1/2,6=1/4,8=1"],
}


@pytest.fixture(scope="module")
def ds_cnn(tmp_path_factory):
    """The keyword spotter's shapes at half the width, with random weights: 49x10 values, four pairs."""
    b = Builder((49, 10, 1), seed=5)
    b.conv(32, (10, 4), (2, 2), act="relu")
    for _ in range(4):
        b.depthwise(act="relu")
        b.conv(32, (1, 1), act="relu")
    b.mean()
    b.dense(12)
    path = tmp_path_factory.mktemp("ds_cnn") / "ds_cnn.tflite"
    path.write_bytes(write_tflite.write(b.graph()))
    return path


@pytest.mark.pico
@pytest.mark.parametrize("policy", others_slow(POLICIES, "sparse"))
def test_a_pico_trains_it_as_the_simulation_says(policy, ds_cnn, tmp_path, capsys):
    provide("pico")
    package = tmp_path / f"{policy}.ttp"
    assert cli.main(["compile", str(ds_cnn), *POLICIES[policy], "--classes=12", "-o", str(package)]) == 0
    first, *others = (simulated(capsys, package, board) for board in ("sim", "pico"))
    for result in others:
        assert result["state_crc"] == first["state_crc"] and result["losses"] == first["losses"]
    assert len(set(first["losses"])) > STEPS // 2


def simulated(capsys, package, board):
    capsys.readouterr()
    command = [
        "simulate",
        str(package),
        f"--board={board}",
        "--kernels=c",
        f"--steps={STEPS}",
        "--seed=3",
        "--json",
    ]
    assert cli.main(command) == 0
    return json.loads(capsys.readouterr().out)
