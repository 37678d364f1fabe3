"""The command `trimtab`: one table of verbs; errors are caught once, here, and end in one sentence and exit code 1."""

import argparse
import contextlib
import functools
import itertools
import json
import sys
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

from trimtab import __version__
from trimtab.package import PackageError

from ..boards import train
from ..boards.connect import NAMES
from ..errors import ModelError, UsageError
from ..policies.plan import DEFAULT_RATE

RUNNERS = {".tflite": "TensorFlow Lite", ".keras": "Keras"}

# -- verbs


def do_compile(args):
    from ..compiler import compile

    graph = _read_model(args)
    made = compile.compile_graph(graph, name=Path(args.model).stem, **_plan_options(args))
    if args.ram:
        _check_ram(made, args.ram)
    Path(args.output).write_bytes(made.data)
    memory = {
        "package": args.output,
        "bytes": len(made.data),
        "arena_bytes": made.placement.size,
        "state_bytes": made.program_state_bytes,
        "lower_bound_bytes": made.placement.lower_bound,
    }
    _say(
        args,
        memory,
        f"{args.output}: {len(made.data)} bytes, arena {made.placement.size}, "
        f"state {made.program_state_bytes} (arena at least {made.placement.lower_bound})",
    )


def do_plan(args):
    from ..compiler import compile
    from ..compiler import facts as report

    made = compile.compile_graph(_read_model(args), name=Path(args.model).stem, **_plan_options(args))
    if args.ram:
        _check_ram(made, args.ram)
    summary = report.summary(made)
    _say(args, summary, report.table(made) if not args.json else "")


def do_search(args):
    from .. import samples as data
    from ..lab import experiment, runners, search

    graph = _read_model(args)
    x, y, names = data.load(
        args.data, _labels(args), graph[graph.inputs[0]].shape[1:], args.classes or None, "train"
    )
    if y is None:
        raise UsageError(f"{args.data} has no labels: a search needs samples of every class")
    whole = experiment.Data(
        Path(args.data).name, x[None], y, x[:0], y[:0], len(names) or args.classes or int(y.max()) + 1
    )
    with _progress(args, "frozen layers") as step:
        prepared = experiment.Prepared(graph, whole.held_out(args.held_out), _pixels(args.pixels), step)
    space = search.Space.of(
        prepared.trunk,
        _numbers(args.layers, int),
        _numbers(args.depths, int),
        _numbers(args.ratios, lambda word: float(Fraction(word))) or search.RATIOS,
    )
    budget = search.Budget(
        args.budget, *(_size(word, word) if word else None for word in (args.ram, args.flash)), args.cycles
    )
    runner = runners.cluster(args.ray) if args.ray else functools.partial(runners.local, workers=args.workers)
    found = search.search(
        prepared,
        budget,
        space,
        search.Recipe(args.lr or DEFAULT_RATE, args.epochs, tuple(range(args.seeds))),
        runner=runner,
        stage=functools.partial(_progress, args),
    )
    Path(args.output).write_text(json.dumps(search.updates(prepared, found["scheme"]), indent=1) + "\n")
    _say(
        args,
        {"plan": args.output, **found},
        f"{args.output}: scheme {found['scheme']}, {found['kilobytes']} KB, {found['accuracy']:.1f} % of {len(prepared.y_test)} "
        f"samples held out; train it with --policy plan:{args.output}",
    )


def do_choose(args):
    from .. import samples as data
    from ..lab import tinytrain

    graph = _read_model(args)
    x, y, names = data.load(
        args.data, _labels(args), graph[graph.inputs[0]].shape[1:], args.classes or None, "train"
    )
    if y is None:
        raise UsageError(f"{args.data} has no labels: a choice needs samples of every class")
    if args.epochs < 0:
        raise UsageError(f"--epochs {args.epochs} is out of range: use 0 or more")
    samples = [(row.ravel(), int(label)) for row, label in zip(x, y)]
    shares = [_share(text, option) for text, option in ((args.macs, "--macs"), (args.ratio, "--ratio"))]
    with _progress(args, "choose") as step:
        found = tinytrain.choice(
            graph,
            samples,
            round(args.budget * 1024),
            *shares,
            args.layers,
            args.epochs,
            step,
            labels=tuple(names),
            classes=args.classes,
            head=args.head,
            rate=args.lr,
            residual=args.residual,
            pixels=_pixels(args.pixels),
        )
    Path(args.output).write_text(json.dumps(found, indent=1) + "\n")
    about = ", ".join(f"{u['layer']} ({len(u['weight_channels'])})" for u in found["updates"])
    _say(
        args,
        {"plan": args.output, **found},
        f"{args.output}: channels of {about}; {found['bytes']} bytes, {100 * found['share']:.1f} % of a full backward "
        f"pass; train it with --policy plan:{args.output}",
    )


def do_rank(args):
    from ..lab.rank import rank

    if args.epochs < 1:
        raise UsageError(f"--epochs {args.epochs} is out of range: use 1 or more")
    with _progress(args, "rank") as step:
        places = rank(args.packages, args.data, args.epochs, seed=args.seed, progress=step)
    lines = [
        f"{100 * p.accuracy:5.1f} % +- {100 * p.error:.1f}  arena {p.arena_bytes}, state {p.state_bytes}  {p.package}"
        for p in places
    ]
    _say(args, {"places": [asdict(p) for p in places]}, "\n".join(lines))


def do_report(args):
    from ..compiler import compile
    from ..compiler import facts as report
    from ..compiler.package_reading import Contents
    from ..report import page

    if args.model.endswith(".ttp"):
        c = Contents(args.model)
        name, notes, labels, size = c.name, c.notes, c.labels, Path(args.model).stat().st_size
        if "report" not in notes:
            raise UsageError(f"{args.model} has no facts for a report: compile it with a --policy")
        facts = notes["report"]
        plan = {"policy": notes["policy"], "loss": notes["loss"], "rate": notes["rate"], "labels": labels}
    else:
        name = Path(args.model).stem
        made = compile.compile_graph(_read_model(args), name=name, **_plan_options(args))
        facts, size = report.facts(made.trunk, made.plan, made.program, made.placement), len(made.data)
        plan = {
            "policy": made.plan.policy,
            "loss": made.plan.loss,
            "rate": made.plan.rate,
            "labels": made.plan.labels,
        }
    log = report.read_log(args.log) if args.log else ()
    Path(args.output).write_text(page.page(name, facts, plan, size, log), encoding="utf-8")
    _say(
        args, {"page": args.output, "buffers": len(facts["buffers"])}, f"{args.output}: open it in a browser"
    )


def do_verify(args):
    from ..lab import verify

    if not 1 <= args.n <= 1000000:
        raise UsageError(f"-n {args.n} is out of range: use 1 to 1000000")
    with _progress(args, "verify") as step:
        result = verify.verify(args.model, args.n, args.kernels, step)
    first = result["first_difference"]
    text = f"{result['identical']} of {result['outputs']} output tensors identical to TensorFlow Lite's reference kernels"
    if first:
        text += (
            f"; first difference in layer {first['layer']} ({first['kind']}), input {first['input']}: "
            f"{first['elements']} of {first['of']} elements"
        )
    _say(args, result, text)
    return 0 if result["identical"] == result["outputs"] and not first else 1


def do_export(args):
    import numpy as np

    from ..compiler.package_reading import Contents, open_state

    contents = Contents(args.package, open_state(args.state) if args.state else None)
    if args.output.endswith((".tflite", ".keras")):
        contents.write(args.output, args.keras)
        _say(
            args,
            {"model": args.output},
            f"{args.output}: the network as {RUNNERS[Path(args.output).suffix]} runs it",
        )
    else:
        tensors = contents.tensors()
        np.savez_compressed(args.output, **tensors)
        _say(args, {"tensors": len(tensors), "file": args.output}, f"{args.output}: {len(tensors)} arrays")


def do_info(args):
    from ..compiler.package_reading import Contents

    c = Contents(args.package)
    memory = c.notes["memory"]
    _say(
        args,
        {
            "name": c.name,
            "labels": c.labels,
            **memory,
            "notes": {
                k: c.notes[k] for k in c.notes if k not in ("graph", "activations", "trained", "memory")
            },
        },
        f"{c.name}: labels {', '.join(c.labels) or '(none)'}; arena {memory['arena_bytes']}, state {memory['state_bytes']}",
    )


def do_simulate(args):
    with _progress(args, "simulate") as step:
        result = train.simulate(
            args.package, args.board, args.kernels, args.steps, args.seed, args.data, step
        )
    _say(args, result, "\n".join(f"{k}: {v}" for k, v in result.items() if k != "losses"))


def do_train(args):
    lines = train.Lines(args.json)
    return train.train(
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
        key=_key(args),
        out=lines,
    )


def do_pull(args):
    with _progress(args, "pull") as step:
        size = train.pull(args.package, args.port or args.board, args.output, step, _key(args), args.keras)
    _say(args, {"model": args.output, "bytes": size}, f"{args.output}: the tuned network, {size} bytes")


def do_deploy(args):
    from ..boards import deploy

    with _progress(args, "deploy") as step:
        result = deploy.deploy(_port(args), args.package, step)
    _say(
        args,
        result or {},
        f"{args.package} is on the board: import trimtab; net = trimtab.load({Path(args.package).name!r})",
    )


def do_key(args):
    from ..boards import key

    if args.action == "make":
        key.make(args.key)
        _say(args, {"key": args.key}, f"{args.key} is a new key: put it on the board with trimtab key put")
    elif args.action == "put":
        key.put(_port(args), key.read(args.key))
        _say(
            args,
            {"key": args.key},
            "the board obeys only this key from now on: sign its packages with trimtab key sign",
        )
    else:
        if not args.packages:
            raise UsageError("there is nothing to sign: name a package")
        for package in args.packages:
            key.sign_file(package, key.read(args.key))
        _say(args, {"signed": args.packages}, f"signed: {', '.join(args.packages)}")


def do_flash(args):
    from ..boards import flash

    result = flash.flash(args.port, args.board, args.uf2, args.volume)
    _say(args, {"flashed": str(result)}, "the board runs trimtab's firmware: import trimtab")


# -- grammars


def _network(p, what=""):
    p.add_argument(
        "model",
        help=what + "an int8 .tflite file, a published .npz or .pkl checkpoint, or a .keras or .h5 model "
        "with --samples",
    )
    p.add_argument("--labels", help="names of the classes of a new head, with commas")
    p.add_argument("--classes", type=int, default=0, help="number of classes of a new head without names")
    p.add_argument(
        "--pixels", metavar="LOW,HIGH", help="real values of raw 0 and 255 (default: the input's whole range)"
    )
    p.add_argument("--samples", help=".npz with x: what a Keras model is quantized with")


def _model(p, what=""):
    _network(p, what)
    p.add_argument(
        "--policy",
        default="last",
        help="last, bias, full, sparse, tinytrain:K,budget=KB, "
        "mobiletl:BLOCKS, tinytl, or plan:FILE.json (default last)",
    )
    p.add_argument(
        "--scheme",
        help="a sparse update, with --policy sparse: a published one, mcunet-49kb and so on, or written "
        "out, 20:24=1/4,30=1 (biases of the last 20 layers, shares of layers 24 and 30)",
    )
    _head_option(p)
    p.add_argument(
        "--max-classes", type=int, default=0, metavar="N", help="room for classes that are added on the board"
    )
    p.add_argument("--loss", choices=("softmax", "mse"), default="softmax")
    p.add_argument("--lr", type=float, help="learning rate of one sample (default 0.001)")
    p.add_argument("--accumulate", type=int, default=1, metavar="N", help="samples for each update")
    p.add_argument(
        "--optimizer",
        default="sgd",
        help="sgd, or momentum[:SHARE]: each update goes on in the next ones "
        "(share 0.9); takes 2 bytes for each weight, 4 for each bias",
    )
    p.add_argument(
        "--residual", type=int, choices=(8, 4, 0), default=8, help="fraction bits kept beside int8 weights"
    )
    p.add_argument("--ram", help="refuse a plan whose arena and state need more, for instance 96k")


def _head_option(p):
    p.add_argument(
        "--head",
        choices=("dense", "prototype"),
        default="dense",
        help="prototype: classes are mean directions of few samples (default dense)",
    )


def argparse_compile(p):
    _model(p)
    p.add_argument("-o", "--output", required=True, help="the package, .ttp")


def argparse_plan(p):
    _model(p)


def argparse_search(p):
    _network(p)
    p.add_argument(
        "--data",
        required=True,
        help=".npz with x and y, or a folder with one folder of images for each class",
    )
    p.add_argument(
        "--budget", type=float, required=True, metavar="KB", help="extra memory by MCUNetV3's rule"
    )
    p.add_argument("--ram", help="most of arena and state together, for instance 200k")
    p.add_argument("--flash", help="most of the package")
    p.add_argument("--cycles", type=int, help="most of a training step on a Pico, estimated")
    p.add_argument(
        "--layers", help="layers whose weights may train, counted from 0 (default: all but depthwise ones)"
    )
    p.add_argument("--depths", help="numbers of last layers whose biases may train (default: every third)")
    p.add_argument("--ratios", help="shares of channels that are tried (default 1/8,1/4,1/2,1)")
    p.add_argument("--lr", type=float, help="learning rate of one sample (default 0.001)")
    p.add_argument("--epochs", type=int, default=2, help="of each trial (default 2)")
    p.add_argument("--seeds", type=int, default=1, help="trials of each kind (default 1)")
    p.add_argument(
        "--held-out",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="of the samples: they judge (default 0.25)",
    )
    p.add_argument("--workers", type=int, default=2, help="trials at a time on this machine (default 2)")
    p.add_argument("--ray", metavar="ADDRESS", help="run the trials on this Ray cluster instead")
    p.add_argument("-o", "--output", required=True, help="the plan, .json")


def argparse_choose(p):
    _network(p)
    p.add_argument(
        "--data", required=True, help="samples of the task: .npz with x and y, or a folder of class folders"
    )
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
        help="of the products of a backward pass that trains everything (default 0.15)",
    )
    p.add_argument("--ratio", default="1/4", help="share of a chosen layer's channels (default 1/4)")
    _head_option(p)
    p.add_argument(
        "--layers", type=int, metavar="K", help="choose among the last K layers (default: 44 %% of them)"
    )
    p.add_argument(
        "--epochs", type=int, default=1, help="of the head on the samples, before they are judged (default 1)"
    )
    p.add_argument("--lr", type=float, help="learning rate of one sample (default 0.001)")
    p.add_argument(
        "--residual", type=int, choices=(8, 4, 0), default=8, help="fraction bits kept beside int8 weights"
    )
    p.add_argument("-o", "--output", required=True, help="the plan, .json")


def argparse_rank(p):
    p.add_argument("packages", nargs="+", metavar="package", help="packages of one task, .ttp")
    p.add_argument(
        "--data", required=True, help="samples of the task: .npz with x and y, or a folder of class folders"
    )
    p.add_argument("--epochs", type=int, default=5, help="on three quarters of the samples (default 5)")
    p.add_argument("--seed", type=int, default=0, help="of the order of samples, and of which are held out")


def argparse_report(p):
    _model(p, "a package (.ttp), or a model: ")
    p.add_argument("-o", "--output", required=True, help="the page, .html")
    p.add_argument("--log", help="what trimtab train --json printed, for the curves")


def argparse_verify(p):
    p.add_argument("model", help="an int8 .tflite file")
    p.add_argument("-n", type=int, default=200, help="inputs to try (default 200)")
    p.add_argument("--kernels", choices=("c", "plain"), default="c")


def argparse_export(p):
    p.add_argument("package")
    p.add_argument(
        "-o", "--output", required=True, help="tensors.npz, or model.tflite, or model.keras with --keras"
    )
    _keras_option(p)
    p.add_argument("--state", help="a saved state (.s0 or .s1) to put in")


def argparse_info(p):
    p.add_argument("package")


def _boards(p, default="sim"):
    p.add_argument("--board", default=default, help=f"{', '.join(NAMES)} (emulated from pico on), or a port")
    p.add_argument("--kernels", choices=("c", "viper", "plain"), default="c")


def _key_option(p):
    p.add_argument("--key", metavar="FILE", help="the board's key (trimtab key)")


def _keras_option(p):
    p.add_argument(
        "--keras",
        metavar="FILE",
        help="the Keras model that was compiled, whose layers a .keras output keeps",
    )


def argparse_simulate(p):
    p.add_argument("package")
    _boards(p)
    p.add_argument("--steps", type=int, default=50)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--data", help=".npz or a folder of class folders; without it, noise made from the seed")


def argparse_train(p):
    p.add_argument("package")
    p.add_argument(
        "--data",
        required=True,
        help=".npz with x and y, or a folder with one folder of images for each class",
    )
    p.add_argument("--val", help="samples to evaluate before and after, in the same form")
    p.add_argument(
        "--add",
        metavar="NAMES",
        help="classes that the data has beyond the package's: names with commas; the "
        "board adds those that it does not know (compile with --max-classes)",
    )
    _boards(p)
    p.add_argument("--port", help="serial port of a board")
    p.add_argument("--epochs", type=int, default=1)
    p.add_argument("--seed", type=int, default=0, help="of the order of samples")
    p.add_argument(
        "--resume", action="store_true", help="refuse anything but going on with the run that was cut"
    )
    p.add_argument(
        "--restart", action="store_true", help="begin anew, from what the board knows, where a run was cut"
    )
    _key_option(p)
    p.add_argument("--save-every", type=int, default=0, metavar="N", help="save on the board every N steps")
    p.add_argument("--logdir", help="write TensorBoard logs there")


def argparse_pull(p):
    p.add_argument("package")
    _boards(p)
    p.add_argument("--port", help="serial port of a board")
    p.add_argument("-o", "--output", required=True, help="the tuned model, .tflite, or .keras with --keras")
    _keras_option(p)
    _key_option(p)


def argparse_key(p):
    p.add_argument(
        "action",
        choices=("make", "put", "sign"),
        help="make a new key; put it on a board, once; sign packages with it",
    )
    p.add_argument("packages", nargs="*", help="what to sign")
    p.add_argument("--key", metavar="FILE", required=True, help="the file of the key; keep it to yourself")
    p.add_argument("--port", help="serial port of the board (default: the only one)")


def argparse_deploy(p):
    p.add_argument("package")
    p.add_argument("--port", help="serial port of the board (default: the only one)")


def argparse_flash(p):
    p.add_argument("--board", default="rpi_pico")
    p.add_argument("--port", help="serial port of the board; without it the board must be in its boot mode")
    p.add_argument("--uf2", help="firmware to flash (default: built from the sources)")
    p.add_argument("--volume", help="folder where the boot volume is mounted")


VERBS = {
    "compile": (do_compile, argparse_compile, "make a package from a model"),
    "plan": (do_plan, argparse_plan, "what would be trained, and what it costs"),
    "search": (do_search, argparse_search, "find which layers to train under a budget"),
    "choose": (
        do_choose,
        argparse_choose,
        "let the samples of a task say which layers and channels to train",
    ),
    "rank": (do_rank, argparse_rank, "which of several packages learns a task best"),
    "report": (do_report, argparse_report, "one page that shows memory over time, layers and costs"),
    "verify": (do_verify, argparse_verify, "compare our kernels with TensorFlow Lite's, bit for bit"),
    "info": (do_info, argparse_info, "what a package holds"),
    "export": (
        do_export,
        argparse_export,
        "every tensor of a package as .npz, or the model as .tflite or .keras",
    ),
    "simulate": (do_simulate, argparse_simulate, "train some steps on an emulated board"),
    "key": (do_key, argparse_key, "make a key, put it on a board, sign packages"),
    "flash": (do_flash, argparse_flash, "put trimtab's firmware on a board"),
    "deploy": (do_deploy, argparse_deploy, "copy library, kernels and package to a board"),
    "train": (do_train, argparse_train, "stream samples to a board that trains on them"),
    "pull": (do_pull, argparse_pull, "bring the tuned weights home as .tflite or .keras"),
}


# -- shared by verbs


def _read_model(args):
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


def _plan_options(args):
    if args.scheme and args.policy != "sparse":
        raise UsageError(f"--scheme {args.scheme} is a sparse update: give --policy sparse with it")
    policy = f"{args.policy}:{args.scheme}" if args.scheme else args.policy
    return dict(
        policy=policy,
        labels=_labels(args),
        classes=args.classes,
        loss=args.loss,
        rate=args.lr,
        accumulate=args.accumulate,
        residual=args.residual,
        max_classes=args.max_classes,
        optimizer=args.optimizer,
        head=args.head,
        pixels=_pixels(args.pixels),
    )


def _labels(args):
    return tuple(args.labels.split(",")) if args.labels else ()


def _share(text, option):
    """A share of something, as 0.25 or as 1/4."""
    share = (_numbers(text, lambda word: float(Fraction(word))) or [0])[0]
    if not 0 < share <= 1:
        raise UsageError(f"{option} {text} is not a share: use more than 0, at most 1")
    return share


def _numbers(text, kind):
    """Numbers with commas between; None without any."""
    try:
        return [kind(word) for word in text.split(",")] if text else None
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{text} is not a list of numbers: write them with commas between")


def _pixels(text):
    if not text:
        return None
    try:
        low, high = (float(v) for v in text.split(","))
    except ValueError:
        raise UsageError(f"--pixels {text} is not LOW,HIGH: write for instance --pixels 0,1")
    return low, high


def _check_ram(made, text):
    """Arena and state are one block each; do they fit into the blocks that the board has?"""
    blocks = [_size(word, text) for word in text.split(",")]
    need = (made.placement.size, made.program_state_bytes)
    for places in itertools.product(range(len(blocks)), repeat=2):
        left = list(blocks)
        for size, place in zip(need, places):
            left[place] -= size
        if min(left) >= 0:
            return
    raise UsageError(
        f"the plan needs {need[0]} bytes of arena and {need[1]} of state, --ram {text} has no room for them: "
        "train fewer layers or channels"
    )


def _size(word, text):
    try:
        return int(float(word.rstrip("kK")) * (1024 if word[-1:] in "kK" else 1))
    except ValueError:
        raise UsageError(
            f"--ram {text} is not a size: write for instance --ram 96k, or 100k,70k for two blocks"
        )


def _key(args):
    from ..boards import key

    return key.read(args.key) if args.key else None


def _port(args):
    if args.port:
        return args.port
    from serial.tools.list_ports import comports

    found = [p.device for p in comports() if p.vid]
    if len(found) != 1:
        raise UsageError(f"there are {len(found)} boards on this machine's ports: name one with --port")
    return found[0]


@contextlib.contextmanager
def _progress(args, what):
    """A line of progress with time left, on stderr; nothing with --json."""
    with train.bar(not args.json) as bar:
        task = bar.add_task(what, total=None, speed="")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _say(args, data, text):
    print(json.dumps(data) if args.json else text)


def _errors():
    """The exceptions whose message is meant for the user."""
    from ..errors import BoardError, DataError, LinkError, ToolchainError
    from ..errors import BoardError as Refused

    return (UsageError, ModelError, PackageError, BoardError, Refused, DataError, ToolchainError, LinkError)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="trimtab", description="Train neural networks on microcontrollers, from Python."
    )
    parser.add_argument("--version", action="version", version=f"trimtab {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, (_, grammar, help_text) in VERBS.items():
        p = verbs.add_parser(name, help=help_text, description=help_text)
        grammar(p)
        p.add_argument("--json", action="store_true", help="machine-readable output")
    args = parser.parse_args(argv)
    try:
        return VERBS[args.verb][0](args) or 0
    except KeyboardInterrupt as stop:
        print(f"trimtab: {str(stop) or 'stopped'}", file=sys.stderr)
        return 130
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        print(
            f"trimtab: {name}{error.strerror or error}: check the name and the permissions", file=sys.stderr
        )
        return 1
    except MemoryError as error:
        print(f"trimtab: {error}", file=sys.stderr)
        return 1
    except _errors() as error:
        print(f"trimtab: {error}", file=sys.stderr)
        return 1
