"""Put trimtab's firmware on a board: MicroPython with library and kernels inside. Its files are lost.

For example:

    trimtab flash --port /dev/ttyACM0
    trimtab flash --uf2 firmware.uf2
"""

from argparse import ArgumentParser, Namespace

from . import options
from .shared import say


def grammar(p: ArgumentParser) -> None:
    p.add_argument("--board", default="rpi_pico", help="which board it is (default rpi_pico)")
    options.port(p, "none: the board is in its boot mode")
    p.add_argument("--uf2", help="firmware to flash (default: built from the sources)")
    p.add_argument("--volume", help="folder where the boot volume is mounted (default: looked for)")


def run(args: Namespace) -> None:
    from ..boards import flash

    result = flash.flash(args.port, args.board, args.uf2, args.volume)
    say(args, {"flashed": str(result)}, "the board runs trimtab's firmware: import trimtab")
