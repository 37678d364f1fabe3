"""What no move of code may alter, as hashes and cycles. `python tests/support/gates.py` records them.

Packages are hashed with what a few training steps leave in their state. Native code is compared only
under the compiler that made what is recorded.
"""

import contextlib
import hashlib
import json
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / "support"), str(ROOT / "benchmarks")]

import kernel_shapes  # noqa: E402
import records  # noqa: E402
from helpers import calibrated, inputs  # noqa: E402
from methods import left_out  # noqa: E402
from models import Builder  # noqa: E402
from trimtab.format import SECTIONS  # noqa: E402
from trimtab.package import Package  # noqa: E402
from trimtab_tools.boards import bare, simulated
from trimtab_tools.compiler import compile
from trimtab_tools.toolchain import records_header, subset, webassembly  # noqa: E402
from trimtab_tools.toolchain import viper as toolchain_viper  # noqa: E402
from trimtab_tools.toolchain.kernels import NATMODS, natmod  # noqa: E402
from trimtab_tools.toolchain.llvm import LLVM  # noqa: E402
from trimtab_tools.toolchain.packages import absent  # noqa: E402
from trimtab_tools.toolchain.sources import micropython, mpy_cross  # noqa: E402

STORED = Path(__file__).with_name("gates.json")
STEPS = 3
VIPER_ARCHITECTURES = ("x64", "armv6m", "armv7m", "armv7emsp", "xtensawin", "rv32imc")
RELU6 = {"act": "relu6", "scale": 6 / 255, "zero": -128}


# -- graphs --------------------------------------------------------------------------------------------------


def mobile(seed):
    """Inverted residual blocks of random width, stride and activation, as MobileNets stack them."""
    rng = np.random.default_rng(seed)
    b = Builder((8 + 2 * int(rng.integers(3)),) * 2 + (3,), seed, scale=0.02, zero=0)
    swish = seed % 3 == 2
    b.conv(8, stride=(2, 2) if rng.integers(2) else (1, 1), **RELU6)
    for _ in range(2 + int(rng.integers(2))):
        _inverted(
            b,
            int(rng.choice([12, 16, 24])),
            int(rng.choice([8, 8, 12])),
            1 + int(rng.integers(4) == 0),
            swish,
        )
    b.conv(24, (1, 1), scale=0.05, zero=3)
    b.mean(scale=0.02, zero=-5)
    return b.graph()


def _inverted(b, wide, out, stride, swish):
    start = b.x
    for grow in (
        lambda **q: b.conv(wide, (1, 1), **q),
        lambda **q: b.depthwise(stride=(stride, stride), **q),
    ):
        if swish:
            grow(scale=0.05, zero=0)
            b.unary("hard_swish", scale=0.04, zero=-118)
        else:
            grow(**RELU6)
    b.conv(out, (1, 1), scale=0.06, zero=4)
    if b.shape() == b.shape(start):
        b.add(start, b.x, scale=0.08, zero=-5)


def varied(seed):
    """Every other operator: pools, pads, joins, activations of their own, a softmax behind a dense layer."""
    rng = np.random.default_rng(seed)
    b = Builder((9, 7 + seed % 4, 2 + seed % 2), seed)
    b.conv(6, (3, 3), (1 + seed % 2,) * 2, act=("relu", "relu6", "none")[seed % 3])
    left = b.x
    if seed % 2:
        b.unary(("relu", "hard_swish", "logistic", "relu6")[seed // 2 % 4])
        b.layer("requantize", b.shape(), scale=b.tensors[left].scale[0], zero=b.tensors[left].zero_point)
    b.concat(left, b.x)
    b.pool(("avg_pool", "max_pool")[seed % 2], (2, 2), (2, 2), ("valid", "same")[seed // 2 % 2])
    b.pad((1, 0), (0, 1), (0, 0))
    b.depthwise(1 + seed % 2, (3, 3), (1, 1), padding="same")
    b.conv(8, (1, 1), act="relu")
    if seed % 3:
        b.pool("avg_pool", (2, 2), (1, 1))
    b.reshape(int(np.prod(b.shape())))
    b.dense(7 + int(rng.integers(5)), act="relu")
    b.dense(5)
    if seed % 2:
        b.softmax()
    return b.graph()


def encoder(seed):
    """Dense layers that give back what they read."""
    b = Builder((12 + seed % 5,), seed)
    for n in (10, 4, 10):
        b.dense(n, act="relu")
    b.dense(12 + seed % 5)
    return b.graph()


PLAN = {"updates": [{"layer": "conv_0", "weight_channels": [0, 1]}]}
MOBILE = (
    ("last", {}),
    ("last:2", {"rate": 0.01}),
    ("bias", {}),
    ("bias:3", {"residual": 4}),
    ("full", {}),
    ("full", {"accumulate": 4}),
    ("full", {"optimizer": "momentum"}),
    ("full", {"residual": 0}),
    ("sparse:4:2=1/2,3=1/4,4=1", {}),
    ("tinytl:1", {}),
    ("tinytl:nobias,dx", {"residual": 4}),
    ("tinytl:2,width=1/2", {"accumulate": 2}),
    ("mobiletl:1", {}),
    ("mobiletl:2", {"accumulate": 2}),
    ("tinytrain", {}),
    ("tinytrain:3,budget=4,macs=1/2", {}),
    ("tinytrain:budget=6", {"head": "prototype"}),
    ("last", {"head": "prototype"}),
    ("plan", {}),
    ("none", {}),
)
VARIED = (
    ("last", {}),
    ("full", {}),
    ("bias", {"optimizer": "momentum:0.8"}),
    ("full", {"residual": 4, "accumulate": 3}),
    ("full", {"labels": ("a", "b"), "max_classes": 4}),
    ("last:1", {"pixels": (0.0, 1.0)}),
    ("tinytrain:2", {}),
)
ENCODER = (("full", {"loss": "mse"}), ("bias", {"loss": "mse", "residual": 4}), ("last:2", {"loss": "mse"}))


def cases():
    """(name, graph builder, policy, options): every policy, and over 40 graphs."""
    for builder, seeds, policies, each in (
        (mobile, 24, MOBILE, 5),
        (varied, 16, VARIED, 4),
        (encoder, 4, ENCODER, 3),
    ):
        for seed in range(seeds):
            for i in range(each):
                policy, options = policies[(seed * each + i) % len(policies)]
                if left_out(policy):
                    continue
                yield (
                    f"{builder.__name__}-{seed} {policy} {_words(options)}".strip(),
                    (builder, seed),
                    policy,
                    options,
                )


def _words(options):
    return " ".join(f"{key}={value}" for key, value in options.items())


# -- what is held --------------------------------------------------------------------------------------------


def packages(kernels=None):
    """{case: hash of its package and of its state after STEPS steps}, by default with the best kernels."""
    kernels = kernels or simulated.best_tier()
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        plan.write_text(json.dumps(PLAN))
        return {
            name: _package(graph, policy.replace("plan", f"plan:{plan}"), options, kernels)
            for name, graph, policy, options in cases()
        }


def _package(graph, policy, options, kernels):
    builder, seed = graph
    graph = builder(seed)
    graph = calibrated(graph, inputs(graph, 6, seed))
    options = dict(options)
    if options.get("loss") != "mse" and "labels" not in options:
        options["classes"] = 4
    made = compile.compile_graph(
        graph, policy, name="gate", kernels=kernels, **_without_none(policy, options)
    )
    package, digest = Package(made.data), hashlib.sha256()
    for section in SECTIONS:
        data = bytes(package.section(section))
        if section == "plan":  # other versions of zlib pack it otherwise
            data = zlib.decompress(data)
        digest.update(section.encode() + data)
    digest.update(bytes(made.data[: 8 + 4 * 25]))
    net = simulated.load(made.data, kernels)
    crc = 0
    if net.loss != "none":
        for i, x in enumerate(inputs(made.trunk, STEPS, seed)):
            target = (
                [int(v) for v in np.arange(net.output_bytes) % 50] if net.loss == "mse" else i % net.classes
            )
            if net.loss == "mse":
                net.train(np.asarray(x, np.int8), np.asarray(target, np.int8))
            else:
                net.train(np.asarray(x, np.int8).reshape(-1), target)
        crc = net.state_crc()
    return f"{digest.hexdigest()[:16]} {crc:08x}"


def _without_none(policy, options):
    return {} if policy == "none" else options


def header():
    return hashlib.sha256(records_header.text().encode()).hexdigest()[:16]


def compiler(tools):
    """The versions of what a native module is made with, in one line."""
    commands = {
        "make": None,
        "gcc": "gcc",
        "arm-none-eabi-gcc": "arm-none-eabi-gcc",
        "riscv64-unknown-elf-gcc": "riscv64-unknown-elf-gcc",
    }
    found = [commands[t] for t in tools if commands.get(t)]
    lines = [
        subprocess.run([name, "--version"], capture_output=True, text=True).stdout.split("\n")[0]
        for name in found
    ]
    return "; ".join([*lines, *([LLVM[0]] if not found else []), micropython().name])


def modules(architectures=None):
    """{architecture: {compiler, whole, n1: bytes and hash of the module for one package}}."""
    made = compile.compile_graph(kernel_shapes.n1(), "full", classes=10, kernels=simulated.best_tier()).data
    found = {}
    for arch in architectures or NATMODS:
        tools = NATMODS[arch].tools
        if absent(tools):
            continue
        found[arch] = {
            "compiler": compiler(tools),
            "whole": _hashed(natmod(arch)),
            "n1": _hashed(natmod(arch, subset.kernels_of(made))),
        }
    return found


def _hashed(path):
    data = path.read_bytes()
    return f"{len(data)} {hashlib.sha256(data).hexdigest()[:16]}"


def wasm():
    """{compiler, module: its bytes and hash}."""
    return {
        "compiler": webassembly.version(),
        **{name: _hashed(webassembly.module(name)) for name in webassembly.BUILDS},
    }


def viper():
    """{architecture: bytes and hash of all viper kernels as one module}."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        text, target = Path(folder) / toolchain_viper.NAME, Path(folder) / "target.mpy"
        text.write_text(toolchain_viper.source())
        for arch in VIPER_ARCHITECTURES:
            command = [mpy_cross(), f"-march={arch}", "-s", "viper", "-o", target, text]
            subprocess.run(command, check=True)
            found[arch] = _hashed(target)
    return found


def cycles():
    """{name: exact cycles on the emulated Pico}: the measured layers, and N1 record by record."""
    names = list(kernel_shapes.SHAPES)
    found = {
        name: sum(done.cycles) for name, done in zip(names, bare.run([kernel_shapes.run(n) for n in names]))
    }
    made = compile.compile_graph(kernel_shapes.n1(), "full", classes=10, kernels=simulated.best_tier())
    for name, phases in (("n1 forward", records.FORWARD), ("n1 step", records.STEP)):
        (done,) = bare.run([records.network(made, phases)[0]])
        found[name] = sum(done.cycles)
    return found


GATES = {
    "packages": packages,
    "header": header,
    "modules": modules,
    "wasm": wasm,
    "viper": viper,
    "cycles": cycles,
}


def main(names):
    """Write those gates again, or all."""
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    for name in names or GATES:
        with contextlib.redirect_stdout(sys.stderr):
            stored[name] = GATES[name]()
    STORED.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
