"""The search: sums of contributions, evolution under budgets, trials on processes and on a cluster."""

import itertools
import json
import types

import numpy as np
import pytest
import toys
from helpers import assets
from trimtab_tools import cli
from trimtab_tools.compiler import cost
from trimtab_tools.errors import UsageError
from trimtab_tools.formats import read_checkpoint
from trimtab_tools.lab import experiment, runners, search
from trimtab_tools.lab import trial as trials
from trimtab_tools.lab.experiment import Prepared
from trimtab_tools.lab.progress import quiet
from trimtab_tools.lab.search import Budget, Contributions, Recipe, Space
from trimtab_tools.lab.trial import Trial
from trimtab_tools.policies import schemes
from trimtab_tools.policies.make import make_plan

RATE = 4e-3
SPACE = Space((4, 6, 7), (2, 4), (1 / 2, 1))


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment.cache, "folder", lambda: tmp_path)
    return Prepared(toys.reader(), toys.digits(300, 200).held_out())


def here(prepared, wanted, progress=quiet):
    """Trials one after another in this process."""
    return {trial: trials.run(prepared, trial) for trial in wanted}


def test_a_search_finds_a_scheme_within_its_budget(prepared):
    found = search.search(prepared, Budget(6), SPACE, Recipe(RATE), generations=10, wanted=2, runner=here)
    head, best = (trials.run(prepared, Trial(p, RATE, 2)) for p in ("last", "sparse:" + found["scheme"]))
    assert best["test"] == found["accuracy"] > head["test"] + 3
    assert (
        best["analytic_kb"]["mcunetv3"] == pytest.approx(found["kilobytes"], abs=0.01)
        and found["kilobytes"] <= 6
    )
    assert len(found["tried"]) == 2 and set(found["contributions"]["weights"]) == {
        f"{i}={r}" for i in (4, 6, 7) for r in ("1/2", "1")
    }


def test_evolution_finds_the_best_of_all(prepared):
    parts = search.contributions(prepared, SPACE, Recipe(RATE, 1), runner=here)
    every = []
    for last, *shares in itertools.product((0, *parts.bias), *[(0, 1 / 2, 1)] * 3):
        chosen = dict(zip(SPACE.layers, shares))
        last = parts.depth(last, chosen)
        if parts.kilobytes(last, chosen) <= 5:
            every.append(parts.points(last, chosen))
    leaders = search.evolve(parts, 5, generations=20)
    assert leaders[0].points == pytest.approx(max(every))
    assert [one.points for one in leaders] == sorted((one.points for one in leaders), reverse=True)
    assert all(one.kilobytes <= 5 for one in leaders)


# MCUNetV3: points on Cars that the first convs of MCUNet's blocks contribute at 1/8, 1/4, 1/2 and 1
PUBLISHED = {
    21: (1.2, 2.5, 3.3, 5.5),
    24: (1.0, 2.2, 3.6, 6.5),
    27: (1.6, 3.6, 5.6, 8.4),
    30: (2.2, 3.7, 6.1, 9.2),
    33: (2.1, 3.6, 6.0, 8.0),
    36: (2.3, 3.9, 5.5, 8.8),
    39: (3.0, 6.2, 10.2, 13.7),
}


def test_evolution_is_no_worse_than_the_published_scheme_by_published_numbers():
    """In 99 KB, of 78125 schemes, all of which are tried here."""
    graph = read_checkpoint.read(str(assets() / "tiny_training" / "mcunet-5fps.npz"))
    space = Space(tuple(PUBLISHED), (22,))
    weights = {(i, r): points for i, row in PUBLISHED.items() for r, points in zip(space.ratios, row)}
    parts = Contributions(
        42, {22: 11.4}, weights, *search.sizes(types.SimpleNamespace(graph=graph, classes=10), space, 42)
    )
    _, theirs = schemes.SCHEMES["mcunet-99kb"]
    limit = parts.kilobytes(22, theirs)
    assert limit == pytest.approx(99.8, abs=0.1) and parts.points(22, theirs) == pytest.approx(49.5, abs=0.1)
    every = (dict(zip(PUBLISHED, shares)) for shares in itertools.product((0, *space.ratios), repeat=7))
    best = max(parts.points(22, chosen) for chosen in every if parts.kilobytes(22, chosen) <= limit)
    found = search.evolve(parts, limit, generations=40)[0]
    assert parts.points(22, theirs) <= found.points <= best <= found.points + 0.5


def test_bytes_of_a_scheme_are_a_sum(prepared):
    parts = Contributions(8, {}, {}, *search.sizes(prepared, SPACE, 8))
    for last, shares in ((4, {4: 1, 7: 1 / 2}), (8, {}), (2, {6: 1 / 2}), (0, {})):
        made = make_plan(prepared.graph, "sparse:" + schemes.write(last, shares), classes=10)
        assert parts.kilobytes(last, shares) == pytest.approx(cost.mcunetv3(cost.table(*made)) / 1024)


def test_biases_reach_down_to_the_first_trained_layer():
    parts = Contributions(8, {2: 0, 4: 0, 8: 0}, {}, (), {}, 0)
    assert [
        parts.depth(0, {}),
        parts.depth(2, {6: 1}),
        parts.depth(2, {5: 1, 7: 0}),
        parts.depth(0, {1: 0, 0: 1}),
    ] == [0, 2, 4, 8]


def test_limits_of_the_board_rule_schemes_out(prepared):
    parts = search.contributions(prepared, SPACE, Recipe(RATE, 1), runner=here)
    leaders = search.evolve(parts, 8, generations=5)
    costs = [search.exact(prepared, one.scheme) for one in leaders]
    for limit, value in (
        ("ram", lambda c: c["arena_bytes"] + c["state_bytes"]),
        ("flash", lambda c: c["flash_bytes"]),
        ("cycles", lambda c: c["estimated_cycles"]["pico"]),
    ):
        most = sorted(map(value, costs))[len(costs) // 2]
        chosen = search.finalists(prepared, leaders, Budget(8, **{limit: most}), 3)
        assert chosen == [one for one, c in zip(leaders, costs) if value(c) <= most][:3]
    with pytest.raises(UsageError, match="allow more RAM"):
        search.finalists(prepared, leaders, Budget(8, ram=100), 3)


def test_a_budget_that_nothing_fits_is_refused(prepared):
    parts = Contributions(8, {8: 1.0}, {(7, 1): 1.0}, (0,) * 8, {(7, 1): 0}, 2048)
    with pytest.raises(UsageError, match="no scheme fits 1 KB"):
        search.evolve(parts, 1, generations=1)


def test_finished_trials_outlive_a_search_that_was_stopped(prepared, monkeypatch):
    wanted = [Trial("last", RATE, 1, seed) for seed in range(4)]

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runners.local(prepared, wanted, workers=1, progress=stop)
    kept = [trial for trial in wanted if trials.find(prepared, trial)]
    assert len(kept) >= 2
    seen = []
    results = runners.local(
        prepared, wanted, workers=2, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[0] == (len(kept), 4) and seen[-1] == (4, 4) and set(results) == set(wanted)
    assert results == here(prepared, wanted)


def test_a_cluster_gives_what_this_machine_gives(prepared, tmp_path, monkeypatch):
    """Ray's own local cluster: two machines of one CPU each, as far as it can tell."""
    ray = pytest.importorskip("ray", reason="Ray is not there: pip install trimtab[ray]")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "workers"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        machines.add_node(num_cpus=1)
        wanted = [Trial("last", RATE, 1, seed) for seed in range(3)]
        results = runners.cluster(machines.address)(prepared, wanted)
        assert len(ray.nodes()) == 2
    finally:
        ray.shutdown()
        machines.shutdown()
    assert [trials.find(prepared, trial) for trial in wanted] == [results[trial] for trial in wanted]
    here_again = [trials.train(prepared, trial) for trial in wanted]
    assert [r["state_crc"] for r in here_again] == [results[trial]["state_crc"] for trial in wanted]


def test_the_command_writes_a_plan_that_compiles(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiment.cache, "folder", lambda: tmp_path)
    data = toys.digits(300, 200)
    np.savez(tmp_path / "digits.npz", x=data.train[0], y=data.y)
    monkeypatch.setattr("trimtab_tools.cli.search.read_model", lambda args: toys.reader())
    asked = [
        "search",
        "reader.tflite",
        "--data",
        f"{tmp_path}/digits.npz",
        "--classes",
        "10",
        "--budget",
        "4",
        "--layers",
        "6,7",
        "--depths",
        "2",
        "--ratios",
        "1/2,1",
        "--lr",
        "0.004",
        "--epochs",
        "1",
        "-o",
        f"{tmp_path}/plan.json",
        "--json",
    ]
    assert cli.main(asked) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["scheme"] in [row["scheme"] for row in said["tried"]] and said["kilobytes"] <= 4
    _, chosen = make_plan(toys.reader(), f"plan:{tmp_path}/plan.json", classes=10)
    _, same = make_plan(toys.reader(), f"sparse:{said['scheme']}", classes=10)
    assert chosen.updates == same.updates
    assert cli.main([*asked, "--layers", "x"]) == 1
    assert "is not a list of numbers" in capsys.readouterr().err
