"""The command on systems that are not POSIX, and ports with their names."""

import json
import subprocess
import sys

import numpy as np
import pytest
from models import Builder
from mpremote.transport import TransportError
from sources import ROOT
from trimtab_tools import cli
from trimtab_tools.formats import write_tflite
from trimtab_tools.link import repl, transport

SCRIPT = ROOT / "tests" / "support" / "without_posix.py"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    b = Builder((6, 6, 1), seed=5)
    b.conv(4, act="relu")
    b.dense(3)
    (tmp_path / "net.tflite").write_bytes(write_tflite.write(b.graph()))
    x = np.arange(8 * 36).reshape(8, 6, 6, 1).astype(np.uint8)
    np.savez("data.npz", x=x, y=np.array(["cat", "dog"] * 4))
    return tmp_path


def test_every_module_and_the_story_of_a_package_need_nothing_of_posix(here):
    simulate = "simulate", "net.ttp", "--steps", "2", "--json", "--kernels"
    story = [
        ("compile", "net.tflite", "--policy", "bias", "--labels", "cat,dog", "-o", "net.ttp"),
        ("plan", "net.tflite", "--policy", "full", "--classes", "2"),
        ("report", "net.tflite", "--classes", "2", "-o", "net.html"),
        (*simulate, "c"),
        (*simulate, "plain"),
        ("train", "net.ttp", "--data", "data.npz"),
        ("export", "net.ttp", "-o", "net.npz"),
        ("key", "make", "--key", "board.key"),
        ("key", "sign", "net.ttp", "--key", "board.key"),
    ]
    done = subprocess.run([sys.executable, SCRIPT, json.dumps(story)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules, *said = done.stdout.splitlines()
    assert int(modules) > 150
    crcs = [json.loads(line)["state_crc"] for line in said if line.startswith('{"state_crc')]
    assert len(crcs) == 2 and crcs[0] == crcs[1]


# -- names of ports


def test_a_port_of_windows_reaches_the_serial_library_as_it_is(here, monkeypatch, capsys):
    asked = []

    def refuse(name, *args, **kwargs):
        asked.append(name)
        raise TransportError("not here") if not kwargs else OSError("not here")

    monkeypatch.setattr(repl, "SerialTransport", refuse)
    monkeypatch.setattr(transport.serial, "serial_for_url", refuse)
    cli.main(["compile", "net.tflite", "--labels", "cat,dog", "-o", "net.ttp"])
    capsys.readouterr()
    for words in (
        ["deploy", "net.ttp"],
        ["train", "net.ttp", "--data", "data.npz"],
        ["pull", "net.ttp", "-o", "x.tflite"],
    ):
        assert cli.main([*words, "--port", "COM3"]) == 1
        assert "port COM3" in capsys.readouterr().err
    assert set(asked) == {"COM3"} and len(asked) >= 3


def test_a_port_that_windows_holds_for_another_program_is_in_use(monkeypatch):
    def held(name, **options):
        raise transport.serial.SerialException(
            "could not open port 'COM3': PermissionError(13, 'Access is denied.', None, 5)"
        )

    monkeypatch.setattr(transport.serial, "serial_for_url", held)
    with pytest.raises(transport.LinkError, match="port COM3 is in use: close the program"):
        transport.Serial("COM3")
