"""Cut the power at every flash operation of many saves: one of the two last good states must come back.

    python benchmarks/store_cuts.py --saves 200 --boots 50

A network saves on a real littlefs of a Pico's size, and its erases and programs are logged. Every prefix of
the log is mounted and loaded, also with its last operation torn. Some of these states boot an emulated
Pico.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import paths  # noqa: F401  # makes tests/support importable
import pytest
from lines import noise
from littlefs_flash import Files, Flash
from models import Builder
from trimtab.store import Store
from trimtab_tools.boards import simulated
from trimtab_tools.boards.files import LAYOUTS, flash_image, library_files, littlefs_image
from trimtab_tools.boards.pico import Pico
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.link.repl import mpremote
from trimtab_tools.toolchain.boards import provide

START, SIZE = LAYOUTS["stock"].files_start, LAYOUTS["stock"].files_bytes
ASK = "import trimtab; net = trimtab.load('net.ttp'); print(net.step, net.state_crc())"


def network():
    """Its state takes two blocks of flash."""
    b = Builder((8, 8, 2), seed=4)
    b.conv(12, (3, 3), (2, 2), act="relu6")
    b.conv(20, (3, 3), (2, 2), act="relu6")
    return compiler.compile_graph(
        b.graph(), "full", labels=("a", "b", "c"), rate=0.01, kernels=simulated.best_tier()
    ).data


def saved(package, files, saves, patch):
    """(image before, operations, how many of them each save took, CRC of each step's state)"""
    before = littlefs_image(files, SIZE)
    flash = Flash(before, prog=256, cache=1024)
    Files(flash.mount()).use(patch)
    net = simulated.load(package, simulated.best_tier(), Store("/net.ttp"))
    source, finished, states = noise(net.input_bytes), [], {0: net.state_crc()}
    for step in range(saves):
        net.input_view[:] = source(step).data
        net.train_input(source(step).label)
        assert net.save() == step + 1
        finished.append(len(flash.operations))
        states[step + 1] = net.state_crc()
    patch.undo()
    return before, flash.operations, finished, states


def prefixes(before, operations):
    """Every state of the flash: (operations done, is the next one torn?, image); the image is reused."""
    image = bytearray(before)
    for count, (at, data) in enumerate(operations):
        yield count, False, image
        kept = bytes(image[at : at + len(data)])
        half = data[: len(data) // 2]
        image[at : at + len(half)] = half
        yield count, True, image
        image[at : at + len(data)] = kept
        image[at : at + len(data)] = data
    yield len(operations), False, image


def loaded(image, net, patch):
    """(step, CRC) that a board with this flash comes back with; nothing is written to find out."""
    flash = Flash(image, prog=256, cache=1024)
    Files(flash.mount()).use(patch)
    net.reset()
    step = Store("/net.ttp").load(net.segments, net.package_crc)
    patch.undo()
    assert not flash.operations
    return step or 0, net.state_crc()


def right(found, count, finished, states):
    """The last save that was finished, or the one that was being written."""
    last = sum(done <= count for done in finished)
    step, crc = found
    return step in (last, last + 1) and states.get(step) == crc


def replay(saves, boots, seed=1):
    package = network()
    files = {**(library_files("armv6m") if boots else {}), "/net.ttp": package}
    with pytest.MonkeyPatch.context() as patch:
        before, operations, finished, states = saved(package, files, saves, patch)
        chosen = set(random.Random(seed).sample(range(len(operations)), boots))
        net = simulated.load(package, simulated.best_tier())
        wrong, seen, images = 0, 0, []
        for count, torn, image in prefixes(before, operations):
            seen += 1
            wrong += not right(loaded(image, net, patch), count, finished, states)
            if count in chosen and torn:
                images.append((count, bytes(image)))
    booted = sum(right(boot(image), count, finished, states) for count, image in images)
    return {
        "saves": saves,
        "operations": len(operations),
        "images": seen,
        "wrong": wrong,
        "boots": boots,
        "booted_right": booted,
    }


def boot(image):
    provide("pico")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flash.bin"
        whole = bytearray(flash_image("stock"))
        whole[START : START + SIZE] = image
        path.write_bytes(whole)
        with Pico(flash=path) as pico:
            return tuple(map(int, mpremote(pico.url, "exec", ASK).split()[-2:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--saves", type=int, default=200)
    parser.add_argument("--boots", type=int, default=50)
    args = parser.parse_args()
    began = time.monotonic()
    result = replay(args.saves, args.boots)
    print(json.dumps({**result, "seconds": round(time.monotonic() - began)}))
    return 0 if not result["wrong"] and result["booted_right"] == result["boots"] else 1


if __name__ == "__main__":
    sys.exit(main())
