"""Flash, on an emulated Pico: what a user does with a new board."""

import pytest
import trimtab
from helpers import provide
from talk import tell
from trimtab_tools.boards import deploy, flash
from trimtab_tools.boards.files import LAYOUTS
from trimtab_tools.boards.pico import Pico
from trimtab_tools.errors import BoardError
from trimtab_tools.link.repl import wait_for_prompt
from trimtab_tools.toolchain import firmware


@pytest.fixture(scope="module")
def flashed():
    """A board that had stock firmware and a file, and was flashed."""
    provide("pico")
    with Pico(files={"/old": b"stock"}) as board:
        assert tell(board, "import sys; print(sys.implementation._build)") == "RPI_PICO"
        flash.flash(board.url, volume=board.volume)
        wait_for_prompt(board.url)
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
    folder = firmware.pico("trimtab")
    blocks = (folder / "firmware.uf2").read_bytes()
    data = b"".join(blocks[i + 32 : i + 32 + 256] for i in range(0, len(blocks), 512))
    code = (folder / "firmware.bin").read_bytes()
    assert data[: len(code)] == code and len(code) <= LAYOUTS["trimtab"].romfs_start
