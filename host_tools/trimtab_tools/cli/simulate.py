"""Train some steps on an emulated board that has seen nothing; tells memory, time and a CRC of the state.

For example:

    trimtab simulate person.ttp
    trimtab simulate person.ttp --board pico --data photos --steps 20
"""

from argparse import ArgumentParser, Namespace

from . import options
from .shared import progress, say


def grammar(p: ArgumentParser) -> None:
    p.add_argument("package")
    options.board(p)
    p.add_argument("--steps", type=int, default=50, help="training steps (default 50)")
    p.add_argument(
        "--seed", type=int, default=0, help="of the noise, and of the order of samples (default 0)"
    )
    p.add_argument("--data", help=f"{options.DATA} (default: noise made from the seed)")


def run(args: Namespace) -> None:
    from ..boards import train

    with progress(args, "simulate") as step:
        result = train.simulate(
            args.package, args.board, args.kernels, args.steps, args.seed, args.data, step
        )
    say(args, result, "\n".join(f"{k}: {v}" for k, v in result.items() if k != "losses"))
