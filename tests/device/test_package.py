"""Packages that are cut, damaged or hostile: one clear error, never another, never a write outside."""

import random
import re
import struct

import numpy as np
import pytest
import trimtab.package
from helpers import compiled, fastest, tier
from operator_graphs import OPERATORS, around
from package_parts import records, sections, take_apart, with_header, with_section, with_word, word
from trimtab.format import NULL, RECORDS
from trimtab.kernels import Tier
from trimtab.net import Net
from trimtab.package import Package, PackageError
from trimtab_tools.compiler import emit

HEAD = trimtab.package.HEADER_BYTES


@pytest.fixture(scope="module", params=("two_skips_and_a_branch", "dense_on_reshaped", "avg_pool_same"))
def data(request):
    return compiled(
        around(OPERATORS[request.param]), "full", labels=("a", "b", "c", "d"), residual=4, accumulate=2
    ).data


def open_all(source):
    """Everything that a board and a host read of a package."""
    net = Net(Package(source), fastest())
    assert net.self_test(), "self test"
    net.package.section("plan")
    net.package.section("signature")
    return net


def refused(source):
    """The error of a package that cannot be used: one sentence."""
    with pytest.raises(PackageError) as found:
        open_all(source)
    text = str(found.value)
    assert len(text.splitlines()) == 1 and ": " in text and not text.endswith(".")
    return text


def test_a_whole_package_opens(data, tmp_path):
    assert open_all(data).labels == ("a", "b", "c", "d")
    path = tmp_path / "whole.ttp"
    path.write_bytes(data)
    assert open_all(str(path)).labels == ("a", "b", "c", "d")


def test_cut_anywhere(data, tmp_path):
    """At and around every boundary of header and sections, from memory and from a file."""
    ends = {0, 4, 8, HEAD} | {at for o, n in sections(data).values() for at in (o, o + n)}
    path = tmp_path / "cut.ttp"
    for cut in sorted({min(max(end + d, 0), len(data) - 4) for end in ends for d in (-4, -1, 0, 1, 3)}):
        refused(data[:cut])
        path.write_bytes(data[:cut])
        refused(str(path))


def test_every_flip_is_seen(data):
    """One bit wrong, at every byte of the header and at random in the sections (padding is not covered)."""
    rng = random.Random(1)
    used = {at for o, n in sections(data).values() for at in range(o, o + n)} | set(range(HEAD))
    places = [(at, bit) for at in range(HEAD) for bit in (0, 7)]
    places += [(rng.choice(sorted(used)), rng.randrange(8)) for _ in range(150)]
    for at, bit in places:
        refused(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])


def test_random_bytes(data):
    rng = random.Random(2)
    for n in (0, 1, 3, 4, 5, 7, 8, HEAD - 1, HEAD, 4096):
        refused(rng.randbytes(n))
        refused(data[: min(n, 8)] + rng.randbytes(n))


def test_a_package_that_is_not_there(tmp_path):
    with pytest.raises(PackageError, match="is not there"):
        Package(str(tmp_path / "absent.ttp"))


# -- forged: every checksum is right, one number is not ------------------------------------------------------


def test_taking_apart_and_assembling_changes_nothing(data):
    assert emit.assemble(*take_apart(data)) == data


HOSTILE = {
    ("conv_fwd", "y"): (lambda v: v + 4096, "points outside"),
    ("conv_fwd", "x"): (lambda v: 3 << 28, "points outside"),
    ("conv_fwd", "bias"): (lambda v: NULL, "points outside"),
    ("conv_fwd", "mult"): (lambda v: v + 2, "unaligned"),
    ("conv_fwd", "sh"): (lambda v: 0, "has sh = 0"),
    ("conv_fwd", "shift"): (lambda v: v | 1 << 27, "points outside"),
    ("conv_fwd", "oc"): (lambda v: 1 << 27, "points outside"),
    ("conv_fwd", "ic"): (lambda v: -1, "has ic = -1"),
    ("conv_fwd", "zx"): (lambda v: 128, "has zx = 128"),
    ("conv_dw", "k"): (lambda v: 2 << 28, "points outside"),
    ("conv_dw", "residual"): (lambda v: 9, "has residual = 9"),
    ("fold_weights", "residual"): (lambda v: 2, r"breaks the rule 4\|residual"),
    ("conv_dx", "nk"): (lambda v: v + 1, "breaks the rule nk<=ic"),
    ("conv_dw", "pre"): (lambda v: -1, "has pre = -1"),
    ("head_dw", "w"): (lambda v: v + 1, "outside|unaligned"),
    ("head_dx", "f"): (lambda v: v + 1000, "points outside"),
    ("softmax_loss", "shift"): (lambda v: 63, "has shift = 63"),
    ("end_step", "clock"): (lambda v: 0x10000000 | (1 << 27), "points outside"),
    ("begin_step", "rate_shift"): (lambda v: 1 << 20, "has rate_shift"),
}


@pytest.mark.parametrize("kernel,field", HOSTILE)
def test_hostile_fields(kernel, field, data):
    change, message = HOSTILE[kernel, field]
    at, value = word(data, kernel, field)
    text = refused(with_word(data, at, change(value)))
    assert re.search(message, text), text


def test_a_channel_that_is_not_there(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text('{"updates": [{"layer": "conv_0", "weight_channels": [0, 2]}]}')
    data = compiled(around(OPERATORS["conv3x3"]), f"plan:{path}").data
    at, ref = word(data, "conv_fwd", "kept")
    const = bytearray(take_apart(data)[1]["const"])
    struct.pack_into("<H", const, (ref & 0xFFFFFFF) + 2, 3)
    assert "a channel that is not there" in refused(with_section(data, "const", bytes(const)))
    assert "from RAM" in refused(with_word(data, at, 0))


def test_hostile_opcodes_and_phases(data):
    assert "is unknown to this library" in refused(with_word(data, 0, len(RECORDS)))
    assert "is unknown to this library" in refused(with_word(data, 0, -1))
    header, parts, phases = take_apart(data)
    for at, count in (
        (2, 1),
        (1 << 31, 1),
        (len(parts["program"]), 1),
        (0, 1 << 31),
        (len(parts["program"]) - 4, 1),
    ):
        refused(emit.assemble(header, parts, {**phases, "forward": (at, count)}))


@pytest.mark.parametrize("field", ("input", "output", "target", "clock", "rng"))
def test_hostile_references_of_the_header(field, data):
    for ref in (0x0FFFFFFF, 2 << 28, 3 << 28, 0xFFFFFFFF, 0x1FFFFFFF):
        assert "points outside" in refused(with_header(data, **{field: ref}))


def test_hostile_sizes_of_the_header(data):
    header = take_apart(data)[0]
    for words in (
        dict(arena_bytes=0),
        dict(arena_bytes=0xFFFFFFFF),
        dict(arena_bytes=header["arena_bytes"] // 2),
        dict(state_bytes=0),
        dict(state_bytes=0xFFFFFFFF),
        dict(state_bytes=header["state_bytes"] - 4),
        dict(input_bytes=1 << 28),
        dict(output_count=1 << 28),
        dict(output_count=header["arena_bytes"]),
        dict(loss_kind=3),
        dict(classes=1 << 30),
    ):
        refused(with_header(data, **words))


def test_hostile_sections(data):
    for name, content in (
        ("labels", b"\xff\xfe"),
        ("segments", b"\1\2\3"),
        ("segments", struct.pack("<II", 1 << 30, 4)),
        ("state", b""),
        ("state", bytes(1 << 16)),
        ("golden", b""),
        ("golden", bytes(16)),
        ("const", b""),
    ):
        refused(with_section(data, name, content))


# -- what passes the check can do no harm --------------------------------------------------------------------

GUARD = 4096


def guarded():
    """The C kernels with memory between two guards that must stay as they are."""
    right = tier("c")
    blocks = []

    def alloc(n):
        block = np.full(n + 2 * GUARD + 4, 0xA5, np.uint8)
        block[GUARD : GUARD + n] = 0
        blocks.append((block, n))
        return memoryview(block)[GUARD : GUARD + n]

    def check():
        for block, n in blocks:
            assert np.all(block[:GUARD] == 0xA5) and np.all(block[GUARD + n :] == 0xA5), (
                "wrote outside its memory"
            )

    return Tier("c", right.functions, alloc, right.bind), check


def run_forged(data, kernels):
    """Whether the package was accepted; then it has made a step and a prediction."""
    try:
        net = Net(Package(data), kernels)
    except PackageError as e:
        assert len(str(e).splitlines()) == 1
        return False
    for i in range(2):
        net.input_view[:] = bytes((37 * k + i) & 255 for k in range(net.input_bytes))
        net.train_input()
    net.classify_input()
    return True


VALUES = (0, -1, 1, 2, 3, 127, 128, 255, 4096, 32767, 1 << 27, (1 << 28) + 3, (1 << 31) - 1, -(1 << 31))


@pytest.mark.parametrize("kernels", ("plain", "c"))
def test_forged_records_write_nothing_outside(data, kernels):
    """Any number of any record changed: refused, or run without a write outside (plain: an index error)."""
    rng = random.Random(3)
    rows = records(data)
    tried, check = (tier("plain"), lambda: None) if kernels == "plain" else guarded()
    accepted = 0
    for _ in range(60 if kernels == "plain" else 250):
        _, name, row = rng.choice(rows)
        field, kind, at, value = rng.choice(row)
        if field in ("kh", "kw") and "pool" in name:
            continue  # a window as large as it likes is slow, not dangerous
        new = rng.choice((*VALUES, value + 1, value - 1, value + 4, value * 2))
        accepted += run_forged(with_word(data, at, new), tried)
        check()
    assert accepted
