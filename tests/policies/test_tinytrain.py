"""Fisher information in integers, and the layers and channels that it chooses."""

import json

import numpy as np
import pytest
import toys
from checks import Exact, Trace, head
from float_reference import softmax_error
from helpers import Bench, assets, calibrated, compiled, fastest, inputs, written
from networks import trained_layers as network
from trimtab import fisher
from trimtab_tools import cli
from trimtab_tools.boards import simulated
from trimtab_tools.compiler import cost
from trimtab_tools.formats import read_checkpoint, write_tflite
from trimtab_tools.lab import tinytrain
from trimtab_tools.policies import head as heads
from trimtab_tools.policies import plan
from trimtab_tools.policies import tinytrain as policy
from trimtab_tools.policies.make import make_plan

SAMPLES = 24
NETWORKS = {"agree": network, "deep": toys.deep}


def studied(graph, count, seed=0, **options):
    """(compiled, net with a head that knows something, samples, Fisher information)."""
    xs = inputs(graph, SAMPLES, seed)
    graph = calibrated(graph, xs)
    made = compiled(graph, f"tinytrain:{count}", **options)
    bench = Bench(made, fastest())
    bench.randomize_head(seed, xs)
    samples = [(x, i % 4) for i, x in enumerate(xs)]
    fisher.study(
        bench.net, samples, list(made.program.candidates.values())
    )  # the trackers come to know the errors
    return made, bench, samples, fisher.study(bench.net, samples, list(made.program.candidates.values()))


def real_information(made, bench, samples):
    """{layer: sum over samples of (sum over positions of a * dL/da)^2 for each input channel} in float64."""
    found = {name: 0 for name in made.plan.hook.names}
    layers = {op.name: op for op in plan.layers(made.trunk)}
    for x, y in samples:
        trace = Trace(made.trunk, x)
        error = softmax_error(trace, made.plan.head, *head(bench), y)[2]
        errors = trace.backward(made.plan.head.features, error, Exact())[0]
        for (name, op), c in zip(((n, layers[n]) for n in found), made.program.candidates.values()):
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
        net = simulated.load(made.data, simulated.tier(kernels))
        Bench(made, net=net).randomize_head(0, [x for x, _ in samples])
        results = [fisher.study(net, samples[:8], list(made.program.candidates.values())) for _ in range(2)]
        states.append((results, net.state_crc()))
        assert net.step == 0 and all(any(f) for _, f in results[1])
    assert states[0] == states[1]


def test_a_study_leaves_nothing_behind_but_trackers():
    """Training goes on as if the samples had never been studied."""
    made, bench, samples, _ = studied(toys.deep(), 7)
    other = simulated.load(made.data, fastest())
    kept = [
        made.program.state[i] for i, about in enumerate(made.program.trained) if about["role"] != "exponents"
    ]
    views = [bench.net.state, other.state]
    bench.net.reset()
    fisher.study(bench.net, samples, list(made.program.candidates.values()))
    for x, y in samples:
        assert bench.net.train(x.ravel(), y) == other.train(x.ravel(), y)
    for b in kept:
        assert bytes(views[0][b.offset : b.offset + b.size]) == bytes(
            views[1][b.offset : b.offset + b.size]
        ), b.name


def test_a_head_that_knows_nothing_tells_nothing():
    made = compiled(calibrated(toys.deep(), inputs(toys.deep(), 4)), "tinytrain:3")
    samples = [(x, i % 4) for i, x in enumerate(inputs(toys.deep(), 4))]
    found = fisher.study(
        simulated.load(made.data, fastest()), samples, list(made.program.candidates.values())
    )
    assert not any(any(f) for _, f in found) and fisher.scores(found, [row()] * 3) == [0, 0, 0]
    assert fisher.pick(found, [row()] * 3, lambda price: True) == []
    learnt = tinytrain.information(made, samples, epochs=1)
    assert all(any(f) for _, f in learnt)


def test_a_package_without_candidates_says_so():
    net = simulated.load(compiled(toys.deep(), "last").data, fastest())
    with pytest.raises(ValueError, match="--policy tinytrain"):
        fisher.study(net, [], [])


# -- scores and budgets --------------------------------------------------------------------------------------


def row(**numbers):
    return tuple(numbers.get(name, 1 if name in ("parameters", "macs") else 0) for name in fisher.ROW)


def within(most_bytes, most_macs):
    return lambda price: sum(price[:3]) <= most_bytes and price[3] <= most_macs


def test_scores_are_potentials_over_parameters_times_products():
    found = [(-40, [3 << 20, 1 << 20]), (-38, [1 << 20, 1 << 20]), (-500, [0, 0])]
    got = fisher.scores(found, [row(parameters=10, macs=100), row(parameters=5, macs=50), row()])
    assert got[1] / got[0] == pytest.approx(2 * 4 / 4 * (10 * 100) / (5 * 50)) and got[2] == 0


def test_the_chain_is_paid_for_once_down_to_the_first():
    rows = [
        row(plane=9, gradient=5, chain=100, masks=7),
        row(plane=4, residual=4, bias=12, gradient=6, chain=60, masks=4),
        row(input=16, error=24, gradient=7, masks=2),
    ]
    assert fisher.cost(rows, []) == (0, 0, 0, 0)
    assert fisher.cost(rows, [2]) == (0, 40, 2, 7)
    assert fisher.cost(rows, [2, 1]) == (20, 40, 4, 13 + 60)
    assert fisher.cost(rows, [0, 2]) == (12, 40, 7, 12 + 100)


def test_layers_join_by_score_while_the_whole_set_fits():
    rows = [
        row(plane=12, gradient=5, chain=100),
        row(plane=20, gradient=6, chain=60),
        row(plane=40, gradient=7),
    ]
    found = [(0, [9]), (0, [7]), (0, [8])]  # the first has the best score and the longest chain
    assert fisher.pick(found, rows, within(72, 118)) == [0, 1, 2]
    assert fisher.pick(found, rows, within(72, 117)) == [0, 2]  # 0, 2, and 1 would take 118
    assert fisher.pick(found, rows, within(72, 104)) == [1, 2]  # 0 alone takes 105
    assert fisher.pick(found, rows, within(52, 1000)) == [0, 2]
    assert fisher.pick(found, rows, within(51, 1000)) == [0, 1]
    assert fisher.pick(found, rows, within(9, 1000)) == []


def test_the_strongest_channels():
    assert fisher.strongest([5, 9, 1, 9, 7], row(channels=5, count=3)) == [1, 3, 4]
    assert fisher.strongest([2, 2, 2], row(channels=3, count=2)) == [0, 1]
    assert fisher.strongest([1, 3, 2], row(channels=6, count=3)) == [2, 3, 4]  # two outputs of each input


def test_the_table_counts_as_the_paper_does():
    """Products of the whole backward pass and of the paper's fixed scheme, in millions."""
    graph = read_checkpoint.read(assets() / "tiny_training" / "mcunet-5fps.npz")
    trunk = heads.cut_head(graph, 10)[0]
    assert policy.most_macs(trunk, 1) / 1e6 == pytest.approx(44.9, abs=0.05)
    names = [op.name for op in plan.layers(trunk)]
    shares = {21: 1, 24: 1, 27: 1, 30: 1, 36: 1 / 8, 39: 1 / 4}
    rows = [policy.table(trunk, [names[i]], share)[0].row for i, share in shares.items()]
    assert fisher.cost(rows, range(6))[3] / 1e6 == pytest.approx(11.88, abs=0.01)
    assert len(make_plan(graph, "tinytrain", classes=10)[1].hook.names) == 18


def test_a_plan_within_its_budget_is_what_the_compiler_makes_of_it(tmp_path):
    """Bytes of a choice beside those of the package that trains it."""
    made, _, _, found = studied(toys.deep(), 7)
    chosen = tinytrain.updates(made, found, 1500, 0.3)
    assert chosen["bytes"] <= 1500 and chosen["share"] <= 0.3 and chosen["updates"]
    trained = compiled(made.trunk, written(chosen["updates"], tmp_path))
    planes = sum(b["bytes"] for b in trained.program.trained if b["role"] in ("weights", "residual", "bias"))
    kept = sum(b.size for b in cost.kept(trained.program))
    own = cost.kept(compiled(made.trunk, "last").program)
    assert planes + kept - sum(b.size for b in own) <= 1.25 * chosen["bytes"]


# -- the command ---------------------------------------------------------------------------------------------


@pytest.fixture()
def task(tmp_path):
    """A model and the samples of a task as files."""
    (tmp_path / "net.tflite").write_bytes(write_tflite.write(calibrated(toys.deep(), inputs(toys.deep(), 8))))
    y = np.arange(20) % 2
    x = inputs(toys.deep(), 20).astype(np.int64) + np.where(y, 40, -40)[:, None, None, None]
    np.savez(tmp_path / "task.npz", x=np.clip(x, -128, 127).astype(np.int8), y=y)
    return tmp_path


def chosen(task, *options):
    return cli.main(
        ["choose", f"{task}/net.tflite", f"--data={task}/task.npz", f"-o{task}/plan.json", *options]
    )


def test_choose_writes_a_plan_that_compiles_and_trains(task, capsys):
    assert (
        chosen(task, "--labels=cup,mug", "--budget=2", "--macs=0.3", "--ratio=1/2", "--layers=6", "--json")
        == 0
    )
    said = json.loads(capsys.readouterr().out)
    written = json.loads((task / "plan.json").read_text())
    assert said.pop("plan") == f"{task}/plan.json" and said == written and written["bytes"] <= 2048
    assert (
        cli.main(
            [
                "compile",
                f"{task}/net.tflite",
                f"--policy=plan:{task}/plan.json",
                "--labels=cup,mug",
                f"-o{task}/net.ttp",
            ]
        )
        == 0
    )
    assert cli.main(["simulate", f"{task}/net.ttp", f"--data={task}/task.npz", "--steps=60", "--json"]) == 0
    losses = json.loads(capsys.readouterr().out.splitlines()[-1])["losses"]
    assert np.mean(losses[-20:]) < 0.8 * np.mean(losses[:20])


@pytest.mark.parametrize(
    "options, says",
    [
        (["--labels=cup,mug", "--budget=0"], "no layer fits the budget of 0 bytes"),
        (["--labels=cup,mug", "--budget=2", "--macs=0"], "--macs 0 is not a share"),
        (["--labels=cup,mug", "--budget=2", "--ratio=3/2"], "--ratio 3/2 is not a share"),
        (["--labels=cup,mug", "--budget=2", "--layers=99"], "give tinytrain: a number of layers"),
        (["--labels=cup", "--budget=2"], "task.npz"),
        (["--labels=cup,mug", "--budget=2", "--epochs=-1"], "--epochs -1 is out of range"),
    ],
)
def test_choose_refuses(task, capsys, options, says):
    assert chosen(task, *options) == 1
    assert says in capsys.readouterr().err and not (task / "plan.json").exists()
