"""Deploy, on an emulated Pico: what a user does with a package and a board."""

import socket

import pytest
from helpers import provide
from talk import tell
from trimtab.package import PackageError
from trimtab_tools.boards import deploy
from trimtab_tools.boards.files import kernels_for, library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.errors import BoardError
from trimtab_tools.link import repl


@pytest.fixture(scope="module")
def stock():
    provide("pico")
    with Pico() as board:
        yield board


@pytest.mark.pico
def test_deploy_copies_what_is_missing_and_then_what_changed(stock, package):
    seen = []
    result = deploy.deploy(stock.url, package, lambda done, total: seen.append((done, total)))
    code = "import trimtab; net = trimtab.load('net.ttp'); print(net.self_test(), net.kernels)"
    assert tell(stock, code) == "True c"
    assert (result["architecture"], result["library"], result["kernels"]) == ("armv6m", "copied", "c")
    assert "/net.ttp" in result["copied"] and "/lib/_kernels.mpy" in result["copied"]
    assert seen[-1] == (result["bytes"], result["bytes"]) and seen == sorted(seen)
    assert deploy.deploy(stock.url, package)["copied"] == []
    tell(
        stock,
        "f = open('/lib/trimtab/net.mpy', 'r+b'); f.seek(100); f.write(b'?'); f.close(); "
        "open('/lib/trimtab/net.py', 'w').close()",
    )
    assert deploy.deploy(stock.url, package)["copied"] == ["/lib/trimtab/net.mpy"]
    assert "net.py" not in tell(stock, "import os; print(os.listdir('/lib/trimtab'))")


def test_boards_get_the_fastest_kernels_that_are_proven():
    kinds = {arch: kernels_for(arch) for arch in ("armv6m", "rv32imc", "xtensawin", "armv6", "xtensa", None)}
    assert list(kinds.values()) == ["c", "c", "viper", "viper", "plain", "plain"]
    files = library_files("xtensawin")
    assert "/lib/trimtab/kernels_viper.mpy" in files and "/lib/_kernels.mpy" not in files
    assert not any("viper" in path or "_kernels" in path for path in library_files(None))


@pytest.mark.parametrize(
    "mpy, arch",
    [
        (0x1306, "armv6m"),
        (0x0B06, "x64"),
        (0x1B06, "armv7m"),
        (0x2E06, "rv32imc"),
        (0x0006, None),
        (0x2606, "xtensa"),
        (0x2A06, "xtensawin"),
        (0x3E06, None),
    ],
)
def test_architecture_of_a_board(mpy, arch):
    assert deploy.architecture(mpy) == arch


def test_damaged_package_is_refused_before_the_board_is_touched(package, tmp_path):
    cut = tmp_path / "cut.ttp"
    cut.write_bytes(package.read_bytes()[:-5])
    with pytest.raises(PackageError, match="cut short"):
        deploy.deploy("socket://127.0.0.1:1", cut)


@pytest.mark.pico
def test_too_little_flash_is_refused_before_anything_is_written(stock):
    with repl.connected(stock.url) as board:
        about = deploy.ask(board)
        with pytest.raises(BoardError, match="KB of free flash and has"):
            deploy.push(board, about, {"/big": bytes(2_000_000)}, lambda done, total: None)
        assert board.eval("there('/big')") is None


def test_port_that_is_not_there(package):
    for port in ("/dev/no-such-port", "socket://127.0.0.1:1"):
        with pytest.raises(BoardError, match="cannot be opened: plug the board in"):
            deploy.deploy(port, package)


def test_board_that_does_not_answer(package, monkeypatch):
    monkeypatch.setattr(repl, "SECONDS", 0.2)
    monkeypatch.setattr(repl.SerialTransport.enter_raw_repl, "__defaults__", (True, 0.5))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(BoardError, match="does not answer: reset it"):
            deploy.deploy(f"socket://127.0.0.1:{silent.getsockname()[1]}", package)
