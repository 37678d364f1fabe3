"""Compare our kernels with TensorFlow Lite's reference kernels, bit for bit, on random inputs.

For example:

    trimtab verify person.tflite -n 1000

The exit code is 1 if any output differs.
"""

from argparse import ArgumentParser, Namespace

from ..errors import UsageError
from .shared import progress, say


def grammar(p: ArgumentParser) -> None:
    p.add_argument("model", help="an int8 .tflite file")
    p.add_argument("-n", type=int, default=200, help="inputs to try (default 200)")
    p.add_argument("--kernels", choices=("c", "plain"), help="which of ours (default: the fastest)")


def run(args: Namespace) -> int:
    from ..lab import verify

    if not 1 <= args.n <= 1000000:
        raise UsageError(f"-n {args.n} is out of range: use 1 to 1000000")
    with progress(args, "verify") as step:
        result = verify.verify(args.model, args.n, args.kernels, step)
    say(args, result, _text(result))
    return 0 if result["identical"] == result["outputs"] and not result["first_difference"] else 1


def _text(result):
    text = (
        f"{result['identical']} of {result['outputs']} output tensors identical to TensorFlow Lite's "
        "reference kernels"
    )
    first = result["first_difference"]
    if not first:
        return text
    return (
        f"{text}; first difference in layer {first['layer']} ({first['kind']}), input {first['input']}: "
        f"{first['elements']} of {first['of']} elements"
    )
