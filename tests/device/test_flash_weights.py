"""Packages in a ROMFS are used where they lie: nothing of what is frozen costs a board RAM."""

import json
import subprocess
import sys
import time

import pytest
from helpers import TIERS, assets, compiled, provide, tier
from models import Builder
from sampled import others_slow
from talk import tell
from trimtab.package import PackageError
from trimtab_tools.boards import simulated
from trimtab_tools.boards.pico import Pico
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.formats import read_checkpoint
from trimtab_tools.toolchain import romfs

PERIOD = 997
STORY = f"""
import gc, json, trimtab
net = trimtab.load({{path!r}})
places = [type(m).__name__ for m in net.mem[:5]]
net.begin(9)
losses = []
for i in range({{steps}}):
    net.repeat_input(bytes([(k * 7 + i * 31 + (k * k >> 3)) & 255 for k in range({PERIOD})]))
    losses.append(net.train_input(i % net.classes))
gc.collect()
print(json.dumps([losses, net.state_crc(), len(net.arena), len(net.state), gc.mem_free(), places]))
"""


def on_board(board, path, steps):
    return json.loads(tell(board, STORY.format(path=path, steps=steps)).splitlines()[-1])


def in_sim(data, steps):
    net = simulated.load(data)
    net.begin(9)
    losses = []
    for i in range(steps):
        net.repeat_input(bytes([(k * 7 + i * 31 + (k * k >> 3)) & 255 for k in range(PERIOD)]))
        losses.append(net.train_input(i % net.classes))
    return losses, net.state_crc()


# -- images --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(8))
def test_every_file_of_an_image_is_aligned(length):
    files = {"a" * (length + 1): bytes([1]) * length, "net.ttp": b"package", "z": b"\xa5" * 300}
    image = romfs.image(files)
    for data in list(files.values())[1:]:
        assert image.index(data) % romfs.ALIGN == 0


def small_network():
    b = Builder((8, 8, 2), seed=7)
    b.conv(6, act="relu6")
    b.depthwise(act="relu6")
    b.conv(4, (1, 1), act="relu")
    b.mean()
    return b.graph()


@pytest.mark.pico
def test_flash_is_used_in_place_and_copied_only_where_it_must(tmp_path):
    """Our image is aligned. MicroPython's is not always: then tables and records are copied, weights not."""
    provide("pico")
    data = compiled(small_network(), "bias").data
    want = in_sim(data, 4)
    image = romfs.image({"readme.txt": b"hello", "net.ttp": data})
    with Pico("trimtab", romfs=image) as board:
        assert tell(board, "print(open('/rom/readme.txt').read())") == "hello"
        *seen, arena, state, _, places = on_board(board, "/rom/net.ttp", 4)
        assert tuple(seen) == want
        assert places == ["bytearray", "bytearray", "memoryview", "memoryview", "memoryview"]
        tell(board, "import trimtab; net = trimtab.load('/rom/net.ttp'); net.train_input(1); net.save()")
        assert tell(board, "import trimtab; print(trimtab.load('/rom/net.ttp').step)") == "1"
    images = [mpremote_image(tmp_path / str(filler), filler, data) for filler in range(4)]
    assert {image.index(data) % 4 for image in images} == {0, 2}
    with Pico("trimtab", romfs=next(i for i in images if i.index(data) % 4)) as board:
        *seen, arena, state, _, places = on_board(board, "/rom/net.ttp", 4)
    assert tuple(seen) == want
    assert places == ["bytearray", "bytearray", "bytearray", "bytearray", "memoryview"]


def mpremote_image(folder, filler, data):
    """As `mpremote romfs build` makes it; the package moves by the filler's bytes."""
    folder.mkdir()
    (folder / "a").write_bytes(bytes(filler))
    (folder / "net.ttp").write_bytes(data)
    image = folder.with_suffix(".romfs")
    subprocess.run(
        [sys.executable, "-m", "mpremote", "romfs", "-o", image, "build", folder],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return image.read_bytes()


# -- the published networks ----------------------------------------------------------------------------------


@pytest.mark.pico
@pytest.mark.parametrize(
    "name, policy",
    others_slow(
        [
            ("mcunet-5fps", "sparse:mcunet-49kb"),
            ("mcunet-5fps", "bias:22"),
            ("mbv2-w0.35", "sparse:mbv2-49kb"),
            ("proxyless-w0.3", "sparse:proxyless-49kb"),
        ],
        ("mcunet-5fps", "sparse:mcunet-49kb"),
    ),
)
def test_published_networks_train_on_a_pico(name, policy):
    graph = read_checkpoint.read(str(assets() / "tiny_training" / f"{name}.npz"))
    start = time.process_time()
    made = compiler.compile_graph(graph, policy, classes=10, kernels=simulated.best_tier())
    assert time.process_time() - start < 20
    provide("pico")
    with Pico("trimtab", romfs=romfs.image({"net.ttp": made.data})) as board:
        *seen, arena, state, free, places = on_board(board, "/rom/net.ttp", 3)
    assert tuple(seen) == in_sim(made.data, 3)
    assert (arena, state) == (made.placement.size, made.program_state_bytes)
    assert places[2:] == ["memoryview"] * 3
    assert free > 16 * 1024


# -- streamed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernels", TIERS)
def test_streamed_weights_are_the_same_weights(kernels, tmp_path, monkeypatch):
    """A package in a file whose weights do not fit: each record reads its own into one window."""
    data = compiled(small_network(), "bias").data
    path = tmp_path / "net.ttp"
    path.write_bytes(data)
    whole = simulated.load(data, tier(kernels))
    monkeypatch.setattr("trimtab.engine.weights_in_memory", lambda package: None)
    streamed = simulated.load(str(path), tier(kernels))
    for net in (whole, streamed):
        net.begin(9)
    for i in range(5):
        sample = bytes([(k * 7 + i * 31) & 255 for k in range(PERIOD)])
        for net in (whole, streamed):
            net.repeat_input(sample)
        assert whole.train_input(i % 4) == streamed.train_input(i % 4)
    assert whole.state_crc() == streamed.state_crc()
    damaged = bytearray(data)
    at, size, _ = streamed.package.span("weights")
    damaged[at + size // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(PackageError, match="section weights of the package is damaged"):
        simulated.load(str(path), tier(kernels))


def wide_network():
    """270 KB of weights, at most 48 KB in a layer."""
    b = Builder((8, 8, 8), seed=3)
    for channels in (128, 192, 256, 192, 256, 192, 256):
        b.conv(channels, (1, 1), (2, 2) if channels == 128 else (1, 1), act="relu6")
    b.mean()
    return b.graph()


@pytest.mark.pico
def test_a_board_streams_what_does_not_fit():
    provide("pico")
    data = compiled(wide_network(), "bias").data
    with Pico("trimtab", files={"/net.ttp": data}) as board:
        *seen, arena, state, free, places = on_board(board, "/net.ttp", 4)
    assert tuple(seen) == in_sim(data, 4)
    assert free > 16 * 1024 and simulated.load(data).package.bytes_of("weights") > 260_000
    assert places[4] == "bytearray"
