"""Fisher information in integers, and the layers and channels that it chooses."""

import json
import struct

import numpy as np
import pytest
import toys
import trimtab
from checks import Exact, Trace, head
from float_reference import softmax_error
from helpers import TIERS, Bench, assets, calibrated, compiled, fastest, inputs, provide, tier
from models import Builder, run
from networks import trained_layers as network
from package_parts import records, take_apart, with_section
from sampled import others_slow
from trimtab import fisher
from trimtab.format import OPCODES
from trimtab.package import PackageError
from trimtab_tools import cli
from trimtab_tools.boards import emulated, simulated
from trimtab_tools.compiler import cost, emit
from trimtab_tools.compiler.package_reading import Contents
from trimtab_tools.errors import ModelError
from trimtab_tools.formats import read_checkpoint, write_tflite
from trimtab_tools.lab import tinytrain
from trimtab_tools.policies import candidates, plan

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
    fisher.study(
        bench.net, samples, list(made.program.candidates.values())
    )  # the trackers come to know the errors
    return made, bench, samples, fisher.study(bench.net, samples, list(made.program.candidates.values()))


def real_information(made, bench, samples):
    """{layer: sum over samples of (sum over positions of a * dL/da)^2 for each input channel} in float64."""
    found = {name: 0 for name in made.plan.study}
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
    made, bench, samples, _ = studied(deep(), 7)
    other = simulated.load(made.data, fastest())
    kept = [
        made.program.state[i] for i, about in enumerate(made.program.trained) if about["role"] != "exponents"
    ]
    views = [bench.net._views[1], other._views[1]]
    bench.net.reset()
    fisher.study(bench.net, samples, list(made.program.candidates.values()))
    for x, y in samples:
        assert bench.net.train(x.ravel(), y) == other.train(x.ravel(), y)
    for b in kept:
        assert bytes(views[0][b.offset : b.offset + b.size]) == bytes(
            views[1][b.offset : b.offset + b.size]
        ), b.name


def test_a_head_that_knows_nothing_tells_nothing():
    made = compiled(calibrated(deep(), inputs(deep(), 4)), "tinytrain:3")
    samples = [(x, i % 4) for i, x in enumerate(inputs(deep(), 4))]
    found = fisher.study(
        simulated.load(made.data, fastest()), samples, list(made.program.candidates.values())
    )
    assert not any(any(f) for _, f in found) and fisher.scores(found, [row()] * 3) == [0, 0, 0]
    assert fisher.pick(found, [row()] * 3, lambda price: True) == []
    learnt = tinytrain.information(made, samples, epochs=1)
    assert all(any(f) for _, f in learnt)


def test_a_package_without_candidates_says_so():
    net = simulated.load(compiled(deep(), "last").data, fastest())
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
    trunk = plan.cut_head(graph, 10)[0]
    assert candidates.most_macs(trunk, 1) / 1e6 == pytest.approx(44.9, abs=0.05)
    names = [op.name for op in plan.layers(trunk)]
    shares = {21: 1, 24: 1, 27: 1, 30: 1, 36: 1 / 8, 39: 1 / 4}
    rows = [candidates.table(trunk, [names[i]], share)[0].row for i, share in shares.items()]
    assert fisher.cost(rows, range(6))[3] / 1e6 == pytest.approx(11.88, abs=0.01)
    assert len(plan.make(graph, "tinytrain", classes=10)[1].study) == 18


def test_a_plan_within_its_budget_is_what_the_compiler_makes_of_it(tmp_path):
    """Bytes of a choice beside those of the package that trains it."""
    made, _, _, found = studied(deep(), 7)
    chosen = tinytrain.updates(made, found, 1500, 0.3)
    assert chosen["bytes"] <= 1500 and chosen["share"] <= 0.3 and chosen["updates"]
    trained = compiled(made.trunk, written(chosen["updates"], tmp_path))
    planes = sum(b["bytes"] for b in trained.program.trained if b["role"] in ("weights", "residual", "bias"))
    kept = sum(b.size for b in cost.kept(trained.program))
    own = cost.kept(compiled(made.trunk, "last").program)
    assert planes + kept - sum(b.size for b in own) <= 1.25 * chosen["bytes"]


def written(updates, folder):
    """Updates as a policy."""
    (folder / "plan.json").write_text(json.dumps({"updates": updates}))
    return f"plan:{folder}/plan.json"


# -- a choice on the board -----------------------------------------------------------------------------------

BOARD = "tinytrain:7,budget=1.5,macs=0.5"
STEPS = 40


def board(kernels=None, policy=BOARD, **options):
    """(compiled, net, samples) of a package that leaves the choice to the board."""
    xs = inputs(deep(), SAMPLES)
    made = compiled(calibrated(deep(), xs), policy, **options)
    samples = [(x, i % 4) for i, x in enumerate(xs)]
    return made, simulated.load(made.data, kernels or fastest()), samples


def tuned(net, made):
    """Every weight and bias of the network, by name."""
    state = bytearray(net.state_bytes)
    net.read_state(0, state)
    return {t.name: t.data for t in Contents(made.data, bytes(state)).graph().tensors.values() if t.constant}


def test_the_board_chooses_as_the_pc_does():
    made, net, samples = board()
    got = net.choose(samples)
    names = [c.layer for c in made.program.pools.candidates]
    rows = [c.row for c in made.program.pools.candidates]
    found = tinytrain.information(made, samples, 0)
    assert not any(any(f) for _, f in found)  # a new head
    other = simulated.load(made.data, fastest())
    other.begin(len(samples))
    for x, y in samples:
        other.train(x, y)
    found = fisher.study(other, samples, list(made.program.candidates.values()))
    limits = made.program.pools
    want = fisher.pick(
        found,
        rows,
        lambda price: (
            price[0] <= limits.planes.size and price[1] <= limits.inputs.size and price[3] <= limits.most_macs
        ),
    )
    assert names == list(made.program.candidates) and 2 <= len(want) < 7
    assert got == {i: fisher.strongest(found[i][1], rows[i]) for i in want}


@pytest.mark.parametrize("residual", [8, 4, 0])
@pytest.mark.parametrize("kernels", TIERS)
def test_training_a_choice_equals_training_its_plan(kernels, residual, tmp_path):
    """Losses, weights and biases are those of the package that a PC compiles for the same channels."""
    made, net, samples = board(tier(kernels), residual=residual)
    net.choose(samples)
    by_hand = {2: [0, 7], 3: [1, 4, 6, 9, 19], 5: [0, 1, 13, 15], 6: [2, 3, 5, 12]}
    for chosen in (net._choice.chosen, by_hand, {6: [0, 1, 2, 3]}):
        net._choice.take(chosen)
        net.begin(0)
        names = [c.layer for c in made.program.pools.candidates]
        updates = [{"layer": names[i], "weight_channels": c} for i, c in chosen.items()]
        plain = compiled(made.trunk, written(updates, tmp_path), residual=residual)
        other = simulated.load(plain.data, tier(kernels))
        alike(made, net, plain, other)
        losses = [(net.train(*sample), other.train(*sample)) for sample in samples]
        assert all(a == b for a, b in losses) and len(set(losses)) > 5
        mine, theirs = tuned(net, made), tuned(other, plain)
        assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
        moved = {
            op.name
            for op in made.trunk.ops
            if op.kind in plan.TRAINABLE
            for name in op.inputs[1:]
            if not np.array_equal(mine[name], made.trunk[name].data)
        }
        assert moved == {names[i] for i in chosen}


def alike(made, net, plain, other):
    """The other net starts with this one's head and what its trackers know."""
    mine, theirs = Bench(made, net=net), Bench(plain, net=other)
    for name in ("head.weights", "head.bias", "generator"):
        theirs.bytes(theirs.state(name))[:] = mine.bytes(mine.state(name))
    where = next(t for t in made.program.trained if t["role"] == "exponents")["tensors"]
    tensors = next(t for t in plain.program.trained if t["role"] == "exponents")["tensors"]
    known = mine.read(mine.state("exponents"), "<i2")
    theirs.write(theirs.state("exponents"), [known[where.index(name)] for name in tensors], "<i2")


def test_a_weight_is_held_within_int8(tmp_path):
    """Sums of frozen and trained weights saturate where a plane by itself would."""
    made, net, samples = board(rate=0.4)
    net.choose(samples)
    for sample in samples:
        net.train(*sample)
    before = {t.name: t.data for t in made.trunk.tensors.values() if t.constant}
    now = tuned(net, made)
    edge = [
        name
        for name in now
        if now[name].dtype == np.int8
        and (np.abs(now[name]) == 127).sum() > (np.abs(before[name]) == 127).sum()
    ]
    assert edge and all(
        np.abs(data.astype(int)).max() <= 127 for data in now.values() if data.dtype == np.int8
    )


@pytest.mark.parametrize("kernels", TIERS)
def test_before_a_choice_only_the_head_trains(kernels):
    made, net, samples = board(tier(kernels))
    last = compiled(made.trunk, "last")
    other = simulated.load(last.data, tier(kernels))
    assert [net.train(*sample) for sample in samples] == [other.train(*sample) for sample in samples]
    assert net.self_test() and other.self_test()
    mine, theirs = tuned(net, made), tuned(other, last)
    assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)


def test_the_choice_is_part_of_the_state(tmp_path):
    """Saved, restored, in the CRC; put back by self_test, forgotten by reset."""
    made, _, samples = board()
    (tmp_path / "net.ttp").write_bytes(made.data)
    net = trimtab.load(str(tmp_path / "net.ttp"), fastest())
    fresh = net.state_crc()
    chosen = net.choose(samples)
    for sample in samples:
        net.train(*sample)
    net.save()
    crc = net.state_crc()
    assert net.self_test() and net.state_crc() == crc and net._choice.chosen == chosen
    again = trimtab.load(str(tmp_path / "net.ttp"), fastest())
    assert again.state_crc() == crc != fresh and again._choice.chosen == chosen
    assert [net.train(*s) for s in samples] == [
        again.train(*s) for s in samples
    ] and net.state_crc() == again.state_crc()
    assert [net.predict(s[0]) for s in samples] == [again.predict(s[0]) for s in samples]
    assert net.state_crc() == again.state_crc()  # predicting leaves no trace
    net.reset()
    assert net.state_crc() == fresh and net._choice.chosen == {}
    other = simulated.load(made.data, fastest())
    assert [net.train(*s) for s in samples] == [other.train(*s) for s in samples]


@pytest.mark.parametrize("kernels", TIERS)
def test_prototypes_choose_by_moved_copies(kernels):
    """On the board as on the PC; then the chosen layers train and the prototypes follow."""
    made, net, samples = board(tier(kernels), head="prototype", rate=0.3)
    chosen = net.choose(samples)
    found = tinytrain.information(made, samples, kernels=tier(kernels))
    rows = [c.row for c in made.program.pools.candidates]
    assert chosen == {
        i: fisher.strongest(found[i][1], rows[i]) for i in fisher.pick(found, rows, net._choice.fits)
    }
    assert len(chosen) > 1
    net.fit_few(samples, 2, shift=0)
    now = tuned(net, made)
    moved = {
        i
        for i, c in enumerate(made.program.pools.candidates)
        for op in made.trunk.ops
        if op.name == c.layer and not np.array_equal(now[op.inputs[1]], made.trunk[op.inputs[1]].data)
    }
    assert moved == set(chosen)


def test_passes_change_no_bit_of_a_choice():
    """Strips of the forward pass, on both time lines, against every buffer in a place of its own."""
    b = Builder((32, 32, 3), seed=9)
    b.conv(8, (3, 3), (2, 2), act="relu6", scale=0.024, zero=-128)
    b.conv(24, (1, 1), act="relu6", scale=0.024, zero=-128)
    b.depthwise(stride=(2, 2), act="relu6", scale=0.024, zero=-128)
    b.conv(12, (1, 1), scale=0.06, zero=4)
    b.conv(16, (3, 3), (2, 2), act="relu", scale=0.1, zero=-128)
    xs = inputs(b.graph(), 8)
    graph = calibrated(b.graph(), xs)
    ends = []
    for optimize in (True, False):
        made = compiled(graph, "tinytrain:2,budget=4,macs=1", optimize=optimize)
        net = simulated.load(made.data, fastest())
        chosen = net.choose([(x, i % 4) for i, x in enumerate(xs)])
        losses = [net.train(x, i % 4) for i, x in enumerate(xs)]
        ends.append((chosen, losses, net.state_crc()))
        strips = len(made.program.phases["study"]) > len(graph.ops) + 3
        assert strips == optimize
    assert ends[0] == ends[1] and len(ends[0][0]) == 2


@pytest.mark.parametrize("kernels", TIERS)
def test_a_choice_with_streamed_weights(kernels, tmp_path, monkeypatch):
    made, net, samples = board(tier(kernels))
    (tmp_path / "net.ttp").write_bytes(made.data)
    monkeypatch.setattr("trimtab.net._weights", lambda package: None)
    streamed = simulated.load(str(tmp_path / "net.ttp"), tier(kernels))
    assert streamed.choose(samples) == net.choose(samples)
    assert [streamed.train(*s) for s in samples] == [net.train(*s) for s in samples]
    assert streamed.state_crc() == net.state_crc()


def test_a_second_choice_starts_anew():
    made, net, samples = board()
    first = net.choose(samples)
    for sample in samples:
        net.train(*sample)
    frozen = {t.name: t.data for t in made.trunk.tensors.values() if t.constant}
    second = net.choose([(x, 0) for x, _ in samples[:4]] + samples[4:8], epochs=0)
    assert second and first
    assert all(np.array_equal(data, frozen[name]) for name, data in tuned(net, made).items())


def test_what_was_chosen_comes_home():
    """As .tflite, with frozen and trained weights put together: the same predictions."""
    made, net, samples = board()
    net.choose(samples)
    for sample in samples:
        net.train(*sample)
    state = bytearray(net.state_bytes)
    net.read_state(0, state)
    contents = Contents(made.data, bytes(state))
    out = run(contents.tflite(), np.stack([x for x, _ in samples]))
    logits = out[max(out)]
    assert logits.shape[1] == 4 and [net.predict(x) for x, _ in samples] == logits.argmax(1).tolist()
    untouched = run(Contents(made.data).tflite(), np.stack([x for x, _ in samples]))
    assert not np.array_equal(untouched[max(out)], logits)


@pytest.mark.parametrize(
    "bits, says",
    [
        (lambda bits: b"\xff" * len(bits), "does not fit the package"),
        (lambda bits: bytes([bits[0] ^ 1]) + bits[1:], "does not fit the package"),
    ],
)
def test_a_state_that_no_board_wrote_is_refused(tmp_path, bits, says):
    made, _, samples = board()
    (tmp_path / "net.ttp").write_bytes(made.data)
    net = trimtab.load(str(tmp_path / "net.ttp"), fastest())
    net.choose(samples)
    net._choice.bits[:] = bits(bytes(net._choice.bits))
    net.save()
    with pytest.raises(PackageError, match=says):
        trimtab.load(str(tmp_path / "net.ttp"), fastest())


def test_more_layers_than_the_pools_hold_are_refused(tmp_path):
    made, net, samples = board()
    rows = [c.row for c in made.program.pools.candidates]
    with pytest.raises(PackageError, match="does not fit the package"):
        net._choice.take({i: list(range(row[fisher.COUNT])) for i, row in enumerate(rows)})


def test_a_section_that_lies_is_refused():
    """Each word of it changed: a choice then works inside its memory, or the package is refused."""
    made, net, samples = board()
    offset, size, _ = net.package.span("choice")
    good = bytes(net.package.section("choice"))
    chosen, refused = {2: [0, 7], 6: [2, 3, 5, 12]}, 0
    for at in range(0, size, 4):
        for value in (0, 1, 0x7FFFFFFC, 0xFFFFFFFF, struct.unpack_from("<I", good, at)[0] + 4):
            bad = good[:at] + struct.pack("<I", value & 0xFFFFFFFF) + good[at + 4 :]
            try:
                other = simulated.load(with_section(made.data, "choice", bad), "plain")
                other._choice.take(chosen)
                other.train(*samples[0])
            except (PackageError, MemoryError):
                refused += 1
    assert refused > size // 4


def test_records_that_share_words_are_refused():
    """Patching one would change the other after it was checked. Here zx and scratch are a record, too."""
    made, _, _ = board()
    header, parts, phases = take_apart(made.data)
    steps = bytearray(parts["steps"])
    row = next(row for _, name, row in records(made.data) if name == "conv_dw")
    places = {field: at for field, _, at, _ in row}
    for field, value in (("zx", OPCODES["end_step"]), ("scratch", header["clock"]), ("words", 1)):
        struct.pack_into("<i", steps, places[field], value)
    parts["steps"] = bytes(steps)
    assert simulated.load(emit._assemble(header, parts, phases), "plain")
    with pytest.raises(PackageError, match="steps of the package overlap"):
        simulated.load(emit._assemble(header, parts, {**phases, "end": (places["zx"], 1)}), "plain")


@pytest.mark.parametrize(
    "policy, options, says",
    [
        ("tinytrain:7,budget=0.1", {}, "no layer's share of channels fits a budget of 102 bytes"),
        ("tinytrain:7,macs=1/2", {}, "give budget=KB"),
        ("tinytrain:7,budget=1.5,macs=2", {}, "macs and ratio are shares"),
        ("tinytrain:7,budget=1.5,depth=2", {}, "write tinytrain:K,budget=KB"),
        ("tinytrain:7,budget=x", {}, "x is not a number"),
        ("tinytrain:99,budget=3", {}, "give tinytrain: a number of layers"),
        (BOARD, dict(accumulate=2), "without --accumulate"),
    ],
)
def test_policies_that_cannot_be(policy, options, says):
    with pytest.raises(ModelError, match=says):
        compiled(deep(), policy, **options)


def test_a_package_that_reserves_nothing_cannot_choose():
    net = simulated.load(compiled(deep(), "tinytrain").data, fastest())
    with pytest.raises(ValueError, match="compile it with --policy tinytrain:budget=KB"):
        net.choose([])


# -- the command ---------------------------------------------------------------------------------------------


@pytest.fixture()
def task(tmp_path):
    """A model and the samples of a task as files."""
    (tmp_path / "net.tflite").write_bytes(write_tflite.write(calibrated(deep(), inputs(deep(), 8))))
    y = np.arange(20) % 2
    x = inputs(deep(), 20).astype(np.int64) + np.where(y, 40, -40)[:, None, None, None]
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


# -- on boards -----------------------------------------------------------------------------------------------

STORY = """
import trimtab
from trimtab import fisher
net = trimtab.load("net.ttp", %r)
samples = %r
print(sorted(net.choose(samples).items()))
print(net.state_crc())
print([net.train(*sample) for sample in samples])
print(fisher.study(net, samples[:4], [row[fisher.INPUTS] for row in net._choice.rows]))
net.save()
again = trimtab.load("net.ttp", %r)
print(net.state_crc(), again.state_crc(), [again.predict(x) for x, _ in samples])
"""


def digits():
    """(compiled, 20 samples of digits as pixels)."""
    data = toys.digits()
    samples = [(data.train[0, i].tobytes(), int(data.y[i])) for i in range(20)]
    return compiled(toys.reader(), "tinytrain:4,budget=2.5,macs=0.6", classes=10), samples


def told(made, samples, folder):
    """What the story prints in CPython."""
    (folder / "net.ttp").write_bytes(made.data)
    lines = []
    story = STORY % ("c", samples, "c")
    story = story.replace('"net.ttp"', repr(str(folder / "net.ttp"))).replace("'c'", "kernels")
    exec(story, {"print": lambda *words: lines.append(" ".join(map(str, words))), "kernels": fastest()})
    return lines


@pytest.mark.unix
@pytest.mark.parametrize("kernels", ["c", "viper", "plain"])
def test_a_choice_on_unix_equals_the_pcs(kernels, tmp_path):
    provide("unix")
    made, samples = digits()
    want = told(made, samples, tmp_path)
    assert want[0].count("[") >= 2 and len(want) == 5
    with emulated.Unix(
        "-c", STORY % (kernels, samples, kernels), files={"net.ttp": made.data}, kernels=kernels == "c"
    ) as unix:
        assert unix.output().splitlines() == want


@pytest.mark.pico
@pytest.mark.parametrize("kernels", others_slow(["c", "viper"], "c"))
def test_a_choice_on_the_pico_equals_the_pcs(kernels, tmp_path):
    """Fisher sums, the choice, 20 steps: the same on the emulated Pico, without the PC."""
    provide("pico")
    made, samples = digits()
    want = told(made, samples, tmp_path)
    files = {**emulated.library_files("armv6m", kernels, made.data), "/net.ttp": made.data}
    with emulated.Pico(files=files) as pico:
        said = emulated.mpremote(pico.url, "exec", STORY % (kernels, samples, kernels))
    assert said.splitlines() == want
