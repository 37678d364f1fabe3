"""Estimated cycles of a training step beside measured ones, for every network of suite.py.

    python benchmarks/estimates.py

Writes benchmarks/results/estimates.json and the table of docs/costs.md. Run it after calibrate.py.
"""

import json

import paths
import records
import suite
import tables
from trimtab_tools.boards import bare
from trimtab_tools.compiler import cost

PAGE = paths.ROOT / "docs" / "costs.md"
RESULTS = paths.RESULTS / "estimates.json"


def measured(made):
    """Cycles of a step that learns: records alone, one after the other, on the emulated core."""
    run, _ = records.network(made, records.STEP)
    (done,) = bare.run([run], skew=0)
    return sum(done.cycles)


def rows():
    for name, network in suite.NETWORKS.items():
        for plan, (policy, _) in enumerate(network.plans):
            made = suite.compiled(name, plan)
            estimate = cost.estimated_cycles(made.program)["pico"]
            row = dict(network=name, policy=policy, estimated=estimate, measured=measured(made))
            print(row, flush=True)
            yield row


def table(done):
    yield "network", "policy", "measured, million cycles", "estimated", "off by"
    for row in done:
        off = row["estimated"] / row["measured"] - 1
        million = (f"{row[key] / 1e6:.2f}" for key in ("measured", "estimated"))
        yield row["network"], f"`{row['policy']}`", *million, f"{100 * off:+.1f} %"


def page(done, text):
    """The page with its table drawn anew."""
    return tables.redrawn(text, {"estimates": table(done)})


def main():
    done = list(rows())
    RESULTS.write_text("[\n" + ",\n".join(map(json.dumps, done)) + "\n]\n")
    PAGE.write_text(page(done, PAGE.read_text()))


if __name__ == "__main__":
    main()
