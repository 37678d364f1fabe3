"""Bring the tuned weights home from a board as .tflite or .keras.

For example:

    trimtab pull person.ttp --port /dev/ttyACM0 -o tuned.tflite
    trimtab pull net.ttp --port /dev/ttyACM0 --keras net.keras -o tuned.keras
"""

from argparse import ArgumentParser, Namespace

from . import options, shared


def grammar(p: ArgumentParser) -> None:
    p.add_argument("package")
    options.board(p)
    options.port(p, "none: the board is emulated")
    p.add_argument("-o", "--output", required=True, help="the tuned model, .tflite, or .keras with --keras")
    options.keras(p)
    options.key(p)


def run(args: Namespace) -> None:
    from ..boards.pull import pull

    with shared.progress(args, "pull") as step:
        size = pull(args.package, args.port or args.board, args.output, step, shared.key(args), args.keras)
    text = f"{args.output}: the tuned network, {size} bytes"
    shared.say(args, {"model": args.output, "bytes": size}, text)
