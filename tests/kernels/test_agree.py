"""What you simulate is what the board does: one package, one seed, the same bits everywhere."""

import json

import pytest
from helpers import provide
from models import Builder
from trimtab_tools import cli
from trimtab_tools.boards.simulated import best_tier
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.compiler import cost
from trimtab_tools.formats import write_tflite

STEPS = 50
PLACES = [
    ("sim", "plain"),
    ("sim", "c"),
    ("unix", "plain"),
    ("unix", "viper"),
    ("unix", "c"),
    ("pico", "viper"),
    ("pico", "c"),
]


def network():
    """Every kind of layer that trains, with a skip connection; about 40 kMAC."""
    b = Builder((10, 10, 3), seed=11)
    b.conv(8, (3, 3), (2, 2), act="relu6")
    skip = b.x
    b.conv(16, (1, 1), act="relu6")
    b.depthwise(act="relu6")
    b.conv(8, (1, 1))
    b.add(skip, b.x)
    b.conv(12, (3, 3), (2, 2), act="relu")
    b.pool("avg_pool", (3, 3), (1, 1))
    b.dense(5)
    return b.graph()


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


def simulated(capsys, package, board, kernels, steps=STEPS):
    capsys.readouterr()
    assert (
        cli.main(
            [
                "simulate",
                str(package),
                "--board",
                board,
                "--kernels",
                kernels,
                "--steps",
                str(steps),
                "--seed",
                "3",
                "--json",
            ]
        )
        == 0
    )
    return json.loads(capsys.readouterr().out)


def test_the_network_is_of_the_promised_size():
    assert (
        20_000
        < cost.macs(compiler.compile_graph(network(), "last", classes=4, kernels=best_tier()).program)[
            "forward"
        ]
        < 200_000
    )


@pytest.mark.parametrize("name", ["sparse", "stochastic", "sums", "momentum"])
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
