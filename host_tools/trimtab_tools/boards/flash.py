"""Put trimtab's firmware on a board: mpremote's bootloader command, the boot volume, a copied .uf2."""

import glob
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import serial

from ..errors import BoardError
from ..link import repl
from ..toolchain import boards, firmware
from . import deploy

SECONDS = 60  # for the volume to appear, and for the board to come back
INFO = "INFO_UF2.TXT"  # what the boot ROM shows on its volume


class Target(NamedTuple):
    """A board for which there is firmware of ours."""

    firmware: Callable[[], Path]  # builds the .uf2
    volume: str  # the name of its boot volume


TARGETS = {"rpi_pico": Target(lambda: firmware.pico("trimtab") / "firmware.uf2", "RPI-RP2")}
MOUNTS = ("/media/*/{}", "/media/{}", "/run/media/*/{}", "/mnt/{}", "/Volumes/{}")
DRIVES = [f"{letter}:/" for letter in "DEFGHIJKLMNOPQRSTUVWXYZ"] if os.name == "nt" else []


def find_volume(name: str, volume: Path | str | None = None) -> Path | None:
    """The mounted boot volume."""
    places = (
        [volume]
        if volume
        else [place for mount in MOUNTS for place in glob.glob(mount.format(name))] + DRIVES
    )
    return next((Path(place) for place in places if (Path(place) / INFO).is_file()), None)


def wait_for(what: Callable[[], Any], seconds: float) -> Any:
    """Call `what` until it returns something true, at most for these seconds; returns its last result."""
    end = time.monotonic() + seconds
    found = what()
    while not found and time.monotonic() < end:
        time.sleep(0.2)
        found = what()
    return found


def enter_bootloader(port: str) -> None:
    """Reset a running board into its boot ROM."""
    try:
        repl.mpremote(port, "bootloader", timeout=30)
    except BoardError as error:
        raise BoardError(
            f"the board at {port} did not enter its bootloader: hold BOOTSEL while you plug it in and "
            f"leave --port out ({error})"
        ) from None


def copy(uf2: Path, volume: Path) -> None:
    """Copy the firmware. The volume may vanish while the last block is written, which is no error."""
    try:
        shutil.copyfile(uf2, volume / "firmware.uf2")
        if hasattr(os, "sync"):
            os.sync()
    except OSError:
        if (volume / INFO).is_file():
            raise BoardError(f"the firmware could not be copied to {volume}: is it writable?") from None


def answer(port: str) -> deploy.About | None:
    """What the board says about itself; None while it does not answer."""
    try:
        with repl.connected(port) as board:
            return deploy.ask(board)
    except (BoardError, serial.SerialException):
        return None


def flash(
    port: str | None = None,
    board: str = "rpi_pico",
    uf2: Path | str | None = None,
    volume: Path | str | None = None,
) -> Path:
    """Flash a board; returns the firmware's path. Without a port the board must be in its bootloader."""
    if board not in TARGETS:
        raise BoardError(f"no firmware for {board}: choose one of {', '.join(TARGETS)}")
    target = TARGETS[board]
    if uf2 and not Path(uf2).is_file():
        raise BoardError(f"there is no {uf2}: name a .uf2 file with --uf2, or leave --uf2 out")
    if not uf2:
        boards.provide("firmware")
    uf2 = Path(uf2 or target.firmware())
    if port:
        enter_bootloader(port)
    found = wait_for(lambda: find_volume(target.volume, volume), SECONDS)
    if not found:
        raise BoardError(
            f"no volume {target.volume} appeared: hold BOOTSEL while you plug the board in, mount its "
            "volume and name it with --volume"
        )
    copy(uf2, found)
    if not wait_for(lambda: not (found / INFO).is_file(), SECONDS):
        raise BoardError(f"the board did not take {uf2.name}: is it a firmware for {board}?")
    if port and not wait_for(lambda: answer(port), SECONDS):
        raise BoardError(f"the board at {port} did not come back: unplug it and plug it in again")
    return uf2
