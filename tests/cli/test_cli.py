"""The command as users meet it: what verbs print, and errors of one sentence that change nothing."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import provide
from models import Builder
from trimtab_tools import cli
from trimtab_tools.boards.pico import Pico
from trimtab_tools.formats import write_tflite
from trimtab_tools.formats.tflite_file import Row, serialize
from trimtab_tools.graph.ir import Tensor
from trimtab_tools.link.repl import mpremote


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a model, a package and some data."""
    monkeypatch.chdir(tmp_path)
    b = Builder((6, 6, 1), seed=5)
    b.conv(4, act="relu")
    b.depthwise(act="relu")
    b.conv(6, (1, 1), act="relu")
    b.dense(3)
    (tmp_path / "net.tflite").write_bytes(write_tflite.write(b.graph()))
    assert (
        cli.main(["compile", "net.tflite", "--policy", "bias", "--labels", "cat,dog", "-o", "net.ttp"]) == 0
    )
    rng = np.random.RandomState(1)
    y = rng.randint(0, 2, 24)
    x = np.clip(rng.randint(0, 60, (24, 6, 6, 1)) + 150 * y[:, None, None, None], 0, 255).astype(np.uint8)
    np.savez("data.npz", x=x, y=np.array(["cat", "dog"])[y])
    return tmp_path


def run(capsys, *words):
    code = cli.main(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


def result(capsys, *words):
    capsys.readouterr()
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


NOTES = (
    "an emulated Pico is not",
    "building ",
    "built ",
    "the kernels run",
)  # what stands on stderr before the sentence


def refused(capsys, *words):
    """The sentence of a refusal."""
    capsys.readouterr()
    code, out, err = run(capsys, *words)
    assert code == 1
    assert out == ""
    said = [line for line in err.strip().splitlines() if not line.startswith(NOTES)]
    assert len(said) == 1 and said[0].startswith("trimtab: ") and ": " in said[0][9:], err
    return said[0]


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_verify_counts_identical_outputs(here, capsys):
    (row,) = result(capsys, "verify", "net.tflite", "-n", "20")
    assert row == {"inputs": 20, "outputs": 20, "identical": 20, "first_difference": None}


def test_plan_tells_updates_and_costs(here, capsys):
    (row,) = result(capsys, "plan", "net.tflite", "--policy", "bias", "--labels", "cat,dog")
    assert [u["layer"] for u in row["updates"]] == ["conv_0", "depthwise_1", "conv_2"]
    assert all(u["bias"] and not u["weight_channels"] for u in row["updates"])
    assert row["macs"]["forward"] == 36 * 4 * 9 + 36 * 4 * 9 + 36 * 4 * 6 + 2 * 216
    assert row["lower_bound_bytes"] <= row["arena_bytes"]
    assert row["flash_bytes"] == (here / "net.ttp").stat().st_size


def test_export_writes_every_tensor_with_its_scale(here, capsys):
    result(capsys, "export", "net.ttp", "-o", "tensors.npz")
    with np.load("tensors.npz") as t:
        weights = [k for k in t.files if k.startswith("conv_0|w") and "." not in k]
        assert t[weights[0]].shape == (4, 3, 3, 1) and t[weights[0]].dtype == np.int8
        assert t[weights[0] + ".scale"].shape == (4,)
        assert "conv_2|conv_2.scale" in t.files and "conv_2|conv_2.zero_point" in t.files


def test_train_resumes_nothing_and_learns(here, capsys):
    rows = result(
        capsys,
        "train",
        "net.ttp",
        "--data",
        "data.npz",
        "--val",
        "data.npz",
        "--epochs",
        "12",
        "--logdir",
        "log",
    )
    assert [r["epoch"] for r in rows[:-1]] == list(range(1, 13))
    assert rows[-1]["steps"] == 12 * 24 and rows[-1]["saved_step"] == 12 * 24
    assert rows[-1]["after"] > 0.9
    assert any((here / "log").iterdir())
    result(capsys, "pull", "net.ttp", "-o", "tuned.tflite")
    assert (here / "tuned.tflite").read_bytes()[4:8] == b"TFL3"


def test_same_seed_same_state(here, capsys):
    a, b = (
        result(capsys, "simulate", "net.ttp", "--steps", "9", "--seed", "4", "--kernels", k)[0]
        for k in ("c", "plain")
    )
    assert a["state_crc"] == b["state_crc"] and a["losses"] == b["losses"]
    assert (
        a["state_crc"] != result(capsys, "simulate", "net.ttp", "--steps", "9", "--seed", "5")[0]["state_crc"]
    )


def test_image_folders(here, capsys):
    from PIL import Image

    for name, level in (("cat", 20), ("dog", 200)):
        (here / "photos" / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((9, 9, 3), level + i, np.uint8)).save(here / "photos" / name / f"{i}.png")
    rows = result(capsys, "train", "net.ttp", "--data", "photos", "--epochs", "2")
    assert rows[-1]["samples"] == 6


# -- refusals


def test_unsupported_operator(here, capsys):
    x, y = (Tensor(n, (1, 4, 4, 2), "int8", np.array([0.1]), 0) for n in "xy")
    (here / "abs.tflite").write_bytes(
        serialize(
            {"x": (x, 0), "y": (y, 0)},
            [Row("ABS", 1, ("x",), ("y",))],
            "x",
            "y",
            "net",
            ("serving_default", "x", "y"),
        )
    )
    before = files(here)
    said = refused(capsys, "compile", "abs.tflite", "-o", "abs.ttp")
    assert "ABS" in said and "y" in said
    assert files(here) == before


def test_wrong_input_shape(here, capsys):
    np.savez("small.npz", x=np.zeros((4, 5, 5, 1), np.uint8), y=np.zeros(4, int))
    before = files(here)
    assert "5x5x1" in refused(capsys, "train", "net.ttp", "--data", "small.npz")
    assert files(here) == before


def test_label_not_in_the_package(here, capsys):
    np.savez("horse.npz", x=np.zeros((2, 6, 6, 1), np.uint8), y=np.array(["cat", "horse"]))
    before = files(here)
    said = refused(capsys, "train", "net.ttp", "--data", "horse.npz")
    assert "'horse'" in said and "cat, dog" in said
    assert files(here) == before


def test_truncated_package(here, capsys):
    whole = (here / "net.ttp").read_bytes()
    (here / "cut.ttp").write_bytes(whole[:-100])
    (here / "head.ttp").write_bytes(whole[:50])
    before = files(here)
    for name in ("cut.ttp", "head.ttp"):
        for words in (["train", name, "--data", "data.npz"], ["simulate", name], ["info", name]):
            assert "copy" in refused(capsys, *words)
    assert files(here) == before


def test_port_that_is_not_there(here, capsys):
    before = files(here)
    said = refused(capsys, "train", "net.ttp", "--data", "data.npz", "--port", "/dev/ttyNOTHERE")
    assert "/dev/ttyNOTHERE" in said and "--port" in said
    assert "/dev/ttyNOTHERE" in refused(capsys, "deploy", "net.ttp", "--port", "/dev/ttyNOTHERE")
    assert files(here) == before


def test_too_little_ram(here, capsys):
    assert "--ram 1k" in refused(
        capsys, "compile", "net.tflite", "--policy", "full", "--ram", "1k", "-o", "x.ttp"
    )
    assert not (here / "x.ttp").exists()


@pytest.fixture
def wide(here):
    """A model whose layers are large enough for scratch memory to pay."""
    b = Builder((12, 12, 8), seed=2)
    b.conv(24, act="relu")
    b.conv(16, (1, 1))
    b.mean()
    b.dense(3)
    (here / "wide.tflite").write_bytes(write_tflite.write(b.graph()))


def test_plan_says_what_ram_buys(wide, capsys):
    (plan,) = result(capsys, "plan", "wide.tflite", "--policy", "full")
    sizes = [row["ram_bytes"] for row in plan["ram"]]
    cycles = [row["estimated_cycles"]["pico"] for row in plan["ram"]]
    assert len(sizes) > 1 and sizes == sorted(sizes) and cycles == sorted(cycles, reverse=True)
    assert all(row["ram_bytes"] == row["arena_bytes"] + plan["state_bytes"] for row in plan["ram"])
    _, out, _ = run(capsys, "plan", "wide.tflite", "--policy", "full")
    assert f"{sizes[0]:,}" in out and "a step on pico" in out


def test_ram_makes_a_step_as_fast_as_it_can_be(wide, capsys):
    (plan,) = result(capsys, "plan", "wide.tflite", "--policy", "full")
    for row in (plan["ram"][0], plan["ram"][-1]):
        words = ["wide.tflite", "--policy", "full", "--ram", str(row["ram_bytes"])]
        (made,) = result(capsys, "compile", *words, "-o", "x.ttp")
        assert made["arena_bytes"] == row["arena_bytes"]
        (again,) = result(capsys, "plan", *words)
        assert again["estimated_cycles"] == row["estimated_cycles"]
    _, out, _ = run(capsys, "compile", *words, "-o", "x.ttp")
    assert "more RAM would not make it faster" in out
    words[-1] = str(plan["ram"][0]["ram_bytes"])
    _, out, _ = run(capsys, "compile", *words, "-o", "x.ttp")
    assert "more RAM: " in out and " ms with " in out


@pytest.mark.parametrize(
    "words, part",
    [
        (["compile", "absent.tflite", "-o", "x.ttp"], "absent.tflite"),
        (["compile", "net.ttp", "-o", "x.ttp"], "tflite"),
        (["info", "net.tflite"], "trimtab compile"),
        (["compile", "net.tflite", "--policy", "magic", "-o", "x.ttp"], "use bias[:K], full, last[:K]"),
        (["compile", "net.tflite", "--labels", "a,a", "-o", "x.ttp"], "same name"),
        (["compile", "net.tflite", "--lr", "3", "-o", "x.ttp"], "0.5"),
        (["compile", "net.tflite", "--ram", "much", "-o", "x.ttp"], "96k"),
        (["compile", "net.tflite", "--policy", "plan:none.json", "-o", "x.ttp"], "none.json"),
        (["train", "net.ttp", "--data", "nothing"], "--data"),
        (["train", "net.ttp", "--data", "data.npz", "--epochs", "0"], "--epochs"),
        (["simulate", "net.ttp", "--steps", "0"], "--steps"),
        (["verify", "net.tflite", "-n", "0"], "-n 0"),
    ],
)
def test_refusals_name_the_cure(here, capsys, words, part):
    assert part in refused(capsys, *words)
    assert not (here / "x.ttp").exists()


def test_help_names_every_verb():
    said = subprocess.run(
        [sys.executable, "-m", "trimtab_tools.cli", "--help"], capture_output=True, text=True
    ).stdout
    assert all(verb in said for verb in cli.VERBS)


def test_an_autoencoder_trains_towards_its_input(here, capsys):
    b = Builder((1, 1, 12), seed=8, scale=0.02, zero=0)
    b.dense(6, act="relu", scale=0.03, zero=-128)
    b.dense(12, scale=0.02, zero=0)
    (here / "auto.tflite").write_bytes(write_tflite.write(b.graph()))
    x = np.random.RandomState(2).normal(0, 1, (30, 1, 1, 12)).astype(np.float32)
    np.savez("auto.npz", x=x)
    assert (
        cli.main(
            ["compile", "auto.tflite", "--policy", "full", "--loss", "mse", "--lr", "0.02", "-o", "auto.ttp"]
        )
        == 0
    )
    rows = result(capsys, "train", "auto.ttp", "--data", "auto.npz", "--val", "auto.npz", "--epochs", "6")
    assert rows[-1]["after"] < 0.8 * rows[-1]["before"]
    np.savez("wrong.npz", x=x, y=np.zeros((30, 5), np.float32))
    assert "5 values" in refused(capsys, "train", "auto.ttp", "--data", "wrong.npz")
    result(capsys, "pull", "auto.ttp", "-o", "auto2.tflite")
    (row,) = result(capsys, "verify", "auto2.tflite", "-n", "10")
    assert row["identical"] == 10


# -- refusals of a board


@pytest.fixture(scope="module")
def bare_pico():
    """Stock MicroPython, nothing else."""
    provide("pico")
    with Pico() as pico:
        yield pico


@pytest.mark.pico
def test_board_without_the_library(here, capsys, bare_pico):
    before = files(here)
    said = refused(capsys, "train", "net.ttp", "--data", "data.npz", "--port", bare_pico.url)
    assert "no trimtab library" in said and "trimtab deploy net.ttp" in said
    assert files(here) == before
    assert mpremote(bare_pico.url, "exec", "import os; print(os.listdir('/'))").strip() == "[]"


@pytest.mark.pico
def test_arena_larger_than_the_boards_ram(here, capsys):
    provide("pico")
    b = Builder((200, 200, 4), seed=1)
    b.conv(4, (3, 3), (2, 2), act="relu")
    b.pool("avg_pool", (100, 100), (1, 1))
    b.dense(2)
    (here / "big.tflite").write_bytes(write_tflite.write(b.graph()))
    assert cli.main(["compile", "big.tflite", "--policy", "full", "--classes", "2", "-o", "big.ttp"]) == 0
    before = files(here)
    said = refused(capsys, "simulate", "big.ttp", "--board", "pico", "--steps", "1", "--json")
    assert "bytes of arena" in said and "--ram" in said
    assert files(here) == before


# -- the table of verbs


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_explains_itself_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([verb, "--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    examples = [line for line in said.splitlines() if line.startswith("    trimtab ")]
    assert any(line.startswith(f"    trimtab {verb} ") for line in examples), said


def examples():
    """Every line of every --help that shows a command."""
    for verb in cli.VERBS:
        doc = importlib.import_module(f"trimtab_tools.cli.{verb}").__doc__
        yield from (
            line.split(">")[0].split() for line in doc.splitlines() if line.startswith("    trimtab ")
        )


@pytest.mark.parametrize("words", list(examples()), ids=" ".join)
def test_every_example_is_grammatical(words, monkeypatch):
    seen = []
    module = importlib.import_module(f"trimtab_tools.cli.{words[1]}")
    monkeypatch.setattr(module, "run", seen.append)
    assert cli.main(words[1:]) == 0 and len(seen) == 1


def test_help_reads_only_the_table():
    code = "import sys; from trimtab_tools import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(*sorted(m for m in sys.modules if m.startswith(('trimtab_tools', 'numpy', 'serial'))))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert out.splitlines()[-1].split() == ["trimtab_tools", "trimtab_tools.cli", "trimtab_tools.errors"]
