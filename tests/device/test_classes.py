"""Classes that are added on the board: they cost nothing until then, learn after, and outlive a reset."""

import numpy as np
import pytest
import toys
import trimtab
from helpers import TIERS, compiled, fastest, load, provide, tier
from models import run
from toys import NAMES, exam, lessons, package
from trimtab_tools.boards import simulated
from trimtab_tools.boards.unix import Unix
from trimtab_tools.compiler.package_reading import Contents
from trimtab_tools.errors import ModelError


@pytest.mark.parametrize("kernels", TIERS)
def test_reserved_rows_take_no_part(kernels):
    plain, roomy = load(package(), kernels), load(package(max_classes=10), kernels)
    some = lessons(8, 12)
    assert [plain.train(*one) for one in some] == [roomy.train(*one) for one in some]
    assert [plain.predict(x) for x, _ in some] == [roomy.predict(x) for x, _ in some]
    assert roomy.state_bytes == plain.state_bytes + 2 * (2 * 96 + 4 + 16)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_class_is_added_and_learnt(accumulate):
    net = load(package(max_classes=10, accumulate=accumulate), fastest())
    net.fit(lessons(8), 2)
    before = net.evaluate(exam(range(8)))
    assert net.add_class("mug") == 8 and net.add_class("jug") == 9
    assert net.labels == (*NAMES, "mug", "jug") and net.classes == 10
    assert net.evaluate(exam([8, 9])) < 0.5
    net.fit([(x, net.labels[y]) for x, y in lessons(10)], 4)
    assert net.evaluate(exam(range(8))) > before - 0.1
    assert net.evaluate(exam([8, 9])) > 0.6


def test_what_was_added_is_part_of_the_state(tmp_path):
    (tmp_path / "digits.ttp").write_bytes(package(max_classes=10).data)
    net = trimtab.load(str(tmp_path / "digits.ttp"), fastest())
    fresh = net.state_crc()
    net.add_class("mug")
    assert net.state_crc() != fresh
    for x, y in lessons(9, 30):
        net.train(x, y)
    net.save()
    again = trimtab.load(str(tmp_path / "digits.ttp"), fastest())
    assert (again.labels, again.classes, again.state_crc()) == (net.labels, 9, net.state_crc())
    assert again.self_test() and again.labels == net.labels
    again.reset()
    assert (again.labels, again.classes, again.state_crc()) == (NAMES, 8, fresh)


def test_all_tiers_grow_alike():
    ends = []
    for kernels in TIERS:
        net = load(package(max_classes=9), tier(kernels))
        net.add_class("Krüge")
        for x, y in lessons(9, 20):
            net.train(x, y)
        ends.append(net.state_crc())
    assert ends[0] == ends[1]


def test_refusals_leave_everything_as_it_was():
    net = load(package(max_classes=9), fastest())
    before = net.state_crc()
    for name, why in (
        ("c", "is in the package already"),
        ("", "1 to 16 bytes"),
        ("x" * 17, "1 to 16 bytes"),
        ("a\0b", "bytes"),
    ):
        with pytest.raises(ValueError, match=why):
            net.add_class(name)
    with pytest.raises(ValueError, match="label 'mug' is not in the package"):
        net.train(*lessons(8, 1)[0][:1], "mug")
    with pytest.raises(ValueError, match="has 8 classes"):
        net.train(lessons(8, 1)[0][0], 8)
    assert net.state_crc() == before
    net.add_class("mug")
    with pytest.raises(ValueError, match="--max-classes 10"):
        net.add_class("jug")
    with pytest.raises(ValueError, match="--max-classes 9"):
        load(package(), fastest()).add_class("mug")


def test_what_was_added_comes_home():
    """In the tuned model of the PC: its outputs are the classes in use."""
    c = package(max_classes=10)
    assert len(Contents(c.data).head()["weights"]) == 8
    net = load(c, fastest())
    net.add_class("mug")
    for x, y in lessons(9, 60):
        net.train(x, y)
    state = bytearray(net.state_bytes)
    net.read_state(0, memoryview(state))
    contents = Contents(c.data, bytes(state))
    assert contents.labels == [*NAMES, "mug"]
    data = contents.tflite()
    x = (toys.digits().test[:20] ^ 128).view(np.int8)
    p = list(run(data, x).values())[-1]
    assert p.shape == (20, 9)
    assert p.argmax(1).tolist() == [
        net.labels.index(net.predict(one.tobytes())) for one in toys.digits().test[:20]
    ]


@pytest.mark.parametrize(
    "options",
    [{"max_classes": 7}, {"labels": (), "classes": 8, "max_classes": 9}, {"loss": "mse", "max_classes": 9}],
)
def test_rows_are_reserved_behind_labels(options):
    options = {"labels": NAMES, "classes": 0, **options}
    with pytest.raises(ModelError, match="needs --labels"):
        compiled(toys.reader(), "last", **options)


@pytest.mark.unix
@pytest.mark.parametrize("kernels", TIERS)
def test_a_class_is_added_under_micropython(kernels):
    """The same lesson on the unix port gives the same state."""
    provide("unix")
    c = package(max_classes=9)
    net = simulated.load(c.data, fastest())
    some = lessons(9, 6)
    net.add_class("mug")
    for x, y in some:
        net.train(x, y)
    story = f"""
import trimtab
net = trimtab.load("net.ttp", {kernels!r})
print(net.add_class("mug"), net.labels[-1])
for x, y in {some!r}:
    net.train(x, y)
net.save()
again = trimtab.load("net.ttp", {kernels!r})
print(net.state_crc(), again.state_crc(), again.labels[-1])
"""
    with Unix("-c", story, files={"net.ttp": c.data}, kernels=kernels == "c") as unix:
        crc = str(net.state_crc())
        assert unix.output().split() == ["8", "mug", crc, crc, "mug"]
