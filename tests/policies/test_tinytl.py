"""Policy tinytl: modules in integers against a float64 model, which is held against finite differences."""

import json
import re

import numpy as np
import pytest
from helpers import Bench, all_apart, calibrated, compiled, fastest, inputs, provide, step
from models import Builder
from sampled import others_slow
from trimtab_tools import cli
from trimtab_tools.boards import simulated as simulate
from trimtab_tools.compiler import cost
from trimtab_tools.compiler.package_reading import Contents
from trimtab_tools.errors import ModelError
from trimtab_tools.formats import write_tflite
from trimtab_tools.lab import float_tinytl, float_twin
from trimtab_tools.operators import oracle as reference
from trimtab_tools.operators import tinytl
from trimtab_tools.policies import plan
from trimtab_tools.policies.make import make_plan

RATE = 0.02


def network(channels=16, out=24, side=8, stride=2, blocks=1, seed=5):
    """A convolution, then blocks: the first has this input and output, the others keep its shape and skip."""
    relu = {"act": "relu6", "scale": 6 / 255, "zero": -128}
    b = Builder((side, side, 3), seed, scale=0.02, zero=0)
    b.conv(channels, scale=0.05, zero=-20)
    for n in range(blocks):
        skip, s = b.x, stride if n == 0 else 1
        b.conv(2 * channels, (1, 1), **relu)
        b.depthwise(stride=(s, s), **relu)
        b.conv(out, (1, 1), scale=0.06, zero=9)
        if b.shape() == b.shape(skip):
            b.add(skip, b.x, scale=0.08, zero=-5)
    b.mean(scale=0.02, zero=-30)
    graph = b.graph()
    return calibrated(graph, inputs(graph, 8))


SHAPES = {  # channels in and out, side, stride, width: 8, 16 or 24 channels between
    "skip": (16, 16, 8, 1, "1/4"),
    "stride_2": (16, 24, 8, 2, "1/4"),
    "pointwise": (24, 40, 4, 2, "1/2"),
    "wide": (24, 24, 8, 1, "1"),
    "odd_side": (16, 20, 7, 2, "1"),
    "5x5": (16, 24, 12, 1, "1/2"),
    "odd_channels": (15, 15, 6, 1, "1/2"),
}


def moved(graph, policy, path, seed=1):
    """Modules as training might leave them, in a file; the policy that begins with them."""
    trunk, _ = make_plan(graph, policy, classes=4)
    rng, found = np.random.default_rng(seed), {}
    for op in (op for op in trunk.ops if op.kind == "tinytl"):
        for name in op.inputs[2:]:
            data = trunk[name].data
            if data.dtype == np.int32:
                unit = 65536 if "affine1" in name else 3 * 65536
                spread = rng.uniform(0.3, 1.5, data.shape) * rng.choice([-1, 1], data.shape)
                data = np.rint(unit * spread * [[1], [0.3]]).astype(np.int32)
            found[f"{op.name}|{name}"] = data
    np.savez(path, **found)
    return f"{policy},from={path}"


def case(name, tmp_path, options="", **kwargs):
    *shape, width = SHAPES[name]
    graph = network(*shape)
    policy = moved(graph, f"tinytl:width={width}{options}", tmp_path / "modules.npz")
    samples = inputs(graph, 8, seed=3)
    return compiled(graph, policy, samples=samples, rate=RATE, **kwargs), samples


# -- arithmetic


@pytest.mark.parametrize("name", SHAPES)
def test_forward_is_the_reference(name, tmp_path):
    """Every activation, the module's output among them, bit for bit; and near to real numbers."""
    c, samples = case(name, tmp_path)
    wanted = reference.forward(c.trunk, samples)
    with all_apart(c) as data:
        net = simulate.load(data, fastest())
        arena = np.frombuffer(net.arena, np.int8)
        for i, x in enumerate(samples):
            net.input_view[:] = x.tobytes()
            net.classify_input()
            for tensor, buffer in c.program.activations.items():
                assert np.array_equal(arena[buffer.offset :][: buffer.size], wanted[tensor][i].reshape(-1)), (
                    tensor
                )
    op = next(op for op in c.trunk.ops if op.kind == "tinytl")
    layer = float_tinytl.Module(c.trunk, op, op.inputs[:2], None, True)
    before, real = wanted[op.inputs[0]], layer.forward([wanted[n] for n in op.inputs[:2]])
    assert np.abs(wanted[op.outputs[0]] - before.astype(int)).mean() > 1
    assert np.abs(wanted[op.outputs[0]] - real.astype(int)).max() <= 2


@pytest.mark.parametrize("name", SHAPES)
def test_the_float_model_has_the_gradients_of_finite_differences(name, tmp_path):
    c, samples = case(name, tmp_path, ",dx")
    op = next(op for op in c.trunk.ops if op.kind == "tinytl")
    layer = float_tinytl.Module(c.trunk, op, op.inputs[:2], None, True)
    layer.wanted = [True, True]
    values = reference.forward(c.trunk, samples[:1])
    xs = [values[n].astype(float) for n in op.inputs[:2]]
    rng = np.random.default_rng(0)
    gy = rng.standard_normal(xs[0].shape)
    tensors = {
        "w1": layer.w1,
        "w2": layer.w2,
        "affine1": layer.affines[0],
        "affine2": layer.affines[1],
        "x": xs[1],
    }
    gains = {
        "w1": tinytl.WEIGHT_GAIN,
        "w2": tinytl.WEIGHT_GAIN,
        "affine1": layer.gains[0],
        "affine2": layer.gains[1],
    }
    numeric = {}
    for key, tensor in tensors.items():
        some = rng.permutation(tensor.size)[:40]
        numeric[key] = some, [_slope(layer, xs, gy, tensor, i) for i in some]
    layer.join(xs)
    layer.mask = np.ones(gy.shape, bool)
    before = {key: tensor.copy() for key, tensor in tensors.items()}
    dx = layer.backward(gy, 1e-9)[1]
    after = {"w1": layer.w1, "w2": layer.w2, "affine1": layer.affines[0], "affine2": layer.affines[1]}
    for key, (some, wanted) in numeric.items():
        found = dx if key == "x" else (before[key] - after[key]) / gains[key] / 1e-9
        assert np.allclose(found.reshape(-1)[some], wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max()), key


def _slope(layer, xs, gy, tensor, i, step=1e-4):
    values, flat = [], tensor.reshape(-1)
    kept = flat[i]
    for sign in (1, -1):
        flat[i] = kept + sign * step
        values.append((layer.join(xs) * gy).sum())
    flat[i] = kept
    return (values[0] - values[1]) / (2 * step)


def moving(bench, c):
    """{tensor: values in the float model's units}, residuals included."""
    found = {}
    for about in c.program.trained:
        if about["role"] == "weights":
            rest = bench.read(bench.state(about["name"].replace("weights", "residual"))) / 256
            scale = c.trunk[about["tensor"]].scale[0]
            found[about["tensor"]] = (bench.read(bench.state(about["name"])) + rest) * scale
        elif about["role"] in ("affine", "bias"):
            unit = 65536 if about["role"] == "affine" else 1
            found[about["tensor"]] = bench.read(bench.state(about["name"]), "<i4") / unit
    return found


def moving_in(twin):
    found = {}
    for layer in twin.layers:
        if isinstance(layer, float_tinytl.Module):
            found.update(zip(layer.op.inputs[2:], (layer.w1, layer.affines[0], layer.w2, layer.affines[1])))
        elif layer.update:
            found[layer.op.inputs[2]] = layer.b
    return found


def passed(trunk, op, x):
    """Where the integer module's ReLU lets errors through."""
    hidden = tinytl.before_relu(trunk, op, reference.forward(trunk, x[None])[op.inputs[1]])
    return (hidden > 0) & (hidden < 255 << 7)


@pytest.mark.parametrize("options", ["", ",dx", ",nobias"])
@pytest.mark.parametrize("name", SHAPES)
def test_gradients(name, options, tmp_path):
    """What steps move, against the float model, tensor by tensor: direction and size.

    Where rounding puts a hidden value on the other side of the ReLU, gradients do differ: the model takes
    the integers' side.
    """
    c, samples = case(name, tmp_path, options)
    bench = Bench(c, fastest())
    bench.randomize_head(1, samples)
    bench.settle(list(samples), [i % 4 for i in range(8)])
    biases = sum(not u.channels for u in c.plan.updates)
    head = bench.read(bench.state("head.weights"), "<i2").reshape(4, -1) / 4096
    initial, found, real = bytes(bench.net.state), {}, {}
    for i, x in enumerate(samples):
        bench.net.state[:] = initial
        before = moving(bench, c)
        assert bench.run(x, i % 4)
        twin = float_twin.Twin(c.trunk, c.plan, c.trunk.inputs[0])
        twin.w = head.copy()
        for layer in twin.layers:
            if isinstance(layer, float_tinytl.Module):
                side = passed(c.trunk, layer.op, x)
                layer.passes = lambda side=side: side
        was = {key: value.copy() for key, value in moving_in(twin).items()}
        twin.step(x, i % 4, RATE)
        now = moving_in(twin)
        for key, value in moving(bench, c).items():
            found.setdefault(key, []).append(value - before[key])
            real.setdefault(key, []).append((now[key] - was[key]).reshape(-1))
    assert len(found) == 4 * (len(c.plan.updates) - biases) + biases
    for key, moved in found.items():
        a, b = np.concatenate(moved), np.concatenate(real[key])
        cosine, ratio = a @ b / np.linalg.norm(a) / np.linalg.norm(b), np.linalg.norm(a) / np.linalg.norm(b)
        assert cosine >= 0.99 and 0.97 < ratio < 1.03, (key, cosine, ratio)


def test_errors_go_through_a_module_where_they_may(tmp_path):
    """dx: what it adds to the moves of the biases below a module is what it adds in the float model."""
    moved_by = {}
    for options in ("", ",dx"):
        graph = network(16, 16, 8, 1, blocks=2)
        policy = moved(graph, f"tinytl:2{options}", tmp_path / "modules.npz")
        samples = inputs(graph, 8, seed=3)
        c = compiled(graph, policy, samples=samples, rate=RATE)
        bench = Bench(c, fastest())
        bench.randomize_head(1, samples)
        bench.settle(list(samples), [i % 4 for i in range(8)])
        head = bench.read(bench.state("head.weights"), "<i2").reshape(4, -1) / 4096
        before = moving(bench, c)
        assert bench.run(samples[5], 1)
        twin = float_twin.Twin(c.trunk, c.plan, c.trunk.inputs[0])
        twin.w = head.copy()
        was = {key: value.copy() for key, value in moving_in(twin).items()}
        twin.step(samples[5], 1, RATE)
        project = graph.ops[3]
        key = project.inputs[2]
        moved_by[options] = moving(bench, c)[key] - before[key], moving_in(twin)[key] - was[key]
    for detached, through in zip(moved_by[""], moved_by[",dx"]):
        assert np.linalg.norm(through - detached) > 0.03 * np.linalg.norm(through)
    found, real = (through - detached for detached, through in zip(moved_by[""], moved_by[",dx"]))
    assert found @ real / np.linalg.norm(found) / np.linalg.norm(real) > 0.9


# -- steps on every board


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tinytl")
    (folder / "net.tflite").write_bytes(write_tflite.write(network(blocks=2)))
    for name, options in {
        "modules": ["--policy=tinytl:nobias"],
        "all": ["--policy=tinytl:width=1/2,dx", "--residual=4"],
        "sums": ["--policy=tinytl:1", "--accumulate=4"],
    }.items():
        command = [
            "compile",
            f"{folder}/net.tflite",
            *options,
            "--classes=4",
            "--lr=0.05",
            "-o",
            f"{folder}/{name}.ttp",
        ]
        assert cli.main(command) == 0
    return folder


PLACES = [("sim", "c"), ("unix", "plain"), ("unix", "viper"), ("unix", "c"), ("pico", "viper"), ("pico", "c")]


@pytest.mark.pico
@pytest.mark.unix
@pytest.mark.parametrize("name", others_slow(["modules", "all", "sums"], "all"))
def test_state_is_the_same_on_every_board(packages, capsys, name):
    for board, _ in PLACES:
        provide(board)
    reference = simulated(capsys, packages / f"{name}.ttp", "sim", "plain")
    assert len(set(reference["losses"])) > 10
    for place in PLACES:
        result = simulated(capsys, packages / f"{name}.ttp", *place)
        assert (result["state_crc"], result["losses"]) == (reference["state_crc"], reference["losses"]), place


def simulated(capsys, package, board, kernels):
    capsys.readouterr()
    options = ["--board", board, "--kernels", kernels, "--steps", "20", "--seed", "3", "--json"]
    assert cli.main(["simulate", str(package), *options]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["modules", "all", "sums"])
def test_modules_learn(packages, name):
    """Every tensor of every module moves."""
    net = simulate.load((packages / f"{name}.ttp").read_bytes(), fastest())
    before = Contents(packages / f"{name}.ttp")
    graph = before.graph()
    rng = np.random.default_rng(0)
    for i in range(200):
        x = np.clip(rng.normal(0, 40, net.input_bytes) + 30 * (i % 4 - 1.5), -128, 127)
        step(net, x, i % 4)
    after = Contents(packages / f"{name}.ttp", b"".join(bytes(part) for part in net.segments)).graph()
    ops = [op for op in graph.ops if op.kind == "tinytl"]
    for op in ops:
        for tensor in op.inputs[2:]:
            assert (graph[tensor].data != after[tensor].data).any(), tensor


# -- the policy


def test_a_new_module_changes_nothing():
    graph = network(blocks=2)
    trunk, _ = make_plan(graph, "tinytl", classes=4)
    frozen, _ = make_plan(graph, "last", classes=4)
    samples = inputs(graph, 4)
    assert np.array_equal(
        reference.forward(trunk, samples)[trunk.outputs[0]],
        reference.forward(frozen, samples)[frozen.outputs[0]],
    )


def test_options():
    graph = network(32, 32, 16, 1, blocks=3)

    def modules(policy):
        trunk, chosen = make_plan(graph, policy, classes=4)
        return [op for op in trunk.ops if op.kind == "tinytl"], trunk, chosen

    ops, trunk, chosen = modules("tinytl")
    assert [op.name for op in ops] == ["lite_1", "lite_2", "lite_3"]
    assert trunk[ops[0].inputs[2]].shape == (8, 5, 5, 16) and trunk[ops[0].inputs[4]].shape == (32, 1, 1, 8)
    assert [u.layer for u in chosen.updates if not u.channels] == [
        op.name for op in trunk.ops if op.kind in plan.WEIGHTED
    ][1:]
    assert [op.name for op in modules("tinytl:1,nobias")[0]] == ["lite_3"]
    assert [u.layer for u in modules("tinytl:2,nobias")[2].updates] == ["lite_2", "lite_3"]
    assert len([u for u in modules("tinytl:1")[2].updates]) == 4  # three layers and the module
    assert modules("tinytl:width=3/4")[1]["lite_1.weights1"].shape[0] == 24
    other = modules("tinytl:seed=1")[1]
    assert (trunk["lite_1.weights1"].data != other["lite_1.weights1"].data).any()
    assert ops[0].attrs["detached"] == (1,) and modules("tinytl:dx")[0][0].attrs["detached"] == ()


@pytest.mark.parametrize(
    "policy, cure",
    [
        ("tinytl:9", "choose 1 to 2"),
        ("tinytl:0", "choose 1 to 2"),
        ("tinytl:width=2", "up to 1"),
        ("tinytl:width=1/0", "width=1/4"),
        ("tinytl:depth=3", "is not an option"),
        ("tinytl:nothing", "is not an option"),
        ("tinytl:from=nowhere.npz", "export a package"),
    ],
)
def test_what_is_refused(policy, cure):
    with pytest.raises(ModelError, match=re.escape(cure)):
        make_plan(network(blocks=2), policy, classes=4)


def test_a_model_without_blocks():
    b = Builder((8, 8, 3), seed=1)
    b.conv(8)
    b.mean()
    with pytest.raises(ModelError, match="choose policy bias"):
        make_plan(b.graph(), "tinytl", classes=4)


def test_modules_travel_by_export_only(packages, tmp_path, capsys):
    path = packages / "modules.ttp"
    assert cli.main(["export", str(path), "-o", str(tmp_path / "net.npz")]) == 0
    with np.load(tmp_path / "net.npz") as found:
        assert found["lite_1|lite_1.weights1"].shape == (8, 3, 3, 8)
        assert found["lite_1|lite_1.affine1"][0].tolist() == [65536] * 8
    command = [
        "compile",
        str(packages / "net.tflite"),
        f"--policy=tinytl:nobias,from={tmp_path}/net.npz",
        "--classes=4",
    ]
    assert cli.main([*command, "-o", str(tmp_path / "again.ttp")]) == 0
    assert cli.main(["export", str(path), "-o", str(tmp_path / "net.tflite")]) == 1
    assert "trimtab export PACKAGE -o tensors.npz" in capsys.readouterr().err
    assert not (tmp_path / "net.tflite").exists()


def test_memory_of_modules_is_counted(packages):
    trunk, chosen = make_plan(network(), "tinytl:nobias", classes=4)
    none = cost.table(*make_plan(network(), "last", classes=4))
    rows = cost.table(trunk, chosen)
    weights = 8 * 9 * 8 + 24 * 8
    assert cost.tinytl(rows) - cost.tinytl(none) >= 4 * weights
    assert sum(r.weights for r in rows) - sum(r.weights for r in none) == weights + 8 + 24
    assert sum(r.macs for r in rows) - sum(r.macs for r in none) == 4 * weights
