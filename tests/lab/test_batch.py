"""Many samples on several threads give what one thread gives."""

import threading

import numpy as np
import pytest
import toys
from helpers import compiled, inputs
from models import Builder
from networks import classifier, skip_block
from trimtab_tools.boards import simulated
from trimtab_tools.lab import batch, experiment
from trimtab_tools.lab.experiment import Prepared

MANY = 5 * batch.CHUNK + 3


def encoder():
    """Dense layers that give back what they read."""
    b = Builder((12,), seed=1)
    b.dense(6, act="relu")
    b.dense(12)
    return b.graph()


def trained(graph, policy, **options):
    net = simulated.load(compiled(graph, policy, rate=0.02, **options).data)
    for n, x in enumerate(inputs(graph, 12)):
        net.train(x.ravel(), x.ravel()[: net.output_bytes].copy() if net.loss == "mse" else n % 4)
    return net


@pytest.mark.parametrize(
    "policy, options",
    [("full", {"classes": 4}), ("tinytrain:budget=4", {"classes": 4}), ("bias", {"loss": "mse"})],
)
def test_results_are_those_of_one_thread(policy, options):
    graph = encoder() if "loss" in options else skip_block()
    net = trained(graph, policy, **options)
    if net.choice:
        net.choose([(x.ravel(), n % 4) for n, x in enumerate(inputs(graph, 8))])
    xs, before = inputs(graph, MANY), net.state_crc()

    def outputs(one, i):
        one.load_input(xs[i].ravel())
        one.classify_input()
        return one.outputs()

    expected = [outputs(net, i) for i in range(MANY)]
    assert len({str(row) for row in expected}) > MANY // 2
    assert list(batch.each(net, outputs, MANY, threads=4)) == expected
    assert net.state_crc() == before


def test_threads_work_at_the_same_time_and_each_has_its_own_net():
    net, meeting, met = trained(skip_block(), "full", classes=4), threading.Barrier(3), {}

    def work(one, i):
        if i % batch.CHUNK == 0:
            meeting.wait(timeout=30)  # raises where fewer threads came
        met[i // batch.CHUNK] = one
        return i

    assert list(batch.each(net, work, 3 * batch.CHUNK, threads=3)) == [*range(3 * batch.CHUNK)]
    assert len({id(one) for one in met.values()}) == 3
    assert len({one.arena.obj is net.arena.obj for one in met.values()}) == 2


@pytest.mark.parametrize("loss", ["softmax", "mse"])
def test_evaluate_is_that_of_the_net(loss):
    graph = classifier() if loss == "softmax" else encoder()
    net = trained(graph, "bias", **({"classes": 4} if loss == "softmax" else {"loss": "mse"}))
    xs = [x.ravel() for x in inputs(graph, MANY)]
    samples = [(x, i % 4 if loss == "softmax" else x[: net.output_bytes].copy()) for i, x in enumerate(xs)]
    assert batch.evaluate(net, samples, threads=3) == net.evaluate(samples) > 0
    with pytest.raises(ValueError, match="no sample to evaluate"):
        batch.evaluate(net, [])


def test_plain_kernels_take_one_thread():
    net = simulated.load(compiled(classifier(), "last", classes=4).data, "plain")
    used = set(batch.each(net, lambda one, i: (id(one), threading.get_ident()), MANY, threads=4))
    assert used == {(id(net), threading.get_ident())}


def test_an_error_ends_the_batch():
    net = trained(classifier(), "last", classes=4)

    def work(one, i):
        if i == MANY // 2:
            raise ValueError("broken sample")

    with pytest.raises(ValueError, match="broken sample"):
        list(batch.each(net, work, MANY, threads=3))


def test_prepared_samples_are_those_of_one_thread(tmp_path, monkeypatch):
    def files(count):
        monkeypatch.setattr(experiment.cache, "folder", lambda: tmp_path / str(count))
        monkeypatch.setattr(batch, "processors", lambda: count)
        prepared = Prepared(toys.reader(), toys.digits(train=60, test=40))
        return [array for name in prepared.names for array in prepared.at(name)]

    for one, other in zip(files(1), files(3), strict=True):
        assert one.size and np.array_equal(one, other)


def test_processes_share_the_processors(monkeypatch):
    there = batch.processors()
    monkeypatch.setattr(batch, "beside", there)
    assert batch.processors() == 1
    monkeypatch.setattr(batch, "beside", 100 * there)
    assert batch.processors() == 1
