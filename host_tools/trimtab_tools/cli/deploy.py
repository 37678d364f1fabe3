"""Copy library, kernels and package to a board with MicroPython. Only what differs is copied.

For example:

    trimtab deploy person.ttp
    trimtab deploy person.ttp --port /dev/ttyACM0
    trimtab deploy person.ttp --cores 1
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from . import options
from .shared import port, progress, say


def grammar(p: ArgumentParser) -> None:
    p.add_argument("package")
    options.port(p)
    p.add_argument(
        "--cores",
        type=int,
        choices=(1, 2),
        default=2,
        help="with 1, a Pico's second core is left to your program, and the kernels take 2 KB less",
    )


def run(args: Namespace) -> None:
    from ..boards import deploy

    with progress(args, "deploy") as step:
        result = deploy.deploy(port(args), args.package, step, args.cores)
    name = Path(args.package).name
    say(args, result, f"{args.package} is on the board: import trimtab; net = trimtab.load({name!r})")
