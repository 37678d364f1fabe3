"""A choice on the board: it chooses as the PC does, trains what it chose, and refuses what nobody wrote."""

import struct

import numpy as np
import pytest
import toys
import trimtab
from helpers import TIERS, Bench, calibrated, compiled, fastest, inputs, provide, tier, written
from models import Builder, run
from package_parts import records, take_apart, with_section
from sampled import others_slow
from trimtab import fisher
from trimtab.format import OPCODES
from trimtab.package import PackageError
from trimtab_tools.boards import simulated
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.boards.unix import Unix
from trimtab_tools.compiler import emit
from trimtab_tools.compiler.package_reading import Contents
from trimtab_tools.errors import ModelError
from trimtab_tools.lab import tinytrain
from trimtab_tools.link.repl import mpremote
from trimtab_tools.policies import plan

SAMPLES = 24
# -- a choice on the board -----------------------------------------------------------------------------------

BOARD = "tinytrain:7,budget=1.5,macs=0.5"
STEPS = 40


def board(kernels=None, policy=BOARD, **options):
    """(compiled, net, samples) of a package that leaves the choice to the board."""
    xs = inputs(toys.deep(), SAMPLES)
    made = compiled(calibrated(toys.deep(), xs), policy, **options)
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
    for chosen in (net.choice.chosen, by_hand, {6: [0, 1, 2, 3]}):
        net.choice.take(chosen)
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
            if op.kind in plan.WEIGHTED
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
    assert net.self_test() and net.state_crc() == crc and net.choice.chosen == chosen
    again = trimtab.load(str(tmp_path / "net.ttp"), fastest())
    assert again.state_crc() == crc != fresh and again.choice.chosen == chosen
    assert [net.train(*s) for s in samples] == [
        again.train(*s) for s in samples
    ] and net.state_crc() == again.state_crc()
    assert [net.predict(s[0]) for s in samples] == [again.predict(s[0]) for s in samples]
    assert net.state_crc() == again.state_crc()  # predicting leaves no trace
    net.reset()
    assert net.state_crc() == fresh and net.choice.chosen == {}
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
        i: fisher.strongest(found[i][1], rows[i]) for i in fisher.pick(found, rows, net.choice.fits)
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
    monkeypatch.setattr("trimtab.engine.weights_in_memory", lambda package: None)
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
    net.choice.bits[:] = bits(bytes(net.choice.bits))
    net.save()
    with pytest.raises(PackageError, match=says):
        trimtab.load(str(tmp_path / "net.ttp"), fastest())


def test_more_layers_than_the_pools_hold_are_refused(tmp_path):
    made, net, samples = board()
    rows = [c.row for c in made.program.pools.candidates]
    with pytest.raises(PackageError, match="does not fit the package"):
        net.choice.take({i: list(range(row[fisher.COUNT])) for i, row in enumerate(rows)})


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
                other.choice.take(chosen)
                other.train(*samples[0])
            except (PackageError, MemoryError):
                refused += 1
    assert refused > size // 4


def test_records_that_share_words_are_refused():
    """Patching one would change the other after it was checked. Here zx and scratch are a record, too."""
    made, _, _ = board()
    header, parts, phases = take_apart(made.data)
    words = bytearray(parts["program"])
    row = next(row for _, name, row in records(made.data) if name == "conv_dw")
    places = {field: at for field, _, at, _ in row}
    for field, value in (("zx", OPCODES["end_step"]), ("scratch", header["clock"]), ("words", 1)):
        struct.pack_into("<i", words, places[field], value)
    parts["program"] = bytes(words)
    assert simulated.load(emit.assemble(header, parts, phases), "plain")
    with pytest.raises(PackageError, match="records of the package overlap"):
        simulated.load(emit.assemble(header, parts, {**phases, "end": (places["zx"], 1)}), "plain")


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
        compiled(toys.deep(), policy, **options)


def test_a_package_that_reserves_nothing_cannot_choose():
    net = simulated.load(compiled(toys.deep(), "tinytrain").data, fastest())
    with pytest.raises(ValueError, match="compile it with --policy tinytrain:budget=KB"):
        net.choose([])


# -- on boards -----------------------------------------------------------------------------------------------

STORY = """
import trimtab
from trimtab import fisher
net = trimtab.load("net.ttp", %r)
samples = %r
print(sorted(net.choose(samples).items()))
print(net.state_crc())
print([net.train(*sample) for sample in samples])
print(fisher.study(net, samples[:4], [row[fisher.INPUTS] for row in net.choice.rows]))
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
    with Unix(
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
    files = {**library_files("armv6m", kernels, made.data), "/net.ttp": made.data}
    with Pico(files=files) as pico:
        said = mpremote(pico.url, "exec", STORY % (kernels, samples, kernels))
    assert said.splitlines() == want
