"""The cost model against figures that the papers print, and against what a compiled program really does."""

from dataclasses import replace

import pytest
from helpers import assets, compiled
from models import Builder
from trimtab_tools.compiler import cost
from trimtab_tools.compiler.cost import MOBILETL, MOBILETL_BASELINE, TINYTL, TINYTRAIN, Row
from trimtab_tools.formats import read_checkpoint
from trimtab_tools.policies import schemes
from trimtab_tools.policies.make import make_plan

# Networks: channels of first conv and block 0, (expanded channels, kernel, stride, out), last 1x1 conv

# fmt: off
MCUNET = (16, 8, [
    (32, 3, 2, 16), (48, 3, 1, 16), (48, 7, 2, 24), (120, 3, 1, 24), (120, 3, 2, 40), (160, 7, 1, 40),
    (160, 5, 1, 48), (144, 3, 1, 48), (192, 3, 1, 48), (240, 7, 2, 96), (384, 5, 1, 96), (384, 5, 1, 96),
    (576, 3, 1, 160)], None)
MBV2 = (16, 8, [
    (48, 3, 2, 8), (48, 3, 1, 8), (48, 3, 2, 16), (96, 3, 1, 16), (96, 3, 1, 16), (96, 3, 2, 24),
    (144, 3, 1, 24), (144, 3, 1, 24), (144, 3, 1, 24), (144, 3, 1, 32), (192, 3, 1, 32), (192, 3, 1, 32),
    (192, 3, 2, 56), (336, 3, 1, 56), (336, 3, 1, 56), (336, 3, 1, 112)], 448)
PROXYLESS = (16, 8, [
    (24, 5, 2, 16), (48, 3, 1, 16), (48, 7, 2, 16), (48, 3, 1, 16), (48, 5, 1, 16), (48, 5, 1, 16),
    (96, 7, 2, 24), (72, 5, 1, 24), (72, 5, 1, 24), (72, 5, 1, 24), (144, 5, 1, 32), (96, 5, 1, 32),
    (96, 5, 1, 32), (96, 5, 1, 32), (192, 7, 2, 64), (384, 7, 1, 64), (192, 7, 1, 64), (192, 7, 1, 64),
    (384, 7, 1, 96)], 384)
PROXYLESS_MOBILE = (32, 16, [
    (48, 5, 2, 32), (96, 3, 1, 32), (96, 7, 2, 40), (120, 3, 1, 40), (120, 5, 1, 40), (120, 5, 1, 40),
    (240, 7, 2, 80), (240, 5, 1, 80), (240, 5, 1, 80), (240, 5, 1, 80), (480, 5, 1, 96), (288, 5, 1, 96),
    (288, 5, 1, 96), (288, 5, 1, 96), (576, 7, 2, 192), (1152, 7, 1, 192), (576, 7, 1, 192), (576, 7, 1, 192),
    (1152, 7, 1, 320)], 1280)
# fmt: on
NETWORKS = {"mcunet": MCUNET, "mbv2": MBV2, "proxyless": PROXYLESS}


def conv(cin, cout, size, kernel=1, stride=1, groups=1, skip=0):
    out = -(-size // stride)
    weights = kernel * kernel * cin * cout // groups
    return Row(
        "conv", cin * size**2, cout * out**2, cout, weights, groups=groups, macs=weights * out**2, skip=skip
    )


def norm(c, size, skip=0):
    return Row("norm", c * size**2, c * size**2, c, c, c, skip=skip)


def relu(c, size, skip=0):
    return Row("relu", c * size**2, c * size**2, c, skip=skip)


def inverted_residual(cin, expanded, kernel, stride, cout, size):
    """Rows of conv, norm and activation; the input waits where an identity skip goes round them."""
    skip = cin * size**2 if stride == 1 and cin == cout else 0
    out = -(-size // stride)
    expand = (
        [conv(cin, expanded, size), norm(expanded, size, skip), relu(expanded, size, skip)]
        if expanded != cin
        else []
    )
    return [
        *expand,
        conv(expanded, expanded, size, kernel, stride, expanded, skip),
        norm(expanded, out, skip),
        relu(expanded, out, skip),
        conv(expanded, cout, out, skip=skip),
        norm(cout, out, skip),
    ]


def lite(cin, cout, stride, size):
    """TinyTL's lite residual module: pooled 2x2, a grouped conv, norm, ReLU, 1x1 conv, norm."""
    pooled = size // 2
    out = -(-pooled // stride)
    return [
        conv(cin, cin, pooled, 3 if cin == 192 else 5, stride, 2),
        norm(cin, out),
        relu(cin, out),
        conv(cin, cout, out),
        norm(cout, out),
    ]


def blocks(network, size, modules=False):
    """Lists of rows: first conv, each block, last conv."""
    first, zero, rest, last = network
    size //= 2
    found = [
        [conv(3, first, 2 * size, 3, 2), norm(first, size), relu(first, size)],
        inverted_residual(first, first, 3, 1, zero, size),
    ]
    cin = zero
    for expanded, kernel, stride, cout in rest:
        found.append(inverted_residual(cin, expanded, kernel, stride, cout, size))
        if modules:
            found[-1] = found[-1], lite(cin, cout, stride, size)
        cin, size = cout, -(-size // stride)
    if last:
        found.append([conv(cin, last, size), norm(last, size), relu(last, size)])
    return found


def flat(lists):
    return [row for rows in lists for row in rows]


def convs(rows):
    return [i for i, r in enumerate(rows) if r.kind == "conv"]


def trained(rows, shares, biases=()):
    """The rows with these {conv index: share} of weights and these convs' biases trained."""
    rows, at = list(rows), convs(rows)
    for i in {*shares, *biases}:
        rows[at[i]] = replace(rows[at[i]], share=shares.get(i, 0), bias=i in biases)
    return rows


def classifier(features, classes=1000):
    return Row("conv", features, classes, classes, features * classes, classes, head=True, share=1, bias=True)


# -- MCUNetV3 ------------------------------------------------------------------------------------------------

PUBLISHED = {
    "mcunet": {"49": 49.8, "74": 74.8, "99": 99.8, "124": 125.0, "148": 148.4},
    "mbv2": {"49": 49.8, "73": 73.9, "99": 99.4, "123": 123.6, "138": 138.2},
    "proxyless": {"49": 49.7, "74": 74.9, "98": 98.5, "120": 120.2, "148": 148.2},
}
SCHEMES = {f"{net}-{kb}kb": value for net, row in PUBLISHED.items() for kb, value in row.items()}


def int8(name):
    """The published int8 network: the last 1x1 conv is not part of it."""
    first, zero, rest, _ = NETWORKS[name]
    rows = flat(blocks((first, zero, rest, None), 128))
    return [*rows, classifier(rest[-1][-1])]


def kib(rows):
    return round(cost.mcunetv3(rows) / 1024, 1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_mcunetv3_schemes(scheme):
    last, shares = schemes.SCHEMES[scheme]
    rows = int8(scheme.split("-")[0])
    body = convs(rows[:-1])
    assert (len(body), sum(rows[i].weights for i in body)) == schemes.NETWORKS[scheme.split("-")[0]][1:]
    assert kib(trained(rows, shares, range(len(body) - last, len(body)))) == SCHEMES[scheme]


def test_mcunetv3_last_layers():
    rows = int8("mcunet")
    assert kib(trained(rows, dict.fromkeys(range(30, 42), 1), range(30, 42))) == 448.0
    assert round(cost.mcunetv3(trained(rows, dict.fromkeys(range(42), 1), range(42))) / 1024) == 1400


@pytest.mark.parametrize(
    "file, name", [("mcunet-5fps", "mcunet"), ("mbv2-w0.35", "mbv2"), ("proxyless-w0.3", "proxyless")]
)
def test_schemes_on_the_published_files(file, name):
    graph = read_checkpoint.read(assets() / "tiny_training" / f"{file}.npz")
    for kb, value in PUBLISHED[name].items():
        trunk, plan = make_plan(graph, f"sparse:{name}-{kb}kb", classes=10)
        assert round(cost.mcunetv3(cost.table(trunk, plan)) / 1024, 1) == value


# -- TinyTL --------------------------------------------------------------------------------------------------

PARTS = {  # what trains: norms' shift and gain, lite modules and their norms', or all of the trunk
    "last": set(),
    "bias": {"beta", "lite beta"},
    "lite": {"lite"},
    "lite and bias": {"beta", "lite", "last frozen"},
    "norm": {"beta", "gamma", "lite beta", "lite gamma"},
    "full": {"trunk", "lite"},
}


def tinytl_network(parts):
    trunk_norm = dict(bias="beta" in parts, share=float("gamma" in parts))
    lite_norm = dict(bias="lite beta" in parts, share=float("lite gamma" in parts))
    rows = []
    for block in blocks(PROXYLESS_MOBILE, 224, modules=True):
        main, side = block if isinstance(block, tuple) else (block, [])
        for row in main:
            if "trunk" in parts:
                row = replace(row, share=1.0, bias=True)
            rows.append(replace(row, **trunk_norm) if row.kind == "norm" and "trunk" not in parts else row)
        for i, row in enumerate(side):
            if "lite" in parts:
                row = replace(row, share=1.0, bias=not ("last frozen" in parts and i == 4))
            rows.append(replace(row, **lite_norm) if row.kind == "norm" and "lite" not in parts else row)
    return [*rows, classifier(1280, 102)]


def test_tinytl_network_has_the_published_parameters():
    trunk = flat(blocks(PROXYLESS_MOBILE, 224))
    assert sum(r.weights + r.biases for r in trunk) == 2799512
    modules = flat(b[1] for b in blocks(PROXYLESS_MOBILE, 224, modules=True) if isinstance(b, tuple))
    assert sum(r.weights + r.biases for r in modules) == 1816416


@pytest.mark.parametrize(
    "what, megabytes",
    [
        ("last", 30.8),
        ("bias", 31.7),
        ("lite", 37.1),
        ("lite and bias", 37.1),
        ("norm", 192.4),
        ("full", 390.8),
    ],
)
def test_tinytl(what, megabytes):
    assert round(cost.tinytl(tinytl_network(PARTS[what]), batch=8) / 1e6, 1) == megabytes


# -- MobileTL ------------------------------------------------------------------------------------------------

SQUEEZE = Row("gate", 950_000 // 4)  # bytes of the paper's bar for squeeze-and-excite, as float32


def mobile_block(kind, extra=()):
    """One block of 48 channels at 28x28, expanded 6 times; kind is that of its activations."""
    rows = [
        replace(r, kind=kind if r.kind == "relu" else r.kind, share=1.0, bias=True, learns=True, skip=0)
        for r in inverted_residual(48, 288, 5, 1, 48, 28)
    ]
    return [*rows, *extra]


def shift_only(rows):
    """Inner norms train their shift alone; the last one trains all."""
    norms = [i for i, r in enumerate(rows) if r.kind == "norm"][:-1]
    return [replace(r, share=0.0) if i in norms else r for i, r in enumerate(rows)]


@pytest.mark.parametrize("kind, extra, saved", [("relu", (), 46.3), ("smooth", (SQUEEZE,), 53.3)])
def test_mobiletl_block(kind, extra, saved):
    rows = mobile_block(kind, extra)
    ratio = 1 - MOBILETL.total_kept(shift_only(rows)) / MOBILETL_BASELINE.total_kept(rows)
    assert round(100 * ratio, 1) == saved


def test_mobiletl_block_in_megabytes():
    rows = mobile_block("relu")
    assert round(MOBILETL_BASELINE.total_kept(rows) / 1e6, 4) == 4.0316
    assert round(MOBILETL.total_kept(shift_only(rows)) / 1e6, 4) == 2.1642


# MobileNetV3-Small: (channels in, expanded, out, squeeze, activation, kernel, stride)
V3_SMALL = [
    (16, 16, 16, True, "relu", 3, 2), (16, 72, 24, False, "relu", 3, 2), (24, 88, 24, False, "relu", 3, 1),
    (24, 96, 40, True, "smooth", 5, 2), (40, 240, 40, True, "smooth", 5, 1),
    (40, 240, 40, True, "smooth", 5, 1), (40, 120, 48, True, "smooth", 5, 1),
    (48, 144, 48, True, "smooth", 5, 1), (48, 288, 96, True, "smooth", 5, 2),
    (96, 576, 96, True, "smooth", 5, 1), (96, 576, 96, True, "smooth", 5, 1),
]  # fmt: skip


def v3_small():
    """Rows of first conv, of each block, of last conv and classifier, for 10 classes at 224x224."""

    def smooth(rows):
        return [replace(r, kind="smooth") if r.kind == "relu" else r for r in rows]

    found, size = [], 112
    for cin, expanded, out, squeeze, kind, kernel, stride in V3_SMALL:
        rows = inverted_residual(cin, expanded, kernel, stride, out, size)
        size = -(-size // stride)
        rows = smooth(rows) if kind == "smooth" else rows
        found.append(rows + [Row("gate", expanded * size**2)] * squeeze)
    first = smooth([conv(3, 16, 224, 3, 2), norm(16, 112), relu(16, 112)])
    classifier = [conv(576, 1024, 1), relu(1024, 1), conv(1024, 10, 1)]
    last = smooth([conv(96, 576, 7), norm(576, 7), relu(576, 7), *classifier])
    return first, found, last


def whole(rows):
    return [replace(r, share=1.0, bias=True, learns=True) for r in rows]


KEPT = [(1, None, 5.2), (3, 23.13, 11.6), (5, 35.90, 17.8), (None, 130.3, 78.9)]  # no k: all


@pytest.mark.parametrize("k, usual, mobiletl", KEPT)
def test_mobiletl_kept_of_the_last_blocks(k, usual, mobiletl):  # G8: MB for a batch of 8
    first, found, last = v3_small()
    chosen, rest = (found[-k:], last) if k else (found, first + last)
    if usual:
        kept = 8 * MOBILETL_BASELINE.total_kept(whole(flat(chosen) + rest)) / 1e6
        assert kept == pytest.approx(usual, rel=0.005)
    kept = sum(MOBILETL.total_kept(shift_only(whole(rows))) for rows in chosen)
    assert 8 * (kept + MOBILETL_BASELINE.total_kept(whole(rest))) / 1e6 == pytest.approx(mobiletl, rel=0.015)


@pytest.mark.parametrize("k, megabytes", [(1, 32.2), (2, 33.0), (3, 33.7)])
def test_mobiletl_training_memory(k, megabytes):  # G9: Proxyless-Mobile, 100 classes, a batch of 8
    found = blocks(PROXYLESS_MOBILE, 224)
    trained_blocks = [row for rows in found[-1 - k : -1] for row in shift_only(whole(rows))]
    rows = [*flat(found[: -1 - k]), *trained_blocks, *whole(found[-1]), classifier(1280, 100)]
    assert cost.mobiletl(rows, 8) / 1e6 == pytest.approx(megabytes, abs=0.1)
    assert round(8 * MOBILETL.peak(rows) / 1e6, 2) == 25.69


# -- TinyTrain -----------------------------------------------------------------------------------------------


def fp32(name):
    return flat(blocks(NETWORKS[name], 128))


def last_layer(name):
    rows = fp32(name)
    return trained(rows, {len(convs(rows)) - 1: 1})


@pytest.mark.parametrize(
    "name, peak, total", [("mcunet", 0.625, 2.03125), ("mbv2", 0.875, 1.640625), ("proxyless", 0.5, 1.0625)]
)
def test_tinytrain_last_layer(name, peak, total):  # G1
    assert TINYTRAIN.peak(fp32(name)) / 2**20 == peak
    assert cost.tinytrain(last_layer(name)) / 2**20 == total


def test_tinytrain_sparse_update():  # G2
    rows = trained(fp32("mcunet"), schemes.SCHEMES["mcunet-99kb"][1])
    assert sum(r.weights * r.share for r in rows) == 52480
    assert round(cost.tinytrain(rows) / 2**20, 4) == 1.4258
    assert round(cost.tinytrain(rows, moments=0) / 2**20, 3) == 1.025
    assert round(cost.backward_macs(rows) / 1e6, 2) == 11.88


@pytest.mark.parametrize(
    "name, macs, mebibytes", [("mcunet", 44.9, 902), ("mbv2", 34.9, 1045), ("proxyless", 38.4, 854)]
)
def test_tinytrain_full(name, macs, mebibytes):  # G3: memory at batch 100, everything kept in float32
    rows = fp32(name)
    assert (
        round(cost.backward_macs(trained(rows, dict.fromkeys(range(len(convs(rows))), 1))) / 1e6, 1) == macs
    )
    everything = replace(TINYTL, relu_bits=32)
    every = [replace(r, share=1.0, learns=True) for r in rows]
    total = 16 * sum(r.weights + r.biases for r in rows) + 100 * everything.total_kept(every)
    assert abs(total / 2**20 - mebibytes) < 1


@pytest.mark.parametrize("name, macs", [("mcunet", 1.475), ("mbv2", 0.803), ("proxyless", 0.590)])
def test_tinytrain_last_layer_macs(name, macs):  # G4
    assert abs(cost.backward_macs(last_layer(name)) / 1e6 - macs) < 0.001


def test_mcunetv3_parts():  # G5
    last, shares = schemes.SCHEMES["mcunet-99kb"]
    rows = trained(int8("mcunet"), shares, range(42 - last, 42))
    assert round(cost.mcunetv3(rows) / 1024, 2) == 99.84
    weights = sum(r.weights * r.share for r in rows if not r.head) + sum(
        4 * r.channels for r in rows if r.bias and not r.head
    )
    assert round(weights / 1024, 2) == 69.97


@pytest.mark.parametrize(
    "name, kibibytes",
    [  # G6: activations kept to reach the last 1 to 6 blocks
        ("mcunet", (80.3, 135.9, 191.6, 281.0, 392.3, 479.0)),
        ("mbv2", (54.7, 101.6, 148.5, 218.4, 325.7, 432.9)),
        ("proxyless", (60.3, 89.1, 118.0, 171.6, 241.5, 299.3)),
    ],
)
def test_tinytrain_saved_activations(name, kibibytes):
    *_, last = NETWORKS[name]
    lists = blocks(NETWORKS[name], 128)
    for k, value in enumerate(kibibytes, 1):
        rows = flat(lists[-(k + bool(last)) :])
        saved = TINYTRAIN.total_kept([replace(r, share=float(r.kind == "conv"), learns=True) for r in rows])
        assert saved / 1024 == pytest.approx(value, rel=0.003)


# -- our own count -------------------------------------------------------------------------------------------


def small():
    b = Builder((8, 8, 2), seed=3)
    b.conv(6, act="relu6")
    skip = b.x
    b.depthwise(act="relu")
    b.conv(6, (1, 1))
    b.add(skip, b.x)
    return b.graph()


def costs(c):
    return cost.of(c.trunk, c.plan, c.program, c.placement)


def test_what_is_kept_follows_from_the_plan():
    sizes = {policy: costs(compiled(small(), policy)) for policy in ("last", "bias", "full")}
    assert sizes["last"]["kept_bytes"] < sizes["bias"]["kept_bytes"] < sizes["full"]["kept_bytes"]
    assert (
        sizes["last"]["macs"]["backward"]
        < sizes["bias"]["macs"]["backward"]
        < sizes["full"]["macs"]["backward"]
    )


def test_papers_count_a_compiled_plan():
    c = compiled(small(), "full")
    rows = cost.table(c.trunk, c.plan)
    assert [r.kind for r in rows] == ["conv", "relu", "conv", "relu", "conv", "other", "conv"]
    masks, biases = 3 * 384 / 8, 3 * 4 * 6
    weights, inputs, head = 6 * 18 + 6 * 9 + 36, 128 + 384 + 384, 384
    assert cost.mcunetv3(rows) == masks + biases + weights + inputs + head
    assert [r.skip for r in rows] == [0, 0, 0, 384, 384, 0, 0]  # the tensor that the addition waits for
    assert set(costs(c)["analytic_kb"]) == {"mcunetv3", "tinytl", "mobiletl", "tinytrain"}
