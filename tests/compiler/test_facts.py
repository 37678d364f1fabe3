"""Facts for the report: they add up, and the terminal shows them as a table."""

import re

import pytest
from helpers import compiled
from reported import facts, network
from trimtab_tools.compiler import cost, cycles
from trimtab_tools.compiler import facts as report


@pytest.mark.parametrize("policy", ("none", "last", "bias", "full"))
def test_rows_add_up(policy):
    c = compiled(network(), policy)
    found = facts(c)
    layers = found["layers"]
    assert sum(r["forward"] for r in layers) == found["macs"]["forward"]
    assert sum(r["backward"] for r in layers) == found["macs"]["backward"]
    names = {r["layer"] for r in layers}
    others = [r for r in cost.of_one_step(c.program) if r.layer not in names]  # loss, clock
    rest = sum(cycles.of(r.kernel, r.values) for r in others)
    assert abs(sum(r["cycles"] for r in layers) + rest - found["estimated_cycles"]["pico"]) <= len(layers)
    trained = sum(
        about["bytes"]
        for about in c.program.trained
        if about["role"] not in ("exponents", "clock", "generator")
    )
    assert sum(r["state"] for r in layers) == trained
    assert sum(r["kept"] for r in layers) <= found["kept_bytes"]
    if policy == "full":
        assert all(r["kept"] and report.trained(r) for r in layers if r["kind"] in ("conv", "depthwise"))


def test_a_row_for_each_buffer():
    c = compiled(network(), "full")
    found = facts(c)
    assert len(found["buffers"]) == len(c.placement.lives)
    assert max(offset + size for _, _, offset, size, _ in found["buffers"]) == found["arena_bytes"]
    kinds = {name: kind for name, kind, *_ in found["buffers"]}
    assert kinds["input"] == "sample"
    assert {"kept", "mask", "error", "sample", "scores"} <= set(kinds.values())


def test_the_plan_as_a_table(capsys):
    said = report.table(compiled(network(), "bias"))
    assert re.search(r"conv_0 +bias +\d+ +24 +\d+ +\d+", said)
    assert "as the papers count: mcunetv3" in said and "estimated" in said
