"""Train through a line that damages 1 % of all bytes and is cut: the state must be that of a clean run.

python benchmarks/link_damage.py --samples 20000 --cuts 100                 in memory, as fast as it can
python benchmarks/link_damage.py --samples 500 --resets 10 --board pico     the emulated Pico, in real time
"""

import argparse
import json
import random
import sys
import tempfile
import time

import paths  # noqa: F401  # makes tests/support importable
import pytest
from lines import Damaged, World, damage, noise, tiny
from trimtab.store import Store
from trimtab_tools.boards import simulated
from trimtab_tools.boards.files import library_files
from trimtab_tools.boards.pico import Pico
from trimtab_tools.errors import LinkError
from trimtab_tools.link.client import Client
from trimtab_tools.link.transport import Serial
from trimtab_tools.toolchain.boards import provide

# the first line keeps bytes of a host that streams on from stopping the rest
MAIN = b"import micropython\nmicropython.kbd_intr(-1)\nimport trimtab.serve\ntrimtab.serve.main('net.ttp')\n"


def undisturbed(package, samples, source):
    net = simulated.load(package)
    net.begin(samples)
    for i in range(samples):
        net.input_view[:] = source(i).data
        net.train_input(source(i).label)
    return net.state_crc()


def moments(rng, samples, count):
    return set(rng.sample(range(1, samples), count))


def stream(client, source, samples, save_every, at):
    """Train; at(step) may disturb. Returns how many results were told and how many of them had a value."""
    told = valued = 0
    for result in client.train(source, samples, save_every=save_every):
        told += 1
        valued += result.value is not None
        if result.seq != told:
            raise AssertionError(f"step {result.seq} was told as number {told}")
        at(result.seq)
    return told, valued


def in_memory(package, samples, cuts, resets, rate, seed):
    rng = random.Random(seed)
    source = noise(simulated.load(package).input_bytes)
    cut, reset = moments(rng, samples, cuts), moments(rng, samples, resets)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = f"{folder}/net.ttp"
        world = World(lambda: simulated.load(package, store=Store(path)), damage(rng, rate)).clock(patch)
        with Client(world.open) as client:
            told, valued = stream(
                client,
                source,
                samples,
                50,
                lambda step: (step in cut and world.cut(), step in reset and world.reset()),
            )
            state = client.state_crc()
        return {
            "told": told,
            "valued": valued,
            "resets": client.resets,
            "board_seconds": world.now // 1000,
            "state": state,
            "same": state == undisturbed(package, samples, source),
        }


def on_pico(package, samples, cuts, resets, rate, seed):
    rng = random.Random(seed)
    source = noise(simulated.load(package).input_bytes)
    cut, reset = moments(rng, samples, cuts), moments(rng, samples, resets)
    provide("pico")
    files = {**library_files("armv6m"), "/net.ttp": package, "/main.py": MAIN}
    with Pico(files=files, wait=False) as pico:
        client = Client(lambda: Damaged(Serial(pico.url), rng, rate), patience_ms=6000)

        def disturb(step):
            if step in cut:
                client.line.close()
            if step in reset:
                pico.reset(wait=False)

        for _ in range(10):
            try:
                client.connect()
                break
            except LinkError:
                time.sleep(1)
        told, valued = stream(client, source, samples, 20, disturb)
        state = client.state_crc()
        client.close()
    return {
        "told": told,
        "valued": valued,
        "resets": client.resets,
        "state": state,
        "same": state == undisturbed(package, samples, source),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20000)
    parser.add_argument("--cuts", type=int, default=0)
    parser.add_argument("--resets", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--board", choices=("memory", "pico"), default="memory")
    args = parser.parse_args()
    run = {"memory": in_memory, "pico": on_pico}[args.board]
    start = time.monotonic()
    result = run(tiny(), args.samples, args.cuts, args.resets, args.rate, args.seed)
    print(json.dumps({**vars(args), **result, "seconds": round(time.monotonic() - start, 1)}))
    return 0 if result["same"] and result["told"] == args.samples else 1


if __name__ == "__main__":
    sys.exit(main())
