"""Time of inference and of training steps on this PC, one thread, beside XNNPACK and PyTorch.

    python benchmarks/pc.py [--torch PYTHON]

Prints two tables and writes benchmarks/results/pc.json. XNNPACK is what TensorFlow Lite's interpreter
(ai-edge-litert) takes by default. PYTHON is an interpreter that has PyTorch, which trimtab does not need:
pc_torch.py runs there. Without it PyTorch's column stays empty.

All rivals of a row take turns, some milliseconds each, and the least time of any call counts, so what else
the machine does is in none of them. Only the network is timed: `classify_input`, and TensorFlow Lite's
`invoke`. A training step includes its sample, for PyTorch one batch of one.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import version

import kernel_shapes
import numpy as np
import paths
import records
from pc_turn import turn
from trimtab_tools.boards import native, simulated
from trimtab_tools.compiler import compile
from trimtab_tools.formats import read_tflite
from trimtab_tools.toolchain import kernels
from trimtab_tools.toolchain.cache import digest
from trimtab_tools.toolchain.sources import FIRMWARE

TURNS = 150
TURN_NS = 5_000_000
FILES = {
    "vww": "vww_96_int8.tflite",
    "kws": "kws_ref_model.tflite",
    "resnet8": "pretrainedResnet_quant.tflite",
    "ad": "ad01_int8.tflite",
}
INFERENCE = (*FILES, "mcunet_49kb")
TRAINING = (  # network, policy
    ("vww", "bias"),
    ("vww", "full"),
    ("n1", "last"),
    ("n1", "bias"),
    ("n1", "full"),
    ("kws", "full"),
    ("resnet8", "full"),
    ("ad", "full"),
    ("mcunet_49kb", "sparse:mcunet-49kb"),
)


def levels():
    """Those that this processor has, the best last."""
    names = list(kernels.LEVELS)
    return names[: names.index(kernels.level()) + 1]


@cache
def graph(network):
    if network == "n1":
        return kernel_shapes.n1()
    return read_tflite.read(str(paths.ASSETS / "mlperf_tiny" / FILES[network]))


def there(network):
    """Whether the network's file is on this machine."""
    if network == "mcunet_49kb":
        return paths.MCUNET.exists()
    return network == "n1" or (paths.ASSETS / "mlperf_tiny" / FILES[network]).exists()


@cache
def trained(network, policy):
    """The package that trains a network."""
    if network == "mcunet_49kb":
        return records.mcunet().data
    found = graph(network)
    goal = {"loss": "mse"} if network == "ad" else {"classes": found[found.outputs[0]].size}
    return compile.compile_graph(found, policy, kernels=simulated.best_tier(), **goal).data


@cache
def inference(network):
    """The package that predicts."""
    if network == "mcunet_49kb":
        return records.mcunet().data
    return compile.compile_inference(graph(network), kernels=simulated.best_tier()).data


# -- what is timed: functions without arguments


def noise(size):
    return np.random.default_rng(0).integers(-128, 128, size).astype(np.int8)


def our_inference(network, level):
    net = simulated.load(inference(network), native.tier(level))
    net.input_view[:] = noise(net.input_bytes).tobytes()
    return net.classify_input


def xnnpack(network):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(paths.ASSETS / "mlperf_tiny" / FILES[network]), num_threads=1)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    interpreter.set_tensor(given["index"], noise(given["shape"]))
    return interpreter.invoke


def our_step(network, policy, level):
    """A step on one of some samples, so that the loss does not vanish."""
    net = simulated.load(trained(network, policy), native.tier(level))
    samples = [noise((8, net.input_bytes))[i] for i in range(8)]
    labels = samples if net.loss == "mse" else [i % net.classes for i in range(8)]
    turn = 0

    def step():
        nonlocal turn
        turn = (turn + 1) % 8
        net.train(samples[turn], labels[turn])

    return step


class Torch:
    """The interpreter that has PyTorch: it is told a layer list, then asked for one turn at a time."""

    def __init__(self, python):
        self.process = subprocess.Popen(
            [python, paths.ROOT / "benchmarks" / "pc_torch.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.version = self.ask("version")

    def ask(self, what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def turns(self, network, policy):
        """As timed(), of a training step."""
        self.ask({"layers": layers(network), "policy": policy, "shape": shape(network)})
        return lambda: self.ask(TURN_NS)


def shape(network):
    found = graph(network)
    return list(found[found.inputs[0]].shape)


def layers(network):
    """The layers of a network as pc_torch.py builds them."""
    found = graph(network)
    return [
        {
            "kind": op.kind,
            "inputs": [name for name in op.inputs if name and not found[name].constant],
            "output": op.outputs[0],
            "weights": next((found[n].shape for n in op.inputs if n and found[n].constant), None),
            **{key: value for key, value in op.attrs.items() if key in ("stride", "pad", "act", "kernel")},
        }
        for op in found.ops
        if op.kind != "softmax"
    ]


# -- turns


def timed(work):
    """A function that takes a turn and gives the least time of a call in it, in ns."""
    return lambda: turn(work, TURN_NS)


def least(turns):
    """{name: microseconds} of {name: a function that takes a turn}."""
    best = dict.fromkeys(turns, float("inf"))
    for _ in range(TURNS):
        for name, taken in turns.items():
            best[name] = min(best[name], taken())
    return {name: round(ns / 1000, 1) for name, ns in best.items()}


def inference_row(network):
    turns = {level: timed(our_inference(network, level)) for level in levels()}
    if network in FILES:
        turns["xnnpack"] = timed(xnnpack(network))
    return least(turns)


def training_row(network, policy, torch):
    turns = {level: timed(our_step(network, policy, level)) for level in levels()}
    if torch and network != "mcunet_49kb":
        turns["pytorch"] = torch.turns(network, policy)
    return least(turns)


# -- the result


def conditions(torch):
    """On what, and built how, the times were taken."""
    with open("/proc/cpuinfo") as file:
        cpu = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in file)}
    gcc = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout
    git = ["git", "-C", paths.ROOT, "rev-parse", "--short", "HEAD"]
    return {
        "commit": subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip(),
        "kernels": digest([FIRMWARE / "kernels"]),
        "cpu": "{vendor_id} family {cpu family} model {model}, {model name}".format(**cpu),
        "levels": {level: " ".join((*kernels.WIDE, *kernels.LEVELS[level])) for level in levels()},
        "compiler": gcc.splitlines()[0],
        "python": platform.python_version(),
        "ai-edge-litert": version("ai-edge-litert"),
        "load": round(os.getloadavg()[0], 1),  # programs that wanted a processor, on how many of them
        "processors": os.cpu_count(),
        **({"pytorch": torch.version} if torch else {}),
    }


def table(rows, rival):
    """Microseconds, and how many times longer the rival takes, or we do."""
    lines = [f"{'':30}" + "".join(f"{name:>20}" for name in levels()) + f"{rival:>12}"]
    for name, row in rows.items():
        line = f"{name:30}"
        for level in levels():
            ratio = f"({row[level] / row[rival]:.2f})" if rival in row else ""
            line += f"{row[level]:12.1f}{ratio:>8}"
        lines.append(line + (f"{row[rival]:12.1f}" if rival in row else ""))
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch")
    python = parser.parse_args().torch
    torch = Torch(python) if python else None
    absent = sorted({name for name in (*INFERENCE, "n1") if not there(name)})
    if absent:
        print(f"their files are not on this machine: {', '.join(absent)}", file=sys.stderr)
    result = {
        "conditions": conditions(torch),
        "inference_us": {name: inference_row(name) for name in INFERENCE if there(name)},
        "training_step_us": {
            f"{name} {policy}": training_row(name, policy, torch) for name, policy in TRAINING if there(name)
        },
    }
    print("inference, microseconds (times XNNPACK's)")
    print(table(result["inference_us"], "xnnpack"))
    print("training step, microseconds (times PyTorch's)")
    print(table(result["training_step_us"], "pytorch"))
    (paths.RESULTS / "pc.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
