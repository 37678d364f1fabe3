"""The places where one package must give the same bits."""

import json

from trimtab_tools import cli

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
    """What `trimtab simulate` says of a package there."""
    capsys.readouterr()
    where = [f"--board={board}", f"--kernels={kernels}", f"--steps={steps}", "--seed=3", "--json"]
    assert cli.main(["simulate", str(package), *where]) == 0
    return json.loads(capsys.readouterr().out)
