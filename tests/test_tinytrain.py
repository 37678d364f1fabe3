"""Fisher information in integers, and the layers and channels that it chooses."""

import json

import numpy as np
import pytest
from checks import Exact, Trace, expected, head
from float_reference import softmax_error
from helpers import Bench, assets, calibrated, compiled, fastest, inputs
from models import Builder
from test_agree import network
from trimtab import choose
from trimtab_tools import cli, cost, export_tflite, import_checkpoint, plan, simulate, tinytrain

SAMPLES = 24


def deep():
    """Two residual blocks and a pooled branch: tensors with one, two and three readers."""
    b = Builder((8, 8, 3), seed=5)
    b.conv(8, (3, 3), (2, 2), act="relu6", scale=0.024, zero=-128)
    for i in range(2):
        x = b.x
        b.conv(20, (1, 1), act="relu6", scale=0.024, zero=-128)
        b.depthwise(act="relu6", scale=0.024, zero=-128)
        b.conv(8, (1, 1), scale=0.06, zero=4)
        b.add(x, b.x, scale=0.08 + 0.04 * i, zero=-40)
    b.depthwise(multiplier=2, kernel=(3, 3), stride=(2, 2), act="relu", scale=0.1, zero=-128)
    b.conv(14, (1, 1), act="relu", scale=0.1, zero=-128)
    b.reshape(14 * 4)
    b.dense(9)
    return b.graph()


NETWORKS = {"agree": network, "deep": deep}


def studied(graph, count, seed=0, **options):
    """(compiled, net with a head that knows something, samples, Fisher information)."""
    xs = inputs(graph, SAMPLES, seed)
    graph = calibrated(graph, xs)
    made = compiled(graph, f"tinytrain:{count}", **options)
    bench = Bench(made, fastest())
    bench.randomize_head(seed, xs)
    samples = [(x, i % 4) for i, x in enumerate(xs)]
    choose.study(bench.net, samples, made.program.candidates)  # the trackers come to know the errors
    return made, bench, samples, choose.study(bench.net, samples, made.program.candidates)


def real_information(made, bench, samples):
    """{layer: sum over samples of (sum over positions of a * dL/da)^2 for each channel that it reads} in float64."""
    found = {name: 0 for name in made.plan.study}
    layers = {op.name: op for op in plan.layers(made.trunk)}
    for x, y in samples:
        trace = Trace(made.trunk, x)
        error = softmax_error(trace, made.plan.head, *head(bench), y)[2]
        errors = trace.backward(made.plan.head.features, error, Exact())[0]
        for (name, op), c in zip(((n, layers[n]) for n in found), made.program.candidates):
            tensor = trace.root(op.inputs[0])
            a = trace.values[tensor] - made.trunk[tensor].zero_point
            found[name] = found[name] + (a.reshape(-1, c) * errors[tensor].reshape(-1, c)).sum(0) ** 2
    return found


def ranks(values):
    return np.argsort(np.argsort(np.asarray(values, np.float64)))


@pytest.mark.parametrize("name, count", [("agree", 4), ("deep", 7)])
def test_information_ranks_as_in_float64(name, count):
    made, bench, samples, found = studied(NETWORKS[name](), count)
    want = real_information(made, bench, samples)
    assert list(want) == [op.name for op in plan.layers(made.trunk)][-count:]
    potentials = []
    for (layer, real), (exponent, f) in zip(want.items(), found):
        got = np.array(f, np.float64) * 2.0**exponent
        assert np.corrcoef(ranks(got), ranks(real))[0, 1] > 0.95, layer
        assert got.sum() == pytest.approx(real.sum(), rel=0.15), layer  # layers share one unit
        potentials.append((got.sum(), real.sum()))
    assert (ranks([p[0] for p in potentials]) == ranks([p[1] for p in potentials])).all()


@pytest.mark.parametrize("name, count", [("agree", 5), ("deep", 8)])
def test_information_is_the_same_on_all_kernels(name, count):
    """The last candidate reads the network's input."""
    made, _, samples, found = studied(NETWORKS[name](), count)
    states = []
    for kernels in ("plain", "c"):
        net = simulate.load(made.data, simulate.tier(kernels))
        Bench(made, net=net).randomize_head(0, [x for x, _ in samples])
        results = [choose.study(net, samples[:8], made.program.candidates) for _ in range(2)]
        states.append((results, net.state_crc()))
        assert net.step == 0 and all(any(f) for _, f in results[1])
    assert states[0] == states[1]


def test_a_study_leaves_nothing_behind_but_trackers():
    """Training goes on as if the samples had never been studied."""
    made, bench, samples, _ = studied(deep(), 7)
    other = simulate.load(made.data, fastest())
    kept = [made.program.state[i] for i, about in enumerate(made.program.trained) if about["role"] != "exponents"]
    views = [bench.net._views[1], other._views[1]]
    bench.net.reset()
    choose.study(bench.net, samples, made.program.candidates)
    for x, y in samples:
        assert bench.net.train(x.ravel(), y) == other.train(x.ravel(), y)
    for b in kept:
        assert bytes(views[0][b.offset : b.offset + b.size]) == bytes(views[1][b.offset : b.offset + b.size]), b.name


def test_a_head_that_knows_nothing_tells_nothing():
    made = compiled(calibrated(deep(), inputs(deep(), 4)), "tinytrain:3")
    samples = [(x, i % 4) for i, x in enumerate(inputs(deep(), 4))]
    found = choose.study(simulate.load(made.data, fastest()), samples, made.program.candidates)
    assert not any(any(f) for _, f in found) and choose.scores(found, [(1, 1)] * 3) == [0, 0, 0]
    assert choose.pick(found, [(1, 1, 0, 0, 0, 0)] * 3, 1 << 30, 1 << 30) == []
    learnt = tinytrain.information(made, samples, epochs=1)
    assert all(any(f) for _, f in learnt)


def test_a_package_without_candidates_says_so():
    net = simulate.load(compiled(deep(), "last").data, fastest())
    with pytest.raises(ValueError, match="--policy tinytrain"):
        choose.study(net, [], [])


# -- scores and budgets --------------------------------------------------------------------------------------


def test_scores_are_potentials_over_parameters_times_products():
    found = [(-40, [3 << 20, 1 << 20]), (-38, [1 << 20, 1 << 20]), (-500, [0, 0])]
    got = choose.scores(found, [(10, 100), (5, 50), (1, 1)])
    assert got[1] / got[0] == pytest.approx(2 * 4 / 4 * (10 * 100) / (5 * 50)) and got[2] == 0


def test_the_chain_is_paid_for_once_down_to_the_first():
    rows = [(1, 1, 10, 5, 100, 7), (1, 1, 20, 6, 60, 4), (1, 1, 40, 7, 0, 2)]
    assert choose.cost(rows, []) == (0, 0)
    assert choose.cost(rows, [2]) == (40 + 2, 7)
    assert choose.cost(rows, [2, 1]) == (60 + 4, 13 + 60)
    assert choose.cost(rows, [0, 2]) == (50 + 7, 12 + 100)


def test_layers_join_by_score_while_the_whole_set_fits():
    rows = [(1, 1, 10, 5, 100, 0), (1, 1, 20, 6, 60, 0), (1, 1, 40, 7, 0, 0)]
    found = [(0, [9]), (0, [7]), (0, [8])]  # the first has the best score and the longest chain
    assert choose.pick(found, rows, 70, 118) == [0, 1, 2]
    assert choose.pick(found, rows, 70, 117) == [0, 2]  # 0, 2, and 1 would take 118
    assert choose.pick(found, rows, 70, 104) == [1, 2]  # 0 alone takes 105
    assert choose.pick(found, rows, 50, 1000) == [0, 2]
    assert choose.pick(found, rows, 49, 1000) == [0, 1]
    assert choose.pick(found, rows, 9, 1000) == []


def test_the_strongest_channels():
    assert choose.strongest([5, 9, 1, 9, 7], 3) == [1, 3, 4] and choose.strongest([2, 2, 2], 2) == [0, 1]


def test_the_table_counts_as_the_paper_does():
    """Products of the whole backward pass and of the fixed scheme that the paper compares with, in millions."""
    graph = import_checkpoint.read(assets() / "tiny_training" / "mcunet-5fps.npz")
    trunk = plan.cut_head(graph, 10)[0]
    assert tinytrain.most_macs(trunk, 1) / 1e6 == pytest.approx(44.9, abs=0.05)
    names = [op.name for op in plan.layers(trunk)]
    shares = {21: 1, 24: 1, 27: 1, 30: 1, 36: 1 / 8, 39: 1 / 4}
    table = [tinytrain.rows(trunk, [names[i]], share)[0][0] for i, share in shares.items()]
    assert choose.cost(table, range(6))[1] / 1e6 == pytest.approx(11.88, abs=0.01)
    assert len(plan.make(graph, "tinytrain", classes=10)[1].study) == 18


def test_a_plan_within_its_budget_is_what_the_compiler_makes_of_it(tmp_path):
    """Bytes and products of a choice beside those of the package that trains it."""
    made, _, _, found = studied(deep(), 7)
    chosen = tinytrain.updates(made, found, 1500, 0.3)
    assert chosen["bytes"] <= 1500 and chosen["share"] <= 0.3 and chosen["updates"]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(chosen))
    trained = compiled(made.trunk, f"plan:{path}")
    planes = sum(b["bytes"] for b in trained.program.trained if b["role"] in ("weights", "residual", "bias"))
    kept = sum(b.size for b in cost.kept(trained.program))
    own = cost.kept(compiled(made.trunk, "last").program)
    assert planes + kept - sum(b.size for b in own) <= 1.25 * chosen["bytes"]
    rows, counts = tinytrain.rows(made.trunk, made.plan.study, 1 / 4)
    sizes = dict(zip(made.plan.study, counts))
    assert all(len(u["weight_channels"]) == sizes[u["layer"]] for u in chosen["updates"])


# -- the command ---------------------------------------------------------------------------------------------


@pytest.fixture()
def task(tmp_path):
    """A model and the samples of a task as files."""
    (tmp_path / "net.tflite").write_bytes(export_tflite.write(calibrated(deep(), inputs(deep(), 8))))
    y = np.arange(20) % 2
    x = inputs(deep(), 20).astype(np.int64) + np.where(y, 40, -40)[:, None, None, None]
    np.savez(tmp_path / "task.npz", x=np.clip(x, -128, 127).astype(np.int8), y=y)
    return tmp_path


def chosen(task, *options):
    return cli.main(["choose", f"{task}/net.tflite", f"--data={task}/task.npz", f"-o{task}/plan.json", *options])


def test_choose_writes_a_plan_that_compiles_and_trains(task, capsys):
    assert chosen(task, "--labels=cup,mug", "--budget=2", "--macs=0.3", "--ratio=1/2", "--layers=6", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    written = json.loads((task / "plan.json").read_text())
    assert said.pop("plan") == f"{task}/plan.json" and said == written and written["bytes"] <= 2048
    assert cli.main(["compile", f"{task}/net.tflite", f"--policy=plan:{task}/plan.json", "--labels=cup,mug",
                     f"-o{task}/net.ttp"]) == 0
    assert cli.main(["simulate", f"{task}/net.ttp", f"--data={task}/task.npz", "--steps=60", "--json"]) == 0
    losses = json.loads(capsys.readouterr().out.splitlines()[-1])["losses"]
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20])


@pytest.mark.parametrize("options, says", [
    (["--labels=cup,mug", "--budget=0"], "no layer fits the budget of 0 bytes"),
    (["--labels=cup,mug", "--budget=2", "--macs=0"], "--macs 0 is not a share"),
    (["--labels=cup,mug", "--budget=2", "--ratio=3/2"], "--ratio 3/2 is not a share"),
    (["--labels=cup,mug", "--budget=2", "--layers=99"], "give tinytrain: a number of layers"),
    (["--labels=cup", "--budget=2"], "task.npz"),
    (["--labels=cup,mug", "--budget=2", "--epochs=-1"], "--epochs -1 is out of range"),
])
def test_choose_refuses(task, capsys, options, says):
    assert chosen(task, *options) == 1
    assert says in capsys.readouterr().err and not (task / "plan.json").exists()
