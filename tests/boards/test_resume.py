"""`trimtab train` cut at any moment goes on, and the state is the same as if nothing had happened."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from models import Builder
from trimtab_tools import cli
from trimtab_tools.boards import resume, simulated
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.errors import BoardError, UsageError

EPOCHS = 40


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    b = Builder((6, 6, 2), seed=2)
    b.conv(4, (3, 3), (2, 2), act="relu6")
    (tmp_path / "net.ttp").write_bytes(
        compiler.compile_graph(
            b.graph(), "full", labels=("a", "b", "c"), rate=0.01, kernels=simulated.best_tier()
        ).data
    )
    rng = np.random.default_rng(1)
    np.savez("data.npz", x=rng.integers(0, 256, (25, 6, 6, 2), np.uint8), y=rng.integers(0, 3, 25))
    return tmp_path


def words(board="sim", *more):
    return [
        "train",
        "net.ttp",
        "--data",
        "data.npz",
        "--board",
        board,
        "--epochs",
        str(EPOCHS),
        "--json",
        *more,
    ]


def started(*args):
    return subprocess.Popen(
        [sys.executable, "-m", "trimtab_tools.cli", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # background jobs of a shell ignore it
    )


def until_epoch(process, epoch):
    for line in process.stdout:
        if json.loads(line).get("epoch") == epoch:
            return
    pytest.fail(f"the run ended before epoch {epoch}: {process.stderr.read()}")


def last(capsys, *args):
    capsys.readouterr()
    code = cli.main(list(args))
    said = capsys.readouterr()
    assert code == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


def undisturbed(here, capsys):
    """The state of the run that nothing cut; its traces are removed."""
    crc = last(capsys, *words())[-1]["state_crc"]
    for name in ("net.ttp.s0", "net.ttp.s1"):
        (here / name).unlink(missing_ok=True)
    assert not (here / "net.ttp.run").exists()
    return crc


@pytest.mark.parametrize("board, every", [("sim", 7), ("sim", 0), ("unix", 7)])
def test_a_host_that_is_killed(here, capsys, board, every):
    crc = undisturbed(here, capsys)
    command = words(board, "--save-every", str(every))
    for epoch in (3, 11, 19) if every else (5,):
        process = started(*command)
        until_epoch(process, epoch)
        process.kill()
        process.communicate()
    rows = last(capsys, *command)
    assert rows[0].get("resumed", 0) >= (19 * 25 // every * every if every else 0)
    assert ("resumed" in rows[0]) == bool(every)  # what was never saved begins anew
    assert rows[-1]["state_crc"] == crc and rows[-1]["saved_step"] == EPOCHS * 25


def test_ctrl_c_on_the_host(here, capsys):
    crc = undisturbed(here, capsys)
    process = started(*words())
    until_epoch(process, 4)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.startswith("trimtab: stopped and saved at step ") and said.endswith(
        ": the same command goes on\n"
    )
    assert said.count("\n") == 1
    rows = last(capsys, *words("sim", "--resume"))
    assert 4 * 25 <= rows[0]["resumed"] < EPOCHS * 25
    assert rows[-1]["state_crc"] == crc


def test_the_same_command_after_the_end_trains_again(here, capsys):
    crc = undisturbed(here, capsys)
    first = last(capsys, *words())
    again = last(capsys, *words())
    assert "resumed" not in again[0]
    assert first[-1]["state_crc"] == crc != again[-1]["state_crc"]


# -- which run goes on

WHAT = {"package": 1, "data": "d", "seed": 2, "epochs": 3, "steps": 30}


def cut(here, **changed):
    run = resume.Run.open(here / "p.ttp", WHAT)
    assert run.begins({"run": 0, "step": 0, "total": 0})
    return run, dict(WHAT, **changed)


def test_only_the_same_run_goes_on(here):
    run, what = cut(here)
    again = resume.Run.open(here / "p.ttp", what, resume=True)
    assert again.cut and again.number == run.number
    assert not again.begins({"run": run.number, "step": 12, "total": 30})
    assert again.begins({"run": 0, "step": 0, "total": 0})  # it was cut before the board heard of it
    with pytest.raises(
        BoardError, match="no longer holds the run that was cut .*: start anew with --restart"
    ):
        again.begins({"run": 77, "step": 5, "total": 9})
    assert not resume.Run.open(here / "p.ttp", what, restart=True).cut


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"seed": 4}, "had seed 2, not seed 4"),
        ({"epochs": 4, "steps": 40}, "had 3 epochs, not 4 epochs"),
        ({"data": "e"}, "had other data: give the same"),
        ({"package": 5}, "had another package: give the same"),
    ],
)
def test_another_run_does_not(here, changed, said):
    _, what = cut(here, **changed)
    assert not resume.Run.open(here / "p.ttp", what).cut
    with pytest.raises(UsageError, match=said):
        resume.Run.open(here / "p.ttp", what, resume=True)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"what": 3}', "null"])
def test_a_damaged_run_file_is_no_run(here, text):
    (here / "p.ttp.run").write_text(text)
    assert not resume.Run.open(here / "p.ttp", WHAT).cut
    with pytest.raises(UsageError, match="no run of .* was cut: leave --resume out"):
        resume.Run.open(here / "p.ttp", WHAT, resume=True)
