"""Train, evaluate and save for long: the board's heap must not grow and no message may be lost.

python benchmarks/link_endurance.py --board unix --steps 100000
python benchmarks/link_endurance.py --board pico --steps 5000
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import paths  # noqa: F401  # makes tests/support importable
from lines import noise, tiny
from trimtab_tools.boards.connect import attach

NOISE = 64  # bytes that a collector which reads the stack keeps by chance
CHUNK = 250  # steps of one run; after it the board evaluates, saves and tells its heap


def endure(board, steps, save_every=50, kernels="c"):
    """Returns the heap in use after each run, and how much was done."""
    heaps, done, asked, saves = [], 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "net.ttp"
        package.write_bytes(tiny())
        with attach(board, package, kernels) as client:
            source = noise(client.info["input_bytes"])
            while done < steps:
                count = min(CHUNK, steps - done)
                results = list(client.train(lambda i: source(done + i), count, save_every=save_every))
                assert [r.seq for r in results] == list(range(1, count + 1))
                assert all(r.value is not None for r in results)
                client.summary(clear=True)
                asked += len(list(client.evaluate(source, 20)))
                assert client.summary()[0] == 20
                assert client.save() == count
                done, saves = done + count, saves + 1 + -(-count // save_every)
                heaps.append(client.refresh()["heap_used"])
            losses = client.host.losses
    return {"steps": done, "evaluated": asked, "saves": saves, "resent": losses, "heaps": heaps}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--board", default="unix")
    parser.add_argument("--steps", type=int, default=100000)
    args = parser.parse_args()
    start = time.monotonic()
    result = endure(args.board, args.steps)
    heaps = result.pop("heaps")
    middle = len(heaps) // 2
    growth = median(heaps[middle:]) - median(heaps[:middle] or heaps)
    seconds = time.monotonic() - start
    print(
        json.dumps(
            {
                "board": args.board,
                **result,
                "heap_used": [min(heaps), max(heaps)],
                "heap_growth": growth,
                "steps_per_second": round(result["steps"] / seconds, 1),
                "seconds": round(seconds, 1),
            }
        )
    )
    return 0 if growth <= NOISE else 1


if __name__ == "__main__":
    sys.exit(main())
