"""Both cores of an emulated Pico train one network, and its life goes on: flash, resets, other threads."""

import sys

import pytest
from helpers import ROOT, compiled, provide
from talk import tell
from trimtab_tools.boards import simulated
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.pico import Pico

sys.path.append(str(ROOT / "benchmarks"))
import kernel_shapes  # noqa: E402

pytestmark = pytest.mark.pico

START = """
import gc, time, trimtab
def train(net, steps):
    x = bytearray(net.input_bytes)
    for _ in range(steps):
        n = net.step
        for k in range(len(x)):
            x[k] = k * 37 + n & 255
        net.train(x, n % 10)
def load(**options):
    return trimtab.load("/net.ttp", **options)
"""


@pytest.fixture(scope="module")
def data():
    return compiled(kernel_shapes.n1(), "full", classes=10).data


@pytest.fixture(scope="module")
def pico(data):
    provide("pico")
    files = {
        **library_files("armv6m", package=data, cores=2),
        "/net.ttp": data,
        "/start.py": START.encode(),
    }
    with Pico(files=files) as board:
        yield board


@pytest.fixture(scope="module")
def crc(data):
    """What so many steps leave."""
    net, found = simulated.load(data), [0]
    for n in range(12):
        net.train(bytes((k * 37 + n) & 255 for k in range(net.input_bytes)), n % 10)
        found.append(net.state_crc())
    return found


def said(pico, code):
    """What a board prints after a soft reset."""
    return tell(pico, "from start import *\n" + code).split("\n")


def test_two_cores_are_faster_and_leave_the_same(pico, crc):
    code = """
net = load(cores=%d)
train(net, 3)
start = time.ticks_us()
net.run_step("prefix")
took = time.ticks_diff(time.ticks_us(), start)
print(net.info()["cores"], net.state_crc(), took)
"""
    one, two = (said(pico, code % cores)[0].split() for cores in (1, 2))
    assert one[:2] == ["1", two[1]] and two[0] == "2"
    assert int(two[2]) < 0.75 * int(one[2])


def test_training_allocates_nothing_and_flash_is_written_meanwhile(pico, crc):
    lines = said(
        pico,
        """
net = load()
train(net, 4)
before = gc.mem_alloc()
gc.disable()
for n in range(2):
    net.run_step("prefix")
print(gc.mem_alloc() - before)
gc.enable()
net.reset()
train(net, 5)
net.save()
train(net, 1)
open("/other", "wb").write(bytes(9000))
train(net, 1)
print(net.cores, net.state_crc())
""",
    )
    assert int(lines[0].strip()) < 2000  # frames of Python's; no kernel's memory
    assert lines[1].strip() == f"2 {crc[7]}"
    # mpremote begins with a soft reset: core 1 was stopped by it, its memory is gone, and all starts again.
    again = "net = load(); print(net.step, net.cores); train(net, 5); net.save(); print(net.state_crc())"
    assert [line.strip() for line in said(pico, again)] == ["5 2", str(crc[10])]


def test_a_thread_of_the_users_own_is_left_alone(pico, crc):
    lines = said(
        pico,
        """
import _thread
seen = [0, 0]
def work():
    while not seen[1]:
        seen[0] += 1
_thread.start_new_thread(work, ())
net = load()
net.reset()
train(net, 3)
print(net.info()["cores"])
print(net.state_crc(), seen[0] > 100)
seen[1] = 1
time.sleep_ms(10)
net = load()
net.reset()
train(net, 3)
print(net.info()["cores"], net.state_crc())
from trimtab import cores
cores.release()
seen[:] = [0, 1]
_thread.start_new_thread(work, ())
time.sleep_ms(10)
train(net, 3)
print(net.state_crc())
""",
    )
    assert [line.strip() for line in lines] == [
        "1: a thread of your program has it",
        f"{crc[3]} True",
        f"2 {crc[3]}",
        str(crc[6]),
    ]


def test_where_the_heap_has_no_room_one_core_works(pico, crc):
    lines = said(
        pico,
        """
from trimtab import cores
cores.RESERVE = gc.mem_free()  # Python wants all of it
net = load()
net.reset()
train(net, 3)
print(net.info()["cores"])
print(net.state_crc())
""",
    )
    assert lines[0].startswith("1: its thread and scratch memory do not fit into the heap")
    assert lines[1].strip() == str(crc[3])
