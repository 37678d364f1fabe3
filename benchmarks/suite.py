"""The networks that are measured: small ones of ours, MLPerf Tiny's four, and three published checkpoints."""

from functools import partial
from typing import NamedTuple

import kernel_shapes
import paths
from trimtab_tools.boards import simulated
from trimtab_tools.compiler import compile
from trimtab_tools.formats import read_checkpoint, read_tflite


class Network(NamedTuple):
    """How to read a network's graph, and how it trains: (policy, options of compile_graph)."""

    read: object
    plans: tuple
    file: object = None  # what must be there


def _tflite(name, *plans):
    path = paths.ASSETS / "mlperf_tiny" / f"{name}.tflite"
    return Network(partial(read_tflite.read, str(path)), plans, path)


def _checkpoint(name, scheme):
    path = paths.ASSETS / "tiny_training" / f"{name}.npz"
    return Network(partial(read_checkpoint.read, str(path)), ((f"sparse:{scheme}", {"classes": 10}),), path)


NETWORKS = {
    "n1": Network(kernel_shapes.n1, (("full", {"classes": 10}), ("last", {"classes": 10}))),
    "kws": _tflite("kws_ref_model", ("full", {"classes": 12}), ("bias", {"classes": 4})),
    "vww": _tflite("vww_96_int8", ("bias", {"classes": 2}), ("sparse:12:20=1/4,24=1/2,26=1", {"classes": 2})),
    "resnet8": _tflite("pretrainedResnet_quant", ("bias", {"classes": 10}), ("last", {"classes": 10})),
    "ad": _tflite("ad01_int8", ("bias", {"loss": "mse"})),
    "mcunet_49kb": _checkpoint("mcunet-5fps", "mcunet-49kb"),
    "mbv2_49kb": _checkpoint("mbv2-w0.35", "mbv2-49kb"),
    "proxyless_49kb": _checkpoint("proxyless-w0.3", "proxyless-49kb"),
}


def compiled(name, plan=0, **options):
    """The compiled package of a network under one of its plans."""
    network = NETWORKS[name]
    policy, more = network.plans[plan]
    return compile.compile_graph(network.read(), policy, kernels=simulated.best_tier(), **{**more, **options})
