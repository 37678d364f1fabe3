"""Flash and deploy, on an emulated Pico: what a user does with a new board."""

import socket

import pytest
import trimtab
from boards import tell
from helpers import compiled, provide
from models import Builder
from trimtab.package import PackageError
from trimtab_tools.boards import deploy, emulated, flash
from trimtab_tools.errors import BoardError
from trimtab_tools.toolchain import builds


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    b = Builder((6, 6, 1), seed=5)
    b.conv(4, act="relu")
    b.dense(3)
    path = tmp_path_factory.mktemp("package") / "net.ttp"
    path.write_bytes(compiled(b.graph(), "bias").data)
    return path


@pytest.fixture(scope="module")
def stock():
    provide("pico")
    with emulated.Pico() as board:
        yield board


# -- deploy --------------------------------------------------------------------------------------------------


@pytest.mark.pico
def test_deploy_copies_what_is_missing_and_the_board_trains(stock, package):
    seen = []
    result = deploy.deploy(stock.url, package, lambda done, total: seen.append((done, total)))
    assert (result["architecture"], result["library"], result["kernels"]) == ("armv6m", "copied", "c")
    assert "/net.ttp" in result["copied"] and "/lib/_kernels.mpy" in result["copied"]
    assert seen[-1] == (result["bytes"], result["bytes"]) and seen == sorted(seen)
    said = tell(stock, "import trimtab; net = trimtab.load('net.ttp'); print(net.self_test(), net.kernels)")
    assert said == "True c", said


@pytest.mark.pico
def test_deploy_again_copies_only_what_changed(stock, package):
    deploy.deploy(stock.url, package)
    assert deploy.deploy(stock.url, package)["copied"] == []
    tell(
        stock,
        "f = open('/lib/trimtab/net.mpy', 'r+b'); f.seek(100); f.write(b'?'); f.close(); "
        "open('/lib/trimtab/net.py', 'w').close()",
    )
    assert deploy.deploy(stock.url, package)["copied"] == ["/lib/trimtab/net.mpy"]
    assert "net.py" not in tell(stock, "import os; print(os.listdir('/lib/trimtab'))")


def test_boards_get_the_fastest_kernels_that_are_proven():
    kinds = {
        arch: emulated.kernels_for(arch)
        for arch in ("armv6m", "rv32imc", "xtensawin", "armv6", "xtensa", None)
    }
    assert list(kinds.values()) == ["c", "c", "viper", "viper", "plain", "plain"]
    files = emulated.library_files("xtensawin")
    assert "/lib/trimtab/kernels_viper.mpy" in files and "/lib/_kernels.mpy" not in files
    assert not any("viper" in path or "_kernels" in path for path in emulated.library_files(None))


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
    with deploy.connected(stock.url) as board:
        about = deploy.ask(board)
        with pytest.raises(BoardError, match="KB of free flash and has"):
            deploy.push(board, about, {"/big": bytes(2_000_000)}, lambda done, total: None)
        assert board.eval("there('/big')") is None


def test_port_that_is_not_there(package):
    for port in ("/dev/no-such-port", "socket://127.0.0.1:1"):
        with pytest.raises(BoardError, match="cannot be opened: plug the board in"):
            deploy.deploy(port, package)


def test_board_that_does_not_answer(package, monkeypatch):
    monkeypatch.setattr(deploy, "SECONDS", 0.2)
    monkeypatch.setattr(deploy.SerialTransport.enter_raw_repl, "__defaults__", (True, 0.5))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with pytest.raises(BoardError, match="does not answer: reset it"):
            deploy.deploy(f"socket://127.0.0.1:{silent.getsockname()[1]}", package)


# -- flash ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flashed():
    """A board that had stock firmware and a file, and was flashed."""
    provide("pico")
    with emulated.Pico(files={"/old": b"stock"}) as board:
        assert tell(board, "import sys; print(sys.implementation._build)") == "RPI_PICO"
        flash.flash(board.url, volume=board.volume)
        emulated.wait_for_prompt(board.url)
        yield board


@pytest.mark.pico
def test_flashed_board_has_the_library_frozen_and_c_kernels(flashed):
    said = tell(
        flashed,
        "import sys, trimtab, _kernels; from trimtab import kernels; "
        "print(sys.implementation._build, trimtab.__file__, kernels.choose().name)",
    )
    assert said == "TRIMTAB_PICO trimtab/__init__.py c"


@pytest.mark.pico
def test_flashed_board_needs_only_the_package(flashed, package):
    result = deploy.deploy(flashed.url, package)
    assert result["library"] == "firmware" and result["copied"] == ["/net.ttp"]
    said = tell(flashed, "import trimtab; net = trimtab.load('net.ttp'); print(net.self_test(), net.kernels)")
    assert said == "True c", said


@pytest.mark.pico
def test_firmware_of_another_version_is_refused(flashed, package, monkeypatch):
    monkeypatch.setattr(trimtab, "__version__", "9.9")
    with pytest.raises(BoardError, match="holds trimtab .* and this is 9.9: run trimtab flash"):
        deploy.deploy(flashed.url, package)


def test_flash_refuses_what_it_cannot_do(tmp_path, monkeypatch):
    monkeypatch.setattr(flash, "SECONDS", 0)
    with pytest.raises(BoardError, match="choose one of rpi_pico"):
        flash.flash(board="toaster")
    with pytest.raises(BoardError, match="there is no .*none.uf2"):
        flash.flash(uf2=tmp_path / "none.uf2")
    some = tmp_path / "some.uf2"
    some.write_bytes(bytes(512))
    with pytest.raises(BoardError, match="no volume RPI-RP2 appeared: hold BOOTSEL"):
        flash.flash(uf2=some, volume=tmp_path / "nowhere")
    with pytest.raises(BoardError, match="did not enter its bootloader"):
        flash.flash("/dev/no-such-port", uf2=some)


def test_a_volume_that_does_not_take_the_firmware(tmp_path, monkeypatch):
    monkeypatch.setattr(flash, "SECONDS", 0.5)
    (tmp_path / flash.INFO).write_text("UF2 Bootloader")
    some = tmp_path / "some.uf2"
    some.write_bytes(bytes(512))
    with pytest.raises(BoardError, match="is it a firmware for rpi_pico"):
        flash.flash(uf2=some, volume=tmp_path)
    assert (tmp_path / "firmware.uf2").read_bytes() == bytes(512)


@pytest.mark.pico
def test_uf2_holds_the_firmware():
    provide("firmware")
    folder = builds.pico_firmware("trimtab")
    blocks = (folder / "firmware.uf2").read_bytes()
    data = b"".join(blocks[i + 32 : i + 32 + 256] for i in range(0, len(blocks), 512))
    firmware = (folder / "firmware.bin").read_bytes()
    assert data[: len(firmware)] == firmware and len(firmware) <= emulated.LAYOUTS["trimtab"].romfs_start
