"""Write every tensor of a package as .npz, or the model as .tflite or .keras.

For example:

    trimtab export person.ttp -o tensors.npz
    trimtab export person.ttp --state person.ttp.s0 -o tuned.tflite
    trimtab export net.ttp --keras net.keras -o tuned.keras
"""

import io
from argparse import ArgumentParser, Namespace
from pathlib import Path

from .. import output
from . import options
from .shared import say

RUNNERS = {".tflite": "TensorFlow Lite", ".keras": "Keras"}


def grammar(p: ArgumentParser) -> None:
    p.add_argument("package")
    p.add_argument(
        "-o", "--output", required=True, help="tensors.npz, or model.tflite, or model.keras with --keras"
    )
    options.keras(p)
    p.add_argument("--state", help="a saved state (.s0 or .s1) whose weights take the place of the package's")


def run(args: Namespace) -> None:
    from ..compiler.package_reading import Contents, open_state

    contents = Contents(args.package, open_state(args.state) if args.state else None)
    runner = RUNNERS.get(Path(args.output).suffix)
    if runner:
        contents.write(args.output, args.keras)
        say(args, {"model": args.output}, f"{args.output}: the network as {runner} runs it")
        return
    tensors = contents.tensors()
    output.write(args.output, _npz(tensors))
    say(args, {"tensors": len(tensors), "file": args.output}, f"{args.output}: {len(tensors)} arrays")


def _npz(tensors):
    import numpy as np

    data = io.BytesIO()
    np.savez_compressed(data, **tensors)
    return data.getvalue()
