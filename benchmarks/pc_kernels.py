"""A training step and an inference on this PC, for each form of the same C kernels.

    python benchmarks/pc_kernels.py [--rounds N]

All forms take turns in one run, and the round of least processor time counts, so that other work on the
machine hurts all alike. They must leave one state. Prints a table in milliseconds.
"""

import argparse
import time

import numpy as np
import paths
from trimtab_tools.boards import native, simulated, webassembly
from trimtab_tools.compiler import compile
from trimtab_tools.formats import read_checkpoint, read_tflite
from trimtab_tools.policies.policy import Request
from trimtab_tools.toolchain import kernels

WIDE = tuple(flag for flag in kernels.WIDE if flag != "-O3")
NETWORKS = {
    "KWS": ("mlperf_tiny/kws_ref_model.tflite", "full", None),
    "VWW": ("mlperf_tiny/vww_96_int8.tflite", "full", None),
    "ResNet8": ("mlperf_tiny/pretrainedResnet_quant.tflite", "full", None),
    "MCUNet, 49 KB": ("tiny_training/mcunet-5fps.pkl", "sparse", "mcunet-49kb"),
}


def forms():
    """{name: kernels}"""
    found = {
        "gcc -O2, plain loops": native.loaded(kernels.host_library()),
        "gcc -O2, wide loops": native.loaded(kernels.host_library(WIDE)),
        "WebAssembly, wide loops": webassembly.tier(),
    }
    for level in list(kernels.LEVELS)[: list(kernels.LEVELS).index(kernels.level()) + 1]:
        found[f"native, {level}"] = native.tier(level)
    return found


def package(file, policy, scheme):
    path = paths.ASSETS / file
    graph = (read_tflite if path.suffix == ".tflite" else read_checkpoint).read(str(path))
    return compile.compile_graph(
        graph, Request.of(policy, scheme), classes=4, kernels=simulated.best_tier()
    ).data


def measure(data, forms, rounds):
    """{form: (ms of an inference, ms of a step)}"""
    nets = {name: simulated.load(data, tier) for name, tier in forms.items()}
    best = {name: [1e9, 1e9] for name in forms}
    x = np.random.default_rng(0).integers(-128, 128, nets["WebAssembly, wide loops"].input_bytes)
    x = x.astype(np.int8)
    for net in nets.values():
        for _ in range(3):  # the error of a new head stops there
            net.train(x, 1)
        state = bytes(net.state)
    for _ in range(rounds):
        for name, net in nets.items():
            net.state[:] = state  # or else the sample is learned soon, and its steps have nothing to do
            net.follow()
            net.load_input(x)
            for i, work in enumerate((net.classify_input, lambda: net.train(x, 1))):
                start = time.process_time()
                work()
                best[name][i] = min(best[name][i], 1000 * (time.process_time() - start))
    assert len({net.state_crc() for net in nets.values()}) == 1
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    made = forms()
    print("| network | " + " | ".join(made) + " |\n|---|" + "---|" * len(made))
    for name, row in NETWORKS.items():
        found = measure(package(*row), made, rounds)
        print(
            f"| {name} | " + " | ".join("%.2f / %.2f" % tuple(found[form]) for form in made) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
