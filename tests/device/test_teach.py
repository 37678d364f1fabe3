"""`trimtab train --add`: a board learns a class that the package does not name, and keeps it."""

import json

import numpy as np
import pytest
import trimtab
from helpers import fastest, provide
from toys import NAMES, lessons, package
from trimtab.format import LABEL_BYTES
from trimtab_tools import cli
from trimtab_tools.boards.connect import attach
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.errors import BoardError
from trimtab_tools.link.repl import mpremote


@pytest.fixture
def ttp(tmp_path):
    path = tmp_path / "digits.ttp"
    path.write_bytes(package(max_classes=10).data)
    return path


def photos(path, classes=9, n=40):
    """Digits below 9; the last one is called mug."""
    some = lessons(classes, n)
    x = np.stack([np.frombuffer(x, np.uint8).reshape(8, 8, 1) for x, _ in some])
    np.savez(path, x=x, y=np.array([(*NAMES, "mug")[y] for _, y in some]))
    return path


def taught(capsys, ttp, data, *options):
    capsys.readouterr()
    words = ["train", str(ttp), "--data", str(data), "--epochs=2", "--json", *options]
    assert cli.main(words) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def on_the_pc(ttp, folder, data, capsys):
    """The same lesson in a process of its own files: its CRC."""
    folder.mkdir()
    copy = folder / ttp.name
    copy.write_bytes(ttp.read_bytes())
    return taught(capsys, copy, data, "--add=mug")["state_crc"]


def test_a_class_is_taught(ttp, tmp_path, capsys):
    data = photos(tmp_path / "mugs.npz")
    first = taught(capsys, ttp, data, "--add=mug", "--val", str(data))
    assert first["steps"] == 80 and first["after"] > first["before"]
    net = trimtab.load(str(ttp), fastest())
    assert net.labels == (*NAMES, "mug") and net.state_crc() == first["state_crc"]
    more = taught(capsys, ttp, data, "--add=jug,mug")  # mug is known; jug has no sample yet
    net = trimtab.load(str(ttp), fastest())
    assert net.labels == (*NAMES, "mug", "jug") and net.state_crc() == more["state_crc"]
    again = taught(
        capsys, ttp, data, "--add=jug,mug"
    )  # their order does not matter: samples follow their names
    assert again["steps"] == 80 and trimtab.load(str(ttp), fastest()).labels == (*NAMES, "mug", "jug")


def test_refusals(ttp, tmp_path, capsys):
    data = photos(tmp_path / "mugs.npz")
    for options, why in (
        ((), "mug"),
        (("--add=mug,jug,tub",), "--max-classes 11"),
        (("--add=mug,a-very-long-name-of-a-mug",), f"1 to {LABEL_BYTES} bytes"),
    ):
        words = ["train", str(ttp), "--data", str(data), *options]
        assert cli.main(words) == 1
        assert why in capsys.readouterr().err


def test_asked_twice_it_is_added_once(ttp):
    """As after a broken line; and a reset does not forget what was saved."""
    with attach("sim", ttp) as client:
        assert [client.add_class(name) for name in ("mug", "mug", "jug", "c", "mug")] == [8, 8, 9, 0, 8]
        assert client.info["classes"] == 10
        with pytest.raises(BoardError, match="no room"):
            client.add_class("tub")
        for bad in ("", "x" * 17, "a\0b"):
            with pytest.raises(BoardError, match="1 to 16 bytes"):
                client.add_class(bad)
        client.save()
        assert client.refresh()["classes"] == 10
    assert trimtab.load(str(ttp), fastest()).labels == (*NAMES, "mug", "jug")


@pytest.mark.pico
@pytest.mark.slow
def test_a_pico_is_taught_and_remembers(ttp, tmp_path, capsys):
    """Added, trained, saved; after a reset still there, and the state is that of the PC."""
    provide("pico")
    data = photos(tmp_path / "mugs.npz")
    crc = on_the_pc(ttp, tmp_path / "pc", data, capsys)
    files = {**library_files("armv6m", "c", ttp.read_bytes()), "/" + ttp.name: ttp.read_bytes()}
    with Pico(files=files) as pico:
        assert taught(capsys, ttp, data, "--add=mug", "--port", pico.url)["state_crc"] == crc
        pico.reset()
        script = tmp_path / "tell.py"
        script.write_text(
            "import trimtab\nnet = trimtab.load('digits.ttp')\n"
            "print(net.labels[-1], net.classes, net.state_crc())"
        )
        assert mpremote(pico.url, "run", str(script)).split() == ["mug", "9", str(crc)]


@pytest.mark.pico
def test_a_class_is_added_at_the_prompt_of_a_pico(ttp, tmp_path):
    """The same with a replay, from the REPL: rows and state are those of the PC, before and after a reset."""
    provide("pico")
    some, new = lessons(8, 12), [x for x, y in lessons(9, 200, seed=3) if y == 8][:4]
    story = f"""
import trimtab
from trimtab.replay import Replay
from trimtab.crc import crc32
net = trimtab.load({{path!r}}, KERNELS)
replay = Replay(net, 10)
for x, y in {some!r}:
    replay.add(x, y)
net.add_class("mug")
for x in {new!r}:
    replay.train(x, "mug", times=3)
net.save()
replay.save()
again = trimtab.load({{path!r}}, KERNELS)
kept = crc32(Replay(again, 10).data[:34]), crc32(replay.data[:34])
print(net.state_crc(), crc32(replay.data), again.state_crc(), *kept)
"""
    said = []
    scope = {"print": lambda *words: said.extend(map(str, words))}
    exec(story.format(path=str(ttp)), {**scope, "KERNELS": fastest()})
    files = {**library_files("armv6m", "c", ttp.read_bytes()), "/" + ttp.name: ttp.read_bytes()}
    script = tmp_path / "story.py"
    script.write_text("KERNELS = None\n" + story.format(path=ttp.name))
    with Pico(files=files) as pico:
        assert mpremote(pico.url, "run", str(script)).split() == said
        pico.reset()
        script.write_text(
            f"import trimtab\nfrom trimtab.replay import Replay\nnet = trimtab.load({ttp.name!r})\n"
            "print(net.labels[-1], net.state_crc(), Replay(net, 10).kept)"
        )
        assert mpremote(pico.url, "run", str(script)).split() == ["mug", said[0], "10"]
