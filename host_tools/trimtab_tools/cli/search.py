"""Find which layers to train under a budget: trials on samples of the task, the best one written as a plan.

For example:

    trimtab search net.tflite --data photos --budget 49 -o plan.json
    trimtab search net.tflite --data photos --budget 100 --ram 200k --cycles 30000000 -o plan.json
    trimtab compile net.tflite --policy plan:plan.json -o net.ttp
"""

import functools
import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from .. import output
from . import options
from .shared import labelled, progress, read_model, say


def grammar(p: ArgumentParser) -> None:
    options.model(p)
    p.add_argument("--data", required=True, help=options.DATA)
    p.add_argument(
        "--budget", type=float, required=True, metavar="KB", help="extra memory by MCUNetV3's rule"
    )
    p.add_argument("--ram", help="most that arena and state may take together, for instance 200k")
    p.add_argument("--flash", help="most that the package may take")
    p.add_argument("--cycles", type=int, help="most that a training step may take on a Pico, estimated")
    p.add_argument(
        "--layers", help="layers whose weights may train, counted from 0 (default: all but depthwise ones)"
    )
    p.add_argument("--depths", help="numbers of last layers whose biases may train (default: every third)")
    p.add_argument("--ratios", help="shares of channels to try (default 1/8,1/4,1/2,1)")
    options.rate(p)
    p.add_argument("--epochs", type=int, default=2, help="of each trial (default 2)")
    p.add_argument("--seeds", type=int, default=1, help="trials of each kind (default 1)")
    p.add_argument(
        "--held-out",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="share of the samples that judge (default 0.25)",
    )
    p.add_argument("--workers", type=int, default=2, help="trials at a time on this machine (default 2)")
    p.add_argument("--ray", metavar="ADDRESS", help="run the trials on this Ray cluster instead")
    p.add_argument("-o", "--output", required=True, help="the plan, .json")


def run(args: Namespace) -> None:
    from ..lab import search
    from ..policies.plan import DEFAULT_RATE

    prepared = _prepared(args)
    space = search.Space.of(
        prepared.trunk,
        options.numbers(args.layers, int),
        options.numbers(args.depths, int),
        options.numbers(args.ratios, options.fraction) or search.RATIOS,
    )
    ram, flash = (options.size(word, word) if word else None for word in (args.ram, args.flash))
    found = search.search(
        prepared,
        search.Budget(args.budget, ram, flash, args.cycles),
        space,
        search.Recipe(args.lr or DEFAULT_RATE, args.epochs, tuple(range(args.seeds))),
        runner=_runner(args),
        stage=functools.partial(progress, args),
    )
    output.write(args.output, json.dumps(search.updates(prepared, found["scheme"]), indent=1) + "\n")
    text = (
        f"{args.output}: scheme {found['scheme']}, {found['kilobytes']} KB, {found['accuracy']:.1f} % of "
        f"{len(prepared.y_test)} samples held out; train it with --policy plan:{args.output}"
    )
    say(args, {"plan": args.output, **found}, text)


def _prepared(args):
    """The samples as the frozen layers pass them on, so that no trial runs those layers again."""
    from ..lab import experiment

    graph = read_model(args)
    x, y, names = labelled(args, graph, "a search")
    classes = len(names) or args.classes or int(y.max()) + 1
    whole = experiment.Data(Path(args.data).name, x[None], y, x[:0], y[:0], classes)
    with progress(args, "frozen layers") as step:
        return experiment.Prepared(graph, whole.held_out(args.held_out), options.pixels(args.pixels), step)


def _runner(args):
    from ..lab import runners

    return runners.cluster(args.ray) if args.ray else functools.partial(runners.local, workers=args.workers)
