"""Find which of several packages learns a task best: each trains on most of the samples, the rest judge.

For example:

    trimtab rank small.ttp large.ttp --data photos
"""

from argparse import ArgumentParser, Namespace
from dataclasses import asdict

from ..errors import UsageError
from . import options
from .shared import progress, say


def grammar(p: ArgumentParser) -> None:
    p.add_argument("packages", nargs="+", metavar="package", help="packages of one task, .ttp")
    p.add_argument("--data", required=True, help=f"samples of the task: {options.DATA}")
    p.add_argument("--epochs", type=int, default=5, help="on three quarters of the samples (default 5)")
    p.add_argument(
        "--seed", type=int, default=0, help="decides the order of samples and which judge (default 0)"
    )


def run(args: Namespace) -> None:
    from ..lab.rank import rank

    if args.epochs < 1:
        raise UsageError(f"--epochs {args.epochs} is out of range: use 1 or more")
    with progress(args, "rank") as step:
        places = rank(args.packages, args.data, args.epochs, seed=args.seed, progress=step)
    say(args, {"places": [asdict(p) for p in places]}, "\n".join(map(_line, places)))


def _line(p):
    accuracy = f"{100 * p.accuracy:5.1f} % +- {100 * p.error:.1f}"
    return f"{accuracy}  arena {p.arena_bytes}, state {p.state_bytes}  {p.package}"
