"""Make a key, put it on a board, sign packages. A board with a key obeys only those who have it.

For example:

    trimtab key make --key my.key
    trimtab key put --key my.key --port /dev/ttyACM0
    trimtab key sign person.ttp --key my.key
"""

from argparse import ArgumentParser, Namespace

from ..errors import UsageError
from . import options
from .shared import port, say


def grammar(p: ArgumentParser) -> None:
    p.add_argument(
        "action",
        choices=("make", "put", "sign"),
        help="make a new key; put it on a board, once; sign packages with it",
    )
    p.add_argument("packages", nargs="*", help="packages to sign")
    p.add_argument("--key", metavar="FILE", required=True, help="the file of the key; keep it to yourself")
    options.port(p)


def run(args: Namespace) -> None:
    ACTIONS[args.action](args)


def _make(args):
    from ..boards import key

    key.make(args.key)
    say(args, {"key": args.key}, f"{args.key} is a new key: put it on the board with trimtab key put")


def _put(args):
    from ..boards import key

    key.put(port(args), key.read(args.key))
    text = "the board obeys only this key from now on: sign its packages with trimtab key sign"
    say(args, {"key": args.key}, text)


def _sign(args):
    from ..boards import key

    if not args.packages:
        raise UsageError("there is nothing to sign: name a package")
    for package in args.packages:
        key.sign_file(package, key.read(args.key))
    say(args, {"signed": args.packages}, f"signed: {', '.join(args.packages)}")


ACTIONS = {"make": _make, "put": _put, "sign": _sign}
