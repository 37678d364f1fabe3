"""Send samples to a board that trains on them; evaluates before and after, and saves at the end.

For example:

    trimtab train person.ttp --data photos --val more-photos --epochs 5
    trimtab train person.ttp --data photos --port /dev/ttyACM0

Ctrl-C saves on the board. The same command goes on where a run was cut.
"""

from argparse import ArgumentParser, Namespace

from . import options, shared


def grammar(p: ArgumentParser) -> None:
    p.add_argument("package")
    p.add_argument("--data", required=True, help=options.DATA)
    p.add_argument("--val", help="samples to evaluate before and after, in the same form")
    p.add_argument(
        "--add",
        metavar="NAMES",
        help="classes that the data has beyond the package's: names with commas; the "
        "board adds those that it does not know (compile with --max-classes)",
    )
    options.board(p)
    options.port(p, "none: the board is emulated")
    p.add_argument("--epochs", type=int, default=1, help="passes over the samples (default 1)")
    p.add_argument("--seed", type=int, default=0, help="of the order of samples (default 0)")
    p.add_argument("--resume", action="store_true", help="go on with the run that was cut, or refuse")
    p.add_argument(
        "--restart", action="store_true", help="begin anew, from what the board knows, even if a run was cut"
    )
    options.key(p)
    p.add_argument("--save-every", type=int, default=0, metavar="N", help="save on the board every N steps")
    p.add_argument("--logdir", help="folder for TensorBoard logs")


def run(args: Namespace) -> None:
    from ..boards import train
    from ..boards.progress import Lines

    train.train(
        args.package,
        args.data,
        val=args.val,
        add=tuple(args.add.split(",")) if args.add else (),
        board=args.port or args.board,
        kernels=args.kernels,
        epochs=args.epochs,
        seed=args.seed,
        resume=args.resume,
        restart=args.restart,
        save_every=args.save_every,
        logdir=args.logdir,
        key=shared.key(args),
        out=Lines(args.json),
    )
