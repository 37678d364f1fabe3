"""Let the samples of a task say which layers and channels to train, as TinyTrain does; writes a plan.

For example:

    trimtab choose net.tflite --data photos --budget 50 -o plan.json
    trimtab compile net.tflite --policy plan:plan.json -o net.ttp
"""

import json
from argparse import ArgumentParser, Namespace

from .. import output
from ..errors import UsageError
from . import options
from .shared import labelled, progress, read_model, say


def grammar(p: ArgumentParser) -> None:
    options.model(p)
    p.add_argument("--data", required=True, help=f"samples of the task: {options.DATA}")
    p.add_argument(
        "--budget",
        type=float,
        required=True,
        metavar="KB",
        help="extra memory: trained channels and their residuals, biases, kept inputs and masks",
    )
    p.add_argument(
        "--macs",
        default="0.15",
        metavar="SHARE",
        help="share of the products of a backward pass that trains everything (default 0.15)",
    )
    p.add_argument("--ratio", default="1/4", help="share of a chosen layer's channels (default 1/4)")
    options.head(p)
    p.add_argument(
        "--layers", type=int, metavar="K", help="choose among the last K layers (default: 44 %% of them)"
    )
    p.add_argument(
        "--epochs",
        type=int,
        default=1,
        help="in which the head trains before the samples are judged (default 1)",
    )
    options.rate(p)
    options.residual(p)
    p.add_argument("-o", "--output", required=True, help="the plan, .json")


def run(args: Namespace) -> None:
    from ..lab import tinytrain

    graph = read_model(args)
    x, y, names = labelled(args, graph, "a choice")
    if args.epochs < 0:
        raise UsageError(f"--epochs {args.epochs} is out of range: use 0 or more")
    samples = [(row.ravel(), int(label)) for row, label in zip(x, y)]
    with progress(args, "choose") as step:
        found = tinytrain.choice(
            graph,
            samples,
            round(args.budget * 1024),
            options.share(args.macs, "--macs"),
            options.share(args.ratio, "--ratio"),
            args.layers,
            args.epochs,
            step,
            labels=tuple(names),
            classes=args.classes,
            head=args.head,
            rate=args.lr,
            residual=args.residual,
            pixels=options.pixels(args.pixels),
        )
    output.write(args.output, json.dumps(found, indent=1) + "\n")
    about = ", ".join(f"{u['layer']} ({len(u['weight_channels'])})" for u in found["updates"])
    text = (
        f"{args.output}: channels of {about}; {found['bytes']} bytes, {100 * found['share']:.1f} % of a full "
        f"backward pass; train it with --policy plan:{args.output}"
    )
    say(args, {"plan": args.output, **found}, text)
