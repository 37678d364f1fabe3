"""What you simulate is what the board does: one package, one seed, the same bits everywhere."""

import json

import pytest
from helpers import provide
from networks import trained_layers as network
from places import PLACES, STEPS, simulated
from sampled import others_slow
from trimtab_tools import cli
from trimtab_tools.boards.simulated import best_tier
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.compiler import cost
from trimtab_tools.formats import write_tflite

PLAN = {
    "updates": [
        {"layer": "conv_1", "bias": True, "weight_channels": 0.5},
        {"layer": "depthwise_2", "bias": True, "weight_channels": 0.25},
        {"layer": "conv_3", "bias": True, "weight_channels": 1.0},
        {"layer": "conv_5", "bias": True},
    ]
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agree")
    (folder / "net.tflite").write_bytes(write_tflite.write(network()))
    (folder / "plan.json").write_text(json.dumps(PLAN))
    for name, options in {
        "sparse": [f"--policy=plan:{folder}/plan.json", "--classes=4"],
        "stochastic": [f"--policy=plan:{folder}/plan.json", "--residual=4", "--classes=4"],
        "sums": ["--policy=bias", "--accumulate=4", "--lr=0.01", "--classes=4"],
        "momentum": [f"--policy=plan:{folder}/plan.json", "--optimizer=momentum", "--classes=4"],
    }.items():
        assert cli.main(["compile", f"{folder}/net.tflite", *options, "-o", f"{folder}/{name}.ttp"]) == 0
    return folder


def test_the_network_is_of_the_promised_size():
    assert (
        20_000
        < cost.macs(compiler.compile_graph(network(), "last", classes=4, kernels=best_tier()).program)[
            "forward"
        ]
        < 200_000
    )


@pytest.mark.pico
@pytest.mark.unix
@pytest.mark.parametrize("name", others_slow(["sparse", "stochastic", "sums", "momentum"], "sparse"))
def test_state_is_the_same_on_every_board(packages, capsys, name):
    for board, _ in PLACES:
        provide(board)
    results = {place: simulated(capsys, packages / f"{name}.ttp", *place) for place in PLACES}
    reference = results[PLACES[0]]
    assert len(reference["losses"]) == STEPS and len(set(reference["losses"])) > STEPS // 2
    for place, result in results.items():
        assert result["state_crc"] == reference["state_crc"], place
        assert result["losses"] == reference["losses"], place
        assert result["arena_bytes"] == reference["arena_bytes"], place
    assert (
        simulated(capsys, packages / f"{name}.ttp", "sim", "c", STEPS - 1)["state_crc"]
        != reference["state_crc"]
    )
