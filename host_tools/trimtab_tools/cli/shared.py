"""What several verbs do: read a model, compile it, find the board, show progress, say the result."""

from __future__ import annotations

import contextlib
import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from . import options

if TYPE_CHECKING:
    from ..compiler.compile import Compiled
    from ..graph.ir import Graph


def read_model(args: Namespace) -> Graph:
    """The graph of a model file, whose name tells its format."""
    if args.model.endswith((".keras", ".h5")):
        import numpy as np

        from ..formats import read_keras, read_tflite

        if not args.samples:
            raise UsageError("a Keras model is quantized with samples: give --samples FILE.npz")
        return read_tflite.read(read_keras.quantize(args.model, np.load(args.samples)["x"]))
    if args.model.endswith((".npz", ".pkl")):
        from ..formats import read_checkpoint

        return read_checkpoint.read(args.model)
    from ..formats import read_tflite

    return read_tflite.read(args.model)


def compiled(args: Namespace, curve: bool = False) -> Compiled:
    """The model compiled with the options of options.plan. Refuses a plan that needs more than --ram.

    curve: say what every size of the arena would buy.
    """
    from ..boards import simulated
    from ..compiler import compile
    from ..policies.policy import Request

    made = compile.compile_graph(
        read_model(args),
        name=Path(args.model).stem,
        policy=Request.of(args.policy, args.scheme),
        labels=options.labels(args),
        classes=args.classes,
        loss=args.loss,
        rate=args.lr,
        accumulate=args.accumulate,
        residual=args.residual,
        max_classes=args.max_classes,
        optimizer=args.optimizer,
        head=args.head,
        pixels=options.pixels(args.pixels),
        kernels=simulated.best_tier(),
        ram=options.blocks(args.ram),
        curve=curve,
    )
    if args.ram:
        options.check_ram(made.placement.size, made.program_state_bytes, args.ram)
    return made


def labelled(args: Namespace, graph: Graph, purpose: str) -> tuple:
    """Training samples for a graph as (x, y, names of the classes). Refuses samples without labels."""
    from .. import samples

    shape = graph[graph.inputs[0]].shape[1:]
    x, y, names = samples.load(args.data, options.labels(args), shape, args.classes or None, "train")
    if y is None:
        raise UsageError(f"{args.data} has no labels: {purpose} needs samples of every class")
    return x, y, names


def port(args: Namespace) -> str:
    """The port from --port, or that of the only board."""
    if args.port:
        return args.port
    from serial.tools.list_ports import comports

    found = [p.device for p in comports() if p.vid]
    if len(found) != 1:
        raise UsageError(f"there are {len(found)} boards on this machine's ports: name one with --port")
    return found[0]


def key(args: Namespace) -> bytes | None:
    from ..boards import key

    return key.read(args.key) if args.key else None


@contextlib.contextmanager
def progress(args: Namespace, what: str) -> Iterator[Callable[[int, int], None]]:
    """A line of progress with the time left, on stderr; nothing with --json."""
    from ..boards.progress import bar

    with bar(not args.json) as shown:
        task = shown.add_task(what, total=None, speed="")
        yield lambda done, total: shown.update(task, completed=done, total=total)


def say(args: Namespace, data: dict, text: str) -> None:
    print(json.dumps(data) if args.json else text)
