"""Trials: what is kept between them changes nothing, and training in integers does what real numbers do."""

import dataclasses

import numpy as np
import pytest
import toys
from helpers import calibrated, compiled, fastest, inputs
from methods import needs
from models import Builder
from trimtab_tools.boards import simulated
from trimtab_tools.errors import ModelError, UsageError
from trimtab_tools.lab import experiment, float_twin, pictures, trial
from trimtab_tools.lab.experiment import Prepared
from trimtab_tools.lab.trial import Trial, run
from trimtab_tools.operators import oracle
from trimtab_tools.policies import head, plan
from trimtab_tools.policies.make import make_plan

RATE = 4e-3


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment.cache, "folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def prepared(folder):
    return Prepared(toys.reader(), toys.digits())


def test_training_helps_and_more_of_it_helps_more(prepared):
    accuracy = {p: run(prepared, Trial(p, RATE, 4))["test"] for p in ("last", "last:2", "full")}
    assert 65 < accuracy["last"] < accuracy["last:2"] - 5 and accuracy["full"] > 82


@pytest.mark.parametrize("policy", ["bias", "last:2", "sparse:7:2=1,4=1,5=1/2"])
def test_integers_learn_what_their_float_twin_learns(prepared, policy):
    """Within 2.5 points: the standard error of 300 test samples."""
    whole, real = (run(prepared, Trial(policy, RATE, 4, twin=twin)) for twin in ("", "qas"))
    assert abs(whole["test"] - real["test"]) <= 2.5
    assert whole["losses"] == pytest.approx(real["losses"], rel=0.04)


@needs("mobiletl")
def test_steps_for_slopes_learn_as_well(prepared):
    steps, slopes = (run(prepared, Trial(policy, RATE, 4))["test"] for policy in ("mobiletl:1", "last:4"))
    assert abs(steps - slopes) <= 2.5


@needs("mobiletl")
def test_a_float_twin_knows_no_steps(prepared):
    with pytest.raises(UsageError, match="no step-function"):
        run(prepared, Trial("mobiletl:1", RATE, 1, twin="qas"))


def test_without_quantization_aware_scaling_layers_stand_still(prepared):
    plain, head = (
        run(prepared, Trial("last:2", RATE, 2, twin="plain")),
        run(prepared, Trial("last", RATE, 2, twin="qas")),
    )
    assert plain["losses"] == pytest.approx(head["losses"], abs=1e-3)


def test_a_trial_is_run_once(prepared, monkeypatch):
    first = run(prepared, Trial("last", RATE, 1))
    monkeypatch.setattr(trial, "train", None)
    assert run(prepared, Trial("last", RATE, 1)) == first
    with pytest.raises(TypeError):
        run(prepared, Trial("last", RATE, 1, seed=1))


def test_a_trial_from_latents_is_the_trial(folder):
    """The state after training is that of the same samples, each sent through all layers."""
    graph, data = pooled(), toys.digits()
    prepared, once = Prepared(graph, data), Trial("last:1", RATE, 1)
    made = trial.compile_trial(prepared, once)
    assert made.program.latent.name in prepared.names[1:]
    net = simulated.load(made.data, fastest())
    net.begin(len(data.y))
    for view, at in next(trial.schedule(len(data.y), 2, once)):
        net.train(data.train[view, at].tobytes(), int(data.y[at]))
    assert net.state_crc() == run(prepared, once)["state_crc"]


def test_every_latent_is_prepared():
    """Also where tensors one after another have the same size."""
    graph = pooled()
    names = experiment.narrow(head.cut_head(graph, 10)[0])
    latents = [compiled(graph, f"last:{k}", classes=10).program.latent for k in range(6)]
    assert {latent.name for latent in latents if latent} <= set(names) and len(
        {latent.name for latent in latents if latent}
    ) > 1


def test_other_samples_and_other_weights_have_other_results(folder):
    data, graph = toys.digits(), toys.reader()
    moved = dataclasses.replace(data, train=data.train[::-1].copy())
    name, tensor = next((n, t) for n, t in graph.tensors.items() if t.constant)
    other = dataclasses.replace(
        graph, tensors={**graph.tensors, name: dataclasses.replace(tensor, data=-tensor.data)}
    )
    assert len({Prepared(g, d).folder for g in (graph, other) for d in (data, moved)}) == 4


def test_held_out_samples_come_from_the_training_samples():
    data = toys.digits()
    part = data.held_out(0.25)
    assert (len(part.y), len(part.y_test)) == (300, 100)
    rows = {x.tobytes() for x in data.train[0]}
    assert all(x.tobytes() in rows for x in part.test)
    assert not {x.tobytes() for x in part.test} & {x.tobytes() for x in part.train[0]}


@pytest.mark.parametrize("pool", ["mean", "avg_pool"])
def test_the_twin_predicts_as_the_network_does(pool):
    graph = pooled(pool)
    c = compiled(graph, "full")
    xs = inputs(graph, 5)
    twin = float_twin.Twin(c.trunk, c.plan, graph.inputs[0])
    values = {graph.inputs[0]: xs}
    for layer in twin.layers:
        values[layer.output] = layer.forward([values[name] for name in layer.inputs])
    want = oracle.forward(c.trunk, xs)
    assert all(np.array_equal(values[layer.output], want[layer.output]) for layer in twin.layers)


def test_the_twin_refuses_what_it_does_not_know():
    b = Builder((8, 8, 2))
    b.pool("max_pool")
    with pytest.raises(ModelError, match="knows no max_pool"):
        c = compiled(b.graph(), "last")
        float_twin.Twin(c.trunk, c.plan, b.input)


def test_policies_count_layers_from_the_end():
    graph = toys.reader()
    trunk, chosen = make_plan(graph, "last:2", classes=10)
    assert [(u.layer, len(u.channels)) for u in chosen.updates] == [
        (op.name, n) for op, n in zip(plan.layers(trunk)[-2:], (24, 12))
    ]
    assert [u.channels for u in make_plan(graph, "bias:3", classes=10)[1].updates] == [(), (), ()]
    with pytest.raises(ModelError, match="give bias: a number of layers, 0 to 8"):
        make_plan(graph, "bias:9", classes=10)


def test_schemes_are_written_as_they_are_read():
    graph = toys.reader()
    _, chosen = make_plan(graph, "sparse:5:4=1/2,6=1", classes=10)
    assert [len(u.channels) for u in chosen.updates] == [0, 6, 0, 24, 0]
    for wrong in ("sparse:5:4", "sparse:5:4=1/0", "sparse:9:", "sparse:5:8=1"):
        with pytest.raises(ModelError, match="scheme"):
            make_plan(graph, wrong, classes=10)


def test_views_are_of_the_size_that_is_wanted():
    from PIL import Image

    left = np.zeros((20, 30, 3), np.uint8)
    left[:, :15] = 255
    found = pictures.views([Image.fromarray(left)], 16, 0.5)
    assert found.shape == (4, 1, 16, 16, 3)
    bright = found[:, 0].reshape(4, 16, 2, 8, 3).mean((1, 3, 4))
    assert bright[0, 0] > bright[0, 1] and bright[1, 0] < bright[1, 1]


def pooled(pool="mean"):
    """The reader with a pool at its end, so that there is a latent."""
    relu = {"act": "relu6", "scale": 6 / 255, "zero": -128}
    b = Builder((8, 8, 1), seed=4, scale=1 / 255, zero=-128)
    b.conv(8, stride=(2, 2), **relu)
    skip = b.conv(8, (1, 1), zero=3)
    b.depthwise(**relu)
    b.add(skip, b.conv(8, (1, 1), zero=3))
    b.conv(4, stride=(2, 2), **relu)
    b.conv(16, (1, 1), **relu)
    b.mean(scale=3 / 255, zero=-100) if pool == "mean" else b.pool("avg_pool")
    return calibrated(b.graph(), (toys.digits().train[0, :40] ^ 128).view(np.int8))
