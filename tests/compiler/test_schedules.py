"""What RAM buys: schedules from the smallest arena to the fastest step, none of which changes a bit."""

import pytest
from helpers import compiled, fastest, inputs, step
from hypothesis import given, settings
from hypothesis import strategies as st
from models import Builder
from networks import random_graph, skip_block
from trimtab_tools.boards import simulated
from trimtab_tools.compiler import cost, cycles, emit, memory, passes, schedules, scratch
from trimtab_tools.compiler.lowering import lower
from trimtab_tools.errors import ModelError

POLICIES = ("last", "bias", "full")


def tall(seed=5):
    """A network whose first layers pay to be cut, and to be cut less where there is room."""
    b = Builder((32, 24, 3), seed=seed)
    b.conv(8, (3, 3), (2, 2), act="relu6")
    for kernel in (5, 3):
        skip = b.x
        b.conv(24, (1, 1), act="relu6")
        b.depthwise(1, (kernel, kernel), act="relu6")
        b.conv(8, (1, 1))
        b.add(skip, b.x)
    b.depthwise(2, (3, 3), (2, 2), act="relu6")
    b.conv(8, (1, 1))
    b.mean()
    return b.graph()


def within(made, arena):
    """(program, placement, cuts) of the fastest schedule, from records that no other schedule has placed."""
    return passes.optimize_within(passes.all_schedules(lower(made.trunk, made.plan)), arena)


def history(made, arranged, steps=3):
    """What can be seen of some steps of a program: outputs, losses and the state after them."""
    data = emit.package(*arranged[:2], made.trunk, "model", made.plan.labels)
    net, seen = simulated.load(data, fastest()), []
    for i, x in enumerate(inputs(made.trunk, steps, 3)):
        net.input_view[:] = x.tobytes()
        seen += [net.classify_input(), net.outputs(), step(net, x, i % net.classes), net.state_crc()]
    return seen


def check(made, sizes):
    """In ever larger arenas a step computes the same and takes no longer; every arena is as small as said."""
    known = passes.all_schedules(lower(made.trunk, made.plan))
    least = min(s.least for s in known)
    plain, before = history(made, passes.leave(lower(made.trunk, made.plan))), None
    for arena in sorted(least + more for more in sizes):
        program, placement, cuts = within(made, arena)
        assert placement.size <= arena
        assert memory.overlap(placement.lives, placement.ties) is None
        now = cost.estimated_cycles(program)["pico"]
        assert before is None or now <= before, f"{arena} bytes: {now} cycles, with less RAM {before}"
        assert history(made, (program, placement, cuts)) == plain
        before = now


@given(
    seed=st.integers(0, 10_000),
    policy=st.sampled_from(POLICIES),
    sizes=st.sets(st.integers(0, 9000), max_size=3),
)
@settings(max_examples=15, deadline=None)
def test_more_ram_never_makes_a_step_slower(seed, policy, sizes):
    try:
        made = compiled(random_graph(seed), policy)
    except (ZeroDivisionError, ModelError):
        return  # a graph that cannot be trained
    check(made, {0, 100_000, *sizes})


@pytest.mark.parametrize("policy", POLICIES)
def test_more_ram_never_makes_strips_slower(policy):
    check(compiled(tall(), policy), (0, 300, 700, 1500, 3000, 6000, 12_000, 50_000))


def test_room_undoes_what_saved_memory():
    made = compiled(tall(), "last")
    smallest, fastest_ = within(made, 0), within(made, 1 << 20)
    assert smallest[2] and not fastest_[2]  # strips
    slow, fast = (cost.estimated_cycles(program)["pico"] for program, *_ in (smallest, fastest_))
    assert fast < 0.9 * slow
    assert smallest[1].size < 0.7 * fastest_[1].size


def test_the_curve_says_what_one_gets():
    made = compiled(tall(), "bias", curve=True)
    sizes, steps = zip(*made.curve)
    assert list(sizes) == sorted(set(sizes)) and list(steps) == sorted(set(steps), reverse=True)
    for arena, expected in made.curve:
        program, placement, _ = within(made, arena)
        assert placement.size == arena
        assert cost.estimated_cycles(program)["pico"] == expected
        if arena > sizes[0]:
            less, _, _ = within(made, arena - 4)
            assert cost.estimated_cycles(less)["pico"] > expected


def test_a_package_is_made_for_the_ram_of_its_board():
    least, curve = compiled(tall(), "bias"), dict(compiled(tall(), "bias", curve=True).curve)
    for arena in curve:
        made = compiled(tall(), "bias", ram=[arena + least.program_state_bytes])
        assert made.placement.size <= arena
        assert made.program_state_bytes == least.program_state_bytes
        assert cost.estimated_cycles(made.program)["pico"] == curve[arena]
        assert simulated.load(made.data, fastest()).self_test()


def test_too_little_ram_makes_the_smallest():
    made = compiled(skip_block(), "full", ram=[600])
    assert made.placement.size == min(arena for arena, _ in made.curve)


@pytest.mark.parametrize(
    "blocks, state, arena",
    [([100], 30, 70), ([100, 40], 30, 100), ([100, 40], 50, 50), ([40, 100], 50, 50), ([20], 30, 0)],
)
def test_an_arena_lies_in_one_block(blocks, state, arena):
    assert memory.arena_within(blocks, state) == arena


def test_of_equal_schedules_the_smallest():
    class Known:
        def __init__(self, least, cycles):
            self.least, self.cycles = least, lambda arena: cycles

    small, same, large = known = Known(10, 5), Known(20, 5), Known(40, 3)
    assert schedules.best(known, 30) is small
    assert schedules.best(known, 40) is large
    assert schedules.best(known, 5) is small
    assert same


def test_scratch_memory_is_only_where_it_helps():
    program, _, _ = within(compiled(tall(), "full"), 1 << 20)
    taken = [record for _, record in program.timeline() if record.values.get("scratch") is not None]
    assert taken
    for record in taken:
        without = {**record.values, "scratch": None, "words": 1}
        assert cycles.of(record.kernel, record.values) < cycles.of(record.kernel, without)
        assert record.values["words"] <= scratch.WORDS[record.kernel](record.values)[1]
