"""The page of results says what the results say."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
from helpers import assets

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import accuracy  # noqa: E402
import blocks  # noqa: E402
import estimates  # noqa: E402
import fewshot  # noqa: E402
import replay  # noqa: E402


def test_tables_and_picture_are_drawn_from_the_results():
    done = accuracy.read()
    assert accuracy.page(done, accuracy.PAGE.read_text()) == accuracy.PAGE.read_text()
    assert accuracy.picture(accuracy.Results(done)) == accuracy.PICTURE.read_text()


def test_tables_of_blocks_are_drawn_from_the_results():
    text = blocks.PAGE.read_text()
    assert blocks.page(json.loads(blocks.RESULTS.read_text()), text) == text


def test_the_table_of_estimates_is_drawn_from_the_results():
    text = estimates.PAGE.read_text()
    assert estimates.page(json.loads(estimates.RESULTS.read_text()), text) == text


def test_steps_for_slopes_cost_less_than_a_point():
    """And save two fifths of what a block with hard-swish keeps."""
    done = json.loads(blocks.RESULTS.read_text())
    saved = {r["activation"]: 1 - r["mobiletl"] / r["usual"] for r in done["blocks"]}
    assert saved["hard-swish"] > 0.4
    for data, (pairs, _) in blocks.TRIALS.items():
        for ours, usual in pairs:
            ran = {p: blocks.tests(done, data, p) for p in (ours, usual)}
            both = min(map(len, ran.values()))  # seeds
            assert sum(ran[usual][:both]) - sum(ran[ours][:both]) < max(both, 1)


def test_a_mean_comes_with_its_error_and_each_seed():
    assert accuracy.said([76.0, 77.0], 2000) == "**76.5** ± 0.9 (76.0 / 77.0)"
    assert accuracy.said([], 2000) == "not run"


def test_what_was_not_run_says_so():
    rows = list(accuracy.policies(accuracy.Results({})))
    assert {row[-1] for row in rows[1:]} == {"not run"}


@pytest.mark.parametrize("data, policy, epochs, floor, expected", accuracy.ACCEPTANCE)
def test_two_seeds_and_more_reach_their_floor(data, policy, epochs, floor, expected):
    found = accuracy.tests(accuracy.Results(accuracy.read()).of(data, policy, 1e-3, epochs))
    assert len(found) >= 2 and sum(found) / len(found) >= floor


def test_integers_lose_less_than_a_point_to_their_float_twins():
    """Seed by seed, where both were run."""
    done = accuracy.read()
    gaps = [
        result["test"] - done[data, dataclasses.replace(trial, twin="")]["test"]
        for (data, trial), result in done.items()
        if trial.twin == "qas" and (data, dataclasses.replace(trial, twin="")) in done
    ]
    assert gaps and sum(gaps) / len(gaps) <= 1


def test_results_name_every_trial():
    rows = json.loads(accuracy.RESULTS.read_text())
    assert all(
        {"data", "policy", "rate", "epochs", "seed", "test", "train", "losses"} <= set(row) for row in rows
    )
    assert all(row["twin"] or row["state_crc"] for row in rows)


def test_old_classes_stay_known_with_replay():
    """The table is that of the results, and says at most two points in the mean."""
    rows = json.loads(replay.RESULTS.read_text())
    assert replay.page(rows, replay.PAGE.read_text()) == replay.PAGE.read_text()
    lost = {
        times: [r["before"] - r["old"] for r in rows if r["times"] == times] for times in (0, replay.TIMES)
    }
    assert len(lost[replay.TIMES]) >= 3 and sum(lost[replay.TIMES]) / len(lost[replay.TIMES]) <= 2 < min(
        lost[0]
    )
    assert all(r["new_class"] > 85 for r in rows)


# -- few-shot tasks ------------------------------------------------------------------------------------------


def by_task():
    """[{method: result}] of all tasks on all networks."""
    found = {}
    for key, row in fewshot.read().items():
        *task, method, seed = key
        found.setdefault((*task, seed), {})[method] = row
    return list(found.values())


def test_the_few_shot_tables_are_drawn_from_the_results():
    assert fewshot.page(fewshot.read(), fewshot.PAGE.read_text()) == fewshot.PAGE.read_text()


def test_sparse_methods_take_no_more_than_the_last_layer():
    for results in by_task():
        for method in ("fixed", "random", "tinytrain"):
            if method in results:
                assert 0 < results[method]["bytes"] <= results["last"]["bytes"]


def test_random_channels_lie_in_the_layers_that_were_chosen():
    pairs = [(r["random"]["layers"], r["tinytrain"]["layers"]) for r in by_task() if "tinytrain" in r]
    assert len(pairs) >= 30
    for random, chosen in pairs:
        assert {k: len(v) for k, v in random.items()} == {k: len(v) for k, v in chosen.items()}
    assert sum(random != chosen for random, chosen in pairs) > len(pairs) / 2


def test_a_task_never_asks_what_it_shows():
    assets()
    for name, ways, shots in fewshot.TASKS:
        support, query = fewshot.task(name, ways, shots, 3)
        assert len(support) == ways * shots and {y for _, y in query} == set(range(ways))
        assert not {x for x, _ in support} & {x for x, _ in query}
        assert fewshot.task(name, ways, shots, 3) == (support, query) != fewshot.task(name, ways, shots, 4)


def test_tasks_of_characters_come_from_alphabets_that_no_network_has_seen():
    assets()
    import fewshot_nets

    seen = {
        (255 * one).round().astype("u1").tobytes()
        for one in fewshot_nets.training_pictures().reshape(-1, 28 * 28)
    }
    support, query = fewshot.task("characters", 10, 1, 0)
    assert not {x for x, _ in support + query} & seen
