"""Damaged and hostile input through the C kernels, under address and undefined-behaviour sanitizers.

    python benchmarks/fuzz_packages.py packages 200000
        Mutated packages are refused, or a step stays inside its memory.
    python benchmarks/fuzz_packages.py states 200000
        Mutated state files are ignored, or a step stays inside its memory.
    python benchmarks/fuzz_packages.py frames 1000000
        In mutated streams of frames no wrong sample is accepted.

Most mutations get right checksums, so that they meet the validation and not only the CRC.
"""

import collections
import ctypes
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import paths  # noqa: F401  # makes tests/support importable
from fake_net import FakeNet
from trimtab import serve, store
from trimtab.crc import crc32
from trimtab.format import HEADER, PHASES, SECTIONS
from trimtab.frame import encode
from trimtab.kernels import Tier
from trimtab.net import Net
from trimtab.package import Package, PackageError
from trimtab.session import MESSAGES, TRAIN, Board
from trimtab_tools.boards import native, simulated
from trimtab_tools.link.host import Host
from trimtab_tools.toolchain.kernels import host_library

FLAGS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
OTHERS = bytes(code for code in range(256) if code != MESSAGES["hello"][0][0])
WORDS = len(HEADER) + 3 * len(SECTIONS) + 2 * len(PHASES)
HEAD = 8 + 4 * WORDS  # its CRC follows
MEMORY = 1 << 20  # bytes that this board has
INTERESTING = (
    0,
    1,
    2,
    3,
    4,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    1 << 20,
    (1 << 28) - 4,
    (1 << 28) - 1,
    1 << 28,
    (1 << 28) + 1,
    1 << 29,
    3 << 28,
    1 << 31,
    (1 << 32) - 1,
    (1 << 32) - 4,
    (1 << 32) - 128,
)


# -- kernels whose every space is a block of its own, so that the sanitizer sees its end


def alloc(size):
    if size > MEMORY:
        raise MemoryError
    return np.zeros(size, np.uint8)


def bind(*spaces):
    memory = native.Memory()
    memory.spaces = [
        s if isinstance(s, np.ndarray) else np.frombuffer(bytes(s) or bytes(4), np.uint8).copy()
        for s in spaces
    ]
    for i, space in enumerate(memory.spaces):
        memory[i] = space.ctypes.data
    return memory


def tier(library):
    return Tier("c", native.functions(ctypes.CDLL(library)), alloc, bind)


# -- packages


def word(rng, old):
    what = rng.randrange(6)
    if what == 0:
        return rng.choice(INTERESTING)
    if what == 1:
        return old + rng.choice((-4, -2, -1, 1, 2, 4, 64, -64))
    if what == 2:
        return old ^ 1 << rng.randrange(32)
    if what == 3:
        return rng.getrandbits(32)
    if what == 4:
        return rng.randrange(1 << rng.randrange(1, 20))
    return (old & 0xF0000000) | rng.randrange(1 << rng.randrange(1, 12))


def change(rng, data, at):
    old = int.from_bytes(data[at : at + 4], "little")
    data[at : at + 4] = (word(rng, old) & 0xFFFFFFFF).to_bytes(4, "little")


def mutated(rng, package, where):
    """A package with up to three changes; where: {section: (offset, size)}."""
    data = bytearray(package)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        what = rng.random()
        if what < 0.25:
            change(rng, data, 8 + 4 * rng.randrange(len(HEADER)))
        elif what < 0.35:
            change(rng, data, 8 + 4 * rng.randrange(len(HEADER), WORDS))
        elif what < 0.75:
            offset, size = where["program"]
            change(rng, data, offset + 4 * rng.randrange(size // 4))
        else:
            offset, size = where[rng.choice([name for name in where if where[name][1]])]
            for _ in range(rng.choice((1, 1, 4, 40))):
                data[offset + rng.randrange(size)] = rng.choice((0, 127, 128, 255, rng.randrange(256)))
    if rng.random() < 0.03:
        del data[rng.randrange(len(data)) :]
    if rng.random() > 0.05:
        repair(data)
    return bytes(data)


def repair(data):
    """Right checksums for whatever lies there."""
    if len(data) < HEAD + 4:
        return
    for i in range(len(SECTIONS)):
        at = 8 + 4 * (len(HEADER) + 3 * i)
        offset, size = (int.from_bytes(data[at + j : at + j + 4], "little") for j in (0, 4))
        data[at + 8 : at + 12] = crc32(data[offset : offset + size]).to_bytes(4, "little")
    data[HEAD : HEAD + 4] = crc32(data[:HEAD]).to_bytes(4, "little")


def use(net):
    """All that a board does with a network."""
    net.self_test()
    net.info()
    if net.choice and net.loss == "softmax":
        net.choose([(bytes(range(256)) * (net.input_bytes // 256) + bytes(net.input_bytes % 256), 0)] * 2)
    for step in range(2):
        net.load_input(bytes(range(256)) * (net.input_bytes // 256) + bytes(net.input_bytes % 256))
        net.classify_input()
        if net.loss != "none":
            net.train_input(step % max(net.classes, 1) if net.loss == "softmax" else None)
    piece = memoryview(bytearray(64))
    for offset in range(0, net.state_bytes, 64):
        net.read_state(offset, piece)
    return net.state_crc()


def packages(library, count, seed):
    rng, kernels = random.Random(seed), tier(library)
    whole = [(data, sections(data)) for data in corpus()]
    outcome = collections.Counter()
    for _ in range(count):
        data = mutated(rng, *rng.choice(whole))
        try:
            use(Net(Package(data), kernels))
            outcome["ran"] += 1
        except PackageError as error:
            outcome["refused"] += 1
            assert "\n" not in str(error) and ": " in str(error), error
        except MemoryError:
            outcome["too large"] += 1
        except BaseException:
            Path(tempfile.gettempdir(), "trimtab-hostile.ttp").write_bytes(data)
            raise
    return outcome


def sections(data):
    words = np.frombuffer(data[8:HEAD], "<u4")[len(HEADER) :].tolist()
    return {name: words[3 * i : 3 * i + 2] for i, name in enumerate(SECTIONS)}


# -- states


def states(library, count, seed):
    rng, kernels = random.Random(seed), tier(library)
    outcome = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for n, data in enumerate(corpus()):
            path = f"{folder}/net{n}.ttp"
            saved = Net(Package(data), kernels, store.Store(path))
            if saved.choice:
                saved.choose([(rng.randbytes(saved.input_bytes), i % saved.classes) for i in range(4)])
            for step in range(3):
                saved.input_view[:] = rng.randbytes(saved.input_bytes)
                saved.train_input(step % saved.classes if saved.loss == "softmax" else None)
            saved.save()
            good = Path(path + ".s0").read_bytes()
            net = Net(Package(data), kernels, store.Store(path))
            for _ in range(count // len(corpus())):
                Path(path + ".s0").write_bytes(spoiled(rng, good))
                net.reset()
                found = store.Store(path).load(net.segments, net.package_crc)
                try:
                    net.follow()
                    outcome["ignored" if found is None else "loaded"] += 1
                except PackageError:
                    outcome["refused"] += 1
                    net.reset()
                for step in range(2):
                    net.input_view[:] = rng.randbytes(net.input_bytes)
                    net.train_input(step % net.classes if net.loss == "softmax" else None)
                net.classify_input()
    return outcome


def spoiled(rng, good):
    data = bytearray(good)
    head = store.HEADER_BYTES + store.CRC_BYTES
    what = rng.random()
    if what < 0.1:
        del data[rng.randrange(len(data)) :]
    elif what < 0.2:
        change(rng, data, 4 * rng.randrange(store.HEADER_BYTES // 4))
    elif what < 0.5:
        change(rng, data, rng.randrange(head, len(data) - 3))
    elif what < 0.9:
        for _ in range(rng.choice((1, 10, 100))):
            data[rng.randrange(head, len(data))] = rng.choice((0, 127, 128, 255, rng.randrange(256)))
    else:
        data[head:] = rng.choice(
            (rng.randbytes(len(data) - head), b"\xff" * (len(data) - head), b"\x80" * (len(data) - head))
        )
    if rng.random() < 0.95 and len(data) >= head:
        crc = crc32(data[head:], crc32(data[: store.HEADER_BYTES]))
        data[store.HEADER_BYTES : head] = crc.to_bytes(4, "little")
    return bytes(data)


# -- frames


def frames(library, count, seed):
    """Streams of a host's frames, mutated; the board may train only what was sent, in its order."""
    rng = random.Random(seed)
    net = FakeNet(100)
    accepted = []
    net.train_input = lambda label: accepted.append((bytes(net.input_view), label)) or 0
    board = Board(lambda: serve.describe(net), (net.input_view, serve.target(net)), 4096, 512)
    server = serve.Server(net, board)
    host = Host()
    host.hello(5)
    for event in board.receive(host.take()):
        server.answer(event)
    list(host.receive(board.take()))
    outcome = collections.Counter()
    for n in range(count):
        wanted = (random.Random(board.step).randbytes(100), board.step % 3)
        host.submit(TRAIN, board.step + 1, wanted[1], wanted[0])
        stream = host.take()
        if n % 7 == 0:  # a whole frame of another session; only a hello may come from there
            stream += encode(bytes([rng.choice(OTHERS), host.sid ^ 90]) + rng.randbytes(rng.randrange(60)))
        accepted.clear()
        for piece in torn(rng, stream):
            for event in board.receive(piece):
                server.answer(event)
        list(host.receive(spoil(rng, board.take())))
        host._reset()
        assert accepted in ([], [wanted]), (accepted, wanted)
        outcome["accepted" if accepted else "not heard"] += 1
        if board.state == "closed":
            raise AssertionError("a mutated stream ended the session")
    return outcome


def spoil(rng, stream):
    data = bytearray(stream)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 5))):
        at = rng.randrange(len(data) + 1)
        what = rng.randrange(6)
        if what == 0:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif what == 1:
            del data[at : at + rng.randrange(1, 9)]
        elif what == 2 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif what == 3 and at < len(data):
            data[at] = rng.choice((0, 1, 3, 255))
        elif what == 4:
            data[at:at] = data[: rng.randrange(len(data) + 1)]
        else:
            other = rng.randrange(len(data) + 1)
            data = data[other:] + data[:other]
    return bytes(data)


def torn(rng, stream):
    data = spoil(rng, stream)
    cut = rng.randrange(len(data) + 1)
    return data[:cut], data[cut:]


# -- running


def corpus():
    return [path.read_bytes() for path in sorted(Path(os.environ["TRIMTAB_FUZZ"]).glob("*.ttp"))]


def write_corpus(folder):
    """Networks that between them have every kernel of training and the usual ones of inference."""
    from models import Builder
    from trimtab_tools.compiler import compile as compiler

    b = Builder((5, 4, 2), seed=1)
    b.conv(4, (3, 3), (2, 2), act="relu6")
    skip = b.x
    b.depthwise(act="relu")
    b.conv(4, (1, 1))
    b.add(skip, b.x)
    b.mean()
    labels = ("a", "b", "c")
    made = [
        compiler.compile_graph(
            b.graph(), "full", labels=labels, residual=4, accumulate=2, kernels=simulated.best_tier()
        ),
        compiler.compile_graph(
            b.graph(),
            "tinytrain:3,budget=1,macs=1,ratio=1/2",
            labels=labels,
            residual=4,
            kernels=simulated.best_tier(),
        ),
    ]
    b = Builder((6, 6, 2), seed=2)
    b.conv(3, act="relu")
    b.pool("max_pool")
    b.unary("logistic")
    b.pool("avg_pool", (3, 3), (1, 1), "same")
    b.dense(4)
    made.append(
        compiler.compile_graph(b.graph(), "full", loss="mse", residual=0, kernels=simulated.best_tier())
    )
    for i, one in enumerate(made):
        (Path(folder) / f"{i}.ttp").write_bytes(one.data)


MODES = {"packages": packages, "states": states, "frames": frames}


def start(mode, count, seed=1):
    """Run a mode in a process of its own under the sanitizers; returns its JSON."""
    library = host_library(FLAGS)
    preload = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="trimtab-fuzz.") as folder:
        write_corpus(folder)
        env = {
            **os.environ,
            "LD_PRELOAD": preload,
            "PYTHONMALLOC": "malloc",
            "TRIMTAB_FUZZ": folder,
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        done = subprocess.run(
            [sys.executable, __file__, "--inside", mode, str(count), str(seed), str(library)],
            env=env,
            stdout=subprocess.PIPE,
            text=True,
        )
    if done.returncode:
        raise SystemExit(f"{mode}: the process ended with status {done.returncode}: its message stands above")
    return json.loads(done.stdout.splitlines()[-1])


def main(words):
    if words[:1] == ["--inside"]:
        mode, count, seed, library = words[1:]
        began = time.monotonic()
        outcome = MODES[mode](library, int(count), int(seed))
        print(
            json.dumps(
                {
                    "mode": mode,
                    "count": sum(outcome.values()),
                    **outcome,
                    "seconds": round(time.monotonic() - began),
                }
            )
        )
    else:
        print(json.dumps(start(words[0], int(words[1]), int(words[2]) if len(words) > 2 else 1)))


if __name__ == "__main__":
    main(sys.argv[1:])
