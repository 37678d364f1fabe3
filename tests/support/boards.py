"""Boards that tests talk to, and the places where one package must give the same bits."""

import json

from trimtab_tools import cli
from trimtab_tools.boards import emulated


def tell(board, code):
    """What code prints on a board."""
    return emulated.mpremote(board.url, "exec", code).strip()


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
