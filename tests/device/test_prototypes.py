"""The prototype head: its numbers against real ones, few samples that become classes, every tier alike."""

import json
import subprocess
import sys

import numpy as np
import pytest
import toys
import trimtab
from checks import check_gradients, head, real_gradient, settled
from float_reference import Exact, Trace, softmax_error
from helpers import TIERS, calibrated, compiled, fastest, inputs, load, provide, tier
from models import Builder
from networks import trained_layers as network
from operator_graphs import OPERATORS
from package_parts import with_header
from sampled import others_slow
from trimtab.augment import Augment
from trimtab.package import Package, PackageError
from trimtab_tools import cli
from trimtab_tools.boards import simulated
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.boards.unix import Unix
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.errors import ModelError
from trimtab_tools.formats import write_tflite
from trimtab_tools.link.repl import mpremote
from trimtab_tools.operators import oracle
from trimtab_tools.operators.registry import WEIGHTED

RATE = 0.02


def package(policy="full", **options):
    options.setdefault("classes", 10)
    return compiled(toys.reader(), policy, head="prototype", rate=RATE, **options)


def support(shots=3, classes=range(10), seed=0):
    """[(pixels, class)], one of each class after the other."""
    data = toys.digits()
    rows = [np.flatnonzero(data.y == k)[10 * seed : 10 * seed + shots] for k in classes]
    return [(data.train[0, i].tobytes(), int(data.y[i])) for turn in zip(*rows) for i in turn]


def exam():
    data = toys.digits()
    return [(x.tobytes(), int(y)) for x, y in zip(data.test, data.y_test)]


def shorts(net, c, name):
    buffer = next(b for b in c.program.state if b.name == name)
    code = {"head.prototypes": "<i2", "head.counts": "<i4", "head.totals": "<i4"}[name]
    return np.frombuffer(bytes(net.state[buffer.offset : buffer.offset + buffer.size]), code)


def directions(c, pixels):
    """Features of unit length, in real numbers."""
    x = np.stack([np.frombuffer(p, np.uint8) for p in pixels]).reshape(-1, 8, 8, 1) ^ 128
    f = c.trunk[c.plan.head.features]
    values = oracle.forward(c.trunk, x.view(np.int8))[f.name].reshape(len(x), -1) - float(f.zero_point)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


# -- numbers -------------------------------------------------------------------------------------------------


def around(grow, features=48):
    """A trainable layer, the operator, another layer, and features enough for random prototypes to differ."""
    b = Builder((6, 6, 3), 1)
    b.conv(6, act="relu", scale=0.1, zero=-128)
    grow(b)
    b.dense(features, scale=0.05, zero=7)
    return calibrated(b.graph(), inputs(b.graph(), 4))


@pytest.mark.parametrize("kernels", TIERS)
@pytest.mark.parametrize("name", ("conv_stride2", "conv5x5", "depthwise_stride2", "dense_on_reshaped", "add"))
def test_gradients_of(name, kernels):
    graph = around(OPERATORS[name])
    c = compiled(graph, head="prototype", accumulate=2)
    check_gradients(c, tier(kernels), inputs(graph, 4), [0, 1, 2, 3])


def test_the_reference_agrees_with_finite_differences():
    graph = around(OPERATORS["conv_stride2"])
    c, x = compiled(graph, head="prototype", accumulate=2), inputs(graph, 4)
    bench = settled(c, fastest(), x, [0, 1, 2, 3])
    op = next(op for op in c.trunk.ops if op.kind in WEIGHTED)
    rng, w = np.random.default_rng(0), c.trunk[op.inputs[1]]

    def loss(d):
        moved = {
            **c.trunk.tensors,
            w.name: w.__class__(w.name, w.shape, w.dtype, w.scale, w.zero_point, w.data + d),
        }
        trace = Trace(c.trunk.__class__(moved, *list(vars(c.trunk).values())[1:]), x[0], rounded=False)
        return softmax_error(trace, c.plan.head, *head(bench), 2)

    error = loss(np.zeros(w.shape))[2]
    grad = real_gradient(
        op, Trace(c.trunk, x[0], rounded=False).backward(c.plan.head.features, error, Exact())[1][op.name]
    )
    d = rng.standard_normal(grad.shape)
    step = 1e-5 / np.abs(grad * d).sum()
    slope = (loss(step * d)[0] - loss(-step * d)[0]) / (2 * step)
    assert slope == pytest.approx((grad * d).sum(), rel=1e-3)


@pytest.mark.parametrize("kernels", TIERS)
def test_prototypes_are_mean_directions_and_logits_cosines(kernels):
    c = package("last")
    net, some = load(c, kernels), support(3)
    net.enroll(some)
    means = np.stack([directions(c, [x for x, y in some if y == k]).mean(0) for k in range(10)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    assert np.abs(shorts(net, c, "head.prototypes").reshape(10, -1) / 16384 - means).max() < 1e-3
    assert shorts(net, c, "head.counts").tolist() == [3] * 10
    for x, _ in exam()[:20]:
        found = net.predict(x)
        cosines = 10 * means @ directions(c, [x])[0]
        assert np.abs(np.array(net.outputs()) - cosines).max() < 0.02
        assert cosines[found] > cosines.max() - 0.02


def test_enrolling_again_forgets_only_the_classes_that_come():
    c = package("last")
    net = load(c, fastest())
    net.enroll(support(3))
    before = shorts(net, c, "head.prototypes").reshape(10, -1).copy()
    net.enroll(support(5, range(4), seed=1)[::-1])
    after = shorts(net, c, "head.prototypes").reshape(10, -1)
    assert np.array_equal(before[4:], after[4:]) and (before[:4] != after[:4]).any(1).all()
    assert shorts(net, c, "head.counts").tolist() == [5] * 4 + [3] * 6
    fresh = load(c, fastest())
    fresh.enroll(support(5, range(4), seed=1))
    assert np.array_equal(shorts(fresh, c, "head.prototypes").reshape(10, -1)[:4], after[:4])


def test_a_class_without_samples_is_never_said():
    net = load(package("last"), fastest())
    net.enroll(support(3, range(2, 6)))
    assert {net.predict(x) for x, _ in exam()} == {2, 3, 4, 5}


def test_prototypes_follow_the_samples_of_training():
    """Of one class alone, nothing has a gradient, and the prototype is the mean of what came last."""
    c = package("last")
    net = load(c, fastest())
    some = support(20, [3])
    for x, y in some + some:
        net.train(x, y)
    total = count = 0
    for one in np.tile(directions(c, [x for x, _ in some]), (2, 1)):
        total, count = (total / 2, count // 2) if count == 32 else (total, count)
        total, count = total + one, count + 1
    assert shorts(net, c, "head.counts")[3] == count == 24
    found = shorts(net, c, "head.prototypes").reshape(10, -1)[3] / 16384
    assert np.abs(found - total / np.linalg.norm(total)).max() < 1e-3


# -- learning ------------------------------------------------------------------------------------------------


def test_moved_copies_teach_the_layers_below(capsys):
    net = load(package(), fastest())
    some = support(5)
    net.enroll(some)
    before = net.evaluate(exam())
    loss = net.fit_few(some, epochs=20, shift=1)
    lines = capsys.readouterr().out
    first = float(lines.split("loss ")[1].split()[0])
    assert loss < 0.8 * first and "epoch 20/20" in lines
    assert net.evaluate(exam()) > before + 0.03
    assert net.step == net.total == 20 * len(some)


def test_new_classes_are_enrolled_where_there_is_room(tmp_path):
    labels = tuple("abcdefgh")
    path = tmp_path / "net.ttp"
    path.write_bytes(package("last", classes=0, labels=labels, max_classes=10).data)
    net = trimtab.load(str(path), fastest())
    net.enroll([(x, labels[y]) for x, y in support(5, range(8))])
    net.add_class("mug")
    assert "mug" not in {net.predict(x) for x, _ in exam()}
    net.enroll([(x, "mug") for x, _ in support(5, [8])])
    right = [net.predict(x) == "mug" for x, y in exam() if y == 8]
    assert sum(right) > 0.3 * len(right)
    net.save()
    again = trimtab.load(str(path), fastest())
    assert again.labels[-1] == "mug" and again.state_crc() == net.state_crc()
    assert [again.predict(x) for x, _ in exam()[:30]] == [net.predict(x) for x, _ in exam()[:30]]


# -- the same everywhere -------------------------------------------------------------------------------------

STORY = """
import sys
sys.path[:0] = %r
import trimtab
net = trimtab.load(%r, %r)
some = %r
net.enroll(some)
print(net.state_crc())
print("%%.3f" %% net.fit_few(some, epochs=4, shift=2, flip=True, brightness=20))
print(net.state_crc(), net.step)
"""


def told(lines):
    """State, loss and state: the last words of lines, without the progress."""
    words = [line.split()[-2:] for line in lines.strip().splitlines()]
    return words[0] + words[-2] + words[-1]


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """20 steps: package, samples, what `sim` says."""
    folder = tmp_path_factory.mktemp("story")
    (folder / "net.ttp").write_bytes(package().data)
    some = support(1, range(5))
    text = STORY % (sys.path, str(folder / "net.ttp"), "plain", some)
    out = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout
    return folder, some, out


def test_c_tells_the_story_as_plain_does(story):
    folder, some, out = story
    net = trimtab.load(str(folder / "net.ttp"), tier("c"))
    net.enroll(some)
    assert str(net.state_crc()) in out
    net.fit_few(some, epochs=4, shift=2, flip=True, brightness=20)
    assert f"{net.state_crc()} 20" in out


@pytest.mark.unix
@pytest.mark.parametrize("kernels", ("plain", "viper", "c"))
def test_unix_tells_it_too(story, kernels):
    provide("unix")
    folder, some, out = story
    code = STORY % ([], "net.ttp", kernels, some)
    files = {"net.ttp": (folder / "net.ttp").read_bytes()}
    with Unix("-c", code, files=files, kernels=kernels == "c") as unix:
        assert told(unix.output()) == told(out)


@pytest.mark.pico
@pytest.mark.parametrize("kernels", others_slow(("viper", "c"), "c"))
def test_a_pico_tells_it_too(story, kernels, tmp_path):
    provide("pico")
    folder, some, out = story
    data = (folder / "net.ttp").read_bytes()
    script = tmp_path / "story.py"
    script.write_text(STORY % ([], "/net.ttp", kernels, some))
    with Pico(files={**library_files("armv6m", kernels, data), "/net.ttp": data}) as pico:
        assert told(mpremote(pico.url, "run", script)) == told(out)


# -- moved copies --------------------------------------------------------------------------------------------


def as_view(picture):
    return memoryview(bytearray(picture.tobytes()))


def back(view, picture):
    return np.frombuffer(bytes(view), picture.dtype).reshape(picture.shape)


def test_pictures_move_as_they_should():
    picture = np.random.default_rng(0).integers(-128, 128, (5, 6, 2)).astype(np.int8)
    augment = Augment(picture.shape)
    for down in range(-6, 7):
        for right in range(-7, 8):
            view = as_view(picture)
            augment._move(view, down, right)
            rows, columns = (np.clip(np.arange(n) - by, 0, n - 1) for n, by in ((5, down), (6, right)))
            assert np.array_equal(back(view, picture), picture[rows][:, columns]), (down, right)
    view = as_view(picture)
    augment._mirror(view)
    assert np.array_equal(back(view, picture), picture[:, ::-1])


def test_values_saturate():
    picture = np.array([[[-128], [-100], [0], [127]]], np.int8)
    for more, want in ((20, [-108, -80, 20, 127]), (-30, [-128, -128, -30, 97])):
        augment = Augment(picture.shape, 0, False, 1)
        augment._draw = lambda most, more=more: more
        view = as_view(picture)
        augment(view, 0)
        assert back(view, picture).ravel().tolist() == want


def test_every_move_is_drawn_alike():
    augment = Augment((28, 28, 1))
    seen = []
    augment._move = lambda view, down, right: seen.append((down, right))
    for number in range(5000):
        augment(None, number)
    counts = np.unique(seen, axis=0, return_counts=True)[1]
    assert len(counts) == 25 and counts.min() > 130 and counts.max() < 280


# -- refusals, costs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, why",
    [
        ({"loss": "mse"}, "and a softmax loss"),
        ({"head": "cosine"}, "use dense or prototype"),
    ],
)
def test_what_cannot_be_compiled(options, why):
    with pytest.raises(ModelError, match=why):
        compiler.compile_graph(
            toys.reader(),
            "last",
            **{"classes": 3, "head": "prototype", **options},
            kernels=simulated.best_tier(),
        )


def test_the_classes_of_prototypes_are_said():
    with pytest.raises(ModelError, match="needs --labels or --classes"):
        compiler.compile_graph(network(), "last", head="prototype", kernels=simulated.best_tier())


@pytest.mark.parametrize("at", (0, 4, 0xFFFFFFF, (2 << 28) - 4))
def test_an_input_without_a_shape_is_not_moved(at):
    data = package("last").data
    assert Package(data).shape() == (8, 8, 1)
    with pytest.raises(PackageError, match="has no shape"):
        Package(with_header(data, input_shape=at)).shape()


def test_a_dense_head_enrolls_nothing():
    net = load(compiled(toys.reader(), "last", classes=10), fastest())
    with pytest.raises(ValueError, match="compile it with --head prototype"):
        net.enroll(support(1))


def test_the_command(tmp_path, capsys):
    (tmp_path / "net.tflite").write_bytes(write_tflite.write(toys.reader()))
    command = [
        "compile",
        f"{tmp_path}/net.tflite",
        "--head",
        "prototype",
        "--classes",
        "4",
        "--policy",
        "bias:2",
    ]
    assert cli.main([*command, "-o", f"{tmp_path}/net.ttp"]) == 0
    capsys.readouterr()
    assert cli.main(["simulate", f"{tmp_path}/net.ttp", "--steps", "20", "--json"]) == 0
    losses = json.loads(capsys.readouterr().out)["losses"]
    assert len(losses) == 20 and len(set(losses)) > 10
