"""Accuracy of every policy on real data, in `sim`.

    python benchmarks/accuracy.py [--workers N] [--seeds N] [--again | --draw]

MCUNet trains on CIFAR-10 (2000 training and 2000 test pictures) and on flowers5 (1300 and 450). The results
go to benchmarks/results/accuracy.json; docs/accuracy.svg and the tables of docs/results.md are drawn from
there. What has been run stays run, so the script can be stopped at any time and goes on. --again runs the
trials of that file once more; --draw only draws.
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import paths
import tables
from trimtab_tools.boards.progress import bar as progress_bar
from trimtab_tools.formats import read_checkpoint
from trimtab_tools.lab import runners
from trimtab_tools.lab.experiment import Prepared
from trimtab_tools.lab.trial import Trial

RESULTS = paths.RESULTS / "accuracy.json"
SEARCHED = paths.RESULTS / "search.json"  # what searched.py found
PAGE, PICTURE = paths.RESULTS_PAGE, paths.ROOT / "docs" / "accuracy.svg"
PUBLISHED = "sparse:mcunet-99kb"
OURS = tuple(f"sparse:{json.loads(f.read_text())['scheme']}" for f in (SEARCHED,) if f.exists())
SETS = {"cifar10": 2000, "flowers5": 450}  # and how many pictures test

FIRST = (
    Path("benchmarks") / "results" / "modules.npz"
)  # what pretrained.py made, from the root of the checkout
MODULES = (  # what trains, policy; on CIFAR-10, rate 2e-3, 5 epochs
    ("modules", "tinytl:6,nobias"),
    ("modules and biases", "tinytl:6"),
    *(
        ("modules, trained on flowers5 first", f"tinytl:6,nobias,from={f}")
        for f in (FIRST,)
        if (paths.ROOT / f).exists()
    ),
)

ACCEPTANCE = (  # data, policy, epochs, floor, expected
    ("cifar10", "sparse:mcunet-99kb", 5, 75.0, 76.5),
    ("cifar10", "sparse:mcunet-49kb", 5, 72.5, 74.3),
    ("flowers5", "sparse:mcunet-99kb", 8, 87.3, 89.8),
)
POLICIES = (  # what it is called, policy, rate, epochs; all on CIFAR-10
    ("last", "last", 2e-3, 8),
    *((f"bias, last {k}", f"bias:{k}", 2e-3, 5) for k in (6, 22)),
    ("bias, all", "bias", 2e-3, 5),
    *((f"last-k, {k}", f"last:{k}", 1e-3, 5) for k in (2, 3, 6)),
    *((f"sparse, {kb} KB", f"sparse:mcunet-{kb}kb", 1e-3, 5) for kb in (49, 74, 99)),
    *(("sparse, searched", policy, 1e-3, 5) for policy in OURS),
    *(
        (f"modules, {name}", policy, 2e-3, 5)
        for name, policy in (("6", MODULES[0][1]), ("biases", MODULES[1][1]))
    ),
    ("full", "full", 1e-3, 5),
)
TWINS = (  # data, policy, rate, epochs, arithmetic
    *((data, policy, 1e-3, epochs, "qas") for data, policy, epochs, _, _ in ACCEPTANCE),
    ("cifar10", "sparse:mcunet-99kb", 1e-3, 5, "plain"),
    *(("cifar10", policy, 2e-3, 5, "qas") for _, policy in MODULES[:2]),
)


def trials(seeds):
    """[(data, Trial)] in the order of their worth."""
    wanted = []
    for seed in range(seeds):
        wanted += [(data, Trial(policy, 1e-3, epochs, seed)) for data, policy, epochs, _, _ in ACCEPTANCE]
        wanted += [
            (data, Trial(policy, rate, epochs, seed, twin=twin)) for data, policy, rate, epochs, twin in TWINS
        ]
        wanted += [("cifar10", Trial(policy, rate, epochs, seed)) for _, policy, rate, epochs in POLICIES]
        wanted += [("cifar10", Trial(policy, 2e-3, 5, seed)) for _, policy in MODULES]
    return list(dict.fromkeys(wanted))


def run(wanted, workers, again=False):
    """Run what is missing; the cache keeps each result as soon as it is there."""
    import datasets

    os.chdir(paths.ROOT)  # where policies look for files
    graph = read_checkpoint.read(str(paths.MCUNET))
    done = {} if again else read()
    for data in SETS:
        missing = [trial for d, trial in wanted if d == data and (d, trial) not in done]
        if not missing:
            continue
        with progress_bar() as bar:
            task = bar.add_task(f"{data}: frozen layers", total=None, speed="")
            prepared = Prepared(
                graph, getattr(datasets, data)(), progress=lambda i, n: bar.update(task, completed=i, total=n)
            )
            task = bar.add_task(f"{data}: trials", total=None, speed="")
            results = runners.local(
                prepared, missing, workers, lambda i, n: bar.update(task, completed=i, total=n)
            )
        done.update({(data, trial): result for trial, result in results.items()})
        write(done)


def read():
    """{(data, Trial): result}"""
    if not RESULTS.exists():
        return {}
    fields = asdict(Trial(""))
    rows = json.loads(RESULTS.read_text())
    return {(row["data"], Trial(**{key: row[key] for key in fields})): row for row in rows}


def write(done):
    RESULTS.parent.mkdir(exist_ok=True)
    rows = [json.dumps({"data": data, **result}) for (data, _), result in sorted(done.items(), key=repr)]
    RESULTS.write_text("[\n" + ",\n".join(rows) + "\n]\n")


# -- tables --------------------------------------------------------------------------------------------------


class Results:
    def __init__(self, done):
        self.done = done

    def of(self, data, policy, rate, epochs, twin=""):
        """Results of all seeds, in order."""
        same = [
            (t.seed, r)
            for (d, t), r in self.done.items()
            if (d, t.policy, t.rate, t.epochs, t.twin) == (data, policy, rate, epochs, twin)
        ]
        return [result for _, result in sorted(same, key=lambda pair: pair[0])]


def tests(results):
    return [r["test"] for r in results]


def said(values, n):
    """Mean, standard error by n test pictures, and each seed's value."""
    if not values:
        return "not run"
    p = np.mean(values) / 100
    error = 100 * (p * (1 - p) / n) ** 0.5
    return f"**{100 * p:.1f}** ± {error:.1f} ({' / '.join(f'{v:.1f}' for v in values)})"


def acceptance(results):
    yield "data", "scheme", "in integers", "float twin", "difference", "floor", "expected"
    for data, policy, epochs, floor, expected in ACCEPTANCE:
        whole, real = (results.of(data, policy, 1e-3, epochs, twin) for twin in ("", "qas"))
        columns = (said(tests(found), SETS[data]) for found in (whole, real))
        yield data, policy.split(":")[1], *columns, difference(whole, real), floor, expected


def difference(whole, real):
    """Mean over the seeds that both were run with."""
    twins = {r["seed"]: r["test"] for r in real}
    gaps = [r["test"] - twins[r["seed"]] for r in whole if r["seed"] in twins]
    return f"{np.mean(gaps):+.1f}" if gaps else "not run"


def scaling(results):
    yield "gradients of weights and biases", "test", "training pictures"
    for name, twin in (("scaled (QAS)", "qas"), ("as they are", "plain")):
        found = results.of("cifar10", "sparse:mcunet-99kb", 1e-3, 5, twin)
        yield (
            name,
            said(tests(found), SETS["cifar10"]),
            f"{np.mean([r['train'] for r in found]):.1f}" if found else "not run",
        )


def modules(results):
    yield "what trains", "in integers", "float twin", "difference", "training pictures", "state, bytes"
    for name, policy in (("head", "last"), ("biases", "bias:22"), *MODULES):
        epochs = 8 if policy == "last" else 5
        whole, real = (results.of("cifar10", policy, 2e-3, epochs, twin) for twin in ("", "qas"))
        yield (
            name,
            *(said(tests(found), SETS["cifar10"]) for found in (whole, real)),
            difference(whole, real),
            f"{np.mean([r['train'] for r in whole]):.1f}" if whole else "",
            whole[0]["state_bytes"] if whole else "",
        )


def searched(results):
    """The error is that of the difference of two shares of the same size, as if the test pictures were not
    the same.
    """
    yield "scheme", "extra memory, KB", "test", "against the published one"
    first = results.of("cifar10", PUBLISHED, 1e-3, 5)
    for policy in (PUBLISHED, *OURS):
        found = results.of("cifar10", policy, 1e-3, 5)
        if not found:
            yield policy, "", "not run", ""
            continue
        p = np.mean(tests(found)) / 100
        error = 100 * (2 * p * (1 - p) / SETS["cifar10"]) ** 0.5
        gap = np.mean(tests(found)) - np.mean(tests(first))
        yield (
            policy.split(":", 1)[1],
            f"{found[0]['analytic_kb']['mcunetv3']:.1f}",
            said(tests(found), SETS["cifar10"]),
            f"{gap:+.1f} ± {error:.1f}" if policy != PUBLISHED else "",
        )


def policies(results):
    yield "policy", "extra memory, KB", "arena, bytes", "state, bytes", "multiplications of a step", "test"
    for name, policy, rate, epochs in POLICIES:
        found = results.of("cifar10", policy, rate, epochs)
        if not found:
            yield name, "", "", "", "", "not run"
            continue
        r = found[0]
        yield (
            name,
            f"{r['analytic_kb']['mcunetv3']:.1f}",
            r["arena_bytes"],
            r["state_bytes"],
            f"{sum(r['macs'].values()) / 1e6:.1f} M",
            said(tests(found), SETS["cifar10"]),
        )


TABLES = {
    "acceptance": acceptance,
    "scaling": scaling,
    "modules": modules,
    "policies": policies,
    "searched": searched,
}


def page(done, text):
    """The page with its tables drawn anew."""
    return tables.redrawn(text, {name: rows(Results(done)) for name, rows in TABLES.items()})


def draw(done):
    PAGE.write_text(page(done, PAGE.read_text()))
    PICTURE.write_text(picture(Results(done)))


# -- the picture ---------------------------------------------------------------------------------------------

FAMILIES = {
    "last": "#666666",
    "bias": "#2a7ab8",
    "last-k": "#c77700",
    "sparse": "#2f8f4e",
    "full": "#a33b3b",
    "modules": "#7a4fa3",
}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 400, 60, 20, 20, 50


def points(results):
    """[(family, name, KB, accuracy)]; the head alone needs hardly any and stands at the left end."""
    found = []
    for name, policy, rate, epochs in POLICIES:
        rows = results.of("cifar10", policy, rate, epochs)
        if rows:
            found.append(
                (
                    name.split(",")[0],
                    name,
                    max(8, rows[0]["analytic_kb"]["mcunetv3"]),
                    float(np.mean(tests(rows))),
                )
            )
    return found


def free_place(taken, x, top, bottom, words):
    """Where words touch no others: above the bar, below it, or further off; taken grows."""
    half = 3.4 * len(words)
    for step in range(8):
        at = top - 5 - 14 * (step // 2) if step % 2 == 0 else bottom + 13 + 14 * (step // 2)
        if all(abs(at - other) >= 13 or x + half < left or right < x - half for other, left, right in taken):
            break
    taken.append((at, x - half, x + half))
    return x, at


def picture(results):
    """Accuracy over extra memory, a logarithmic axis; bars are one standard error of the test pictures."""
    found = points(results)
    low = 5 * int(min((p[3] for p in found), default=60) // 5)
    high = 5 * int(max((p[3] for p in found), default=80) // 5 + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    ]

    def x(kb):
        return LEFT + (np.log2(kb) - 3) / (np.log2(2048) - 3) * (WIDTH - LEFT - RIGHT)

    def y(accuracy):
        return HEIGHT - BOTTOM - (accuracy - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def text(at_x, at_y, words, anchor="middle", color="#333333"):
        parts.append(
            f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}" fill="{color}">{words}</text>'
        )

    def line(x1, y1, x2, y2, color="#dddddd", width=1):
        parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
            f'stroke-width="{width}"/>'
        )

    for kb in (8, 16, 32, 64, 128, 256, 512, 1024, 2048):
        line(x(kb), TOP, x(kb), HEIGHT - BOTTOM)
        text(x(kb), HEIGHT - BOTTOM + 16, kb)
    for accuracy in range(low, high + 1, 5):
        line(LEFT, y(accuracy), WIDTH - RIGHT, y(accuracy))
        text(LEFT - 8, y(accuracy) + 4, f"{accuracy} %", "end")
    text(
        (LEFT + WIDTH - RIGHT) / 2,
        HEIGHT - 12,
        "extra memory, KB (masks, kept inputs, trained weights and biases)",
    )
    for family, color in FAMILIES.items():
        mine = sorted(p[2:] for p in found if p[0] == family)
        for (kb, accuracy), (kb2, accuracy2) in zip(mine, mine[1:]):
            line(x(kb), y(accuracy), x(kb2), y(accuracy2), color, 2)
    taken = []
    for family, name, kb, accuracy in found:
        error = (accuracy * (100 - accuracy) / SETS["cifar10"]) ** 0.5
        line(x(kb), y(accuracy - error), x(kb), y(accuracy + error), FAMILIES[family])
        parts.append(f'<circle cx="{x(kb):.1f}" cy="{y(accuracy):.1f}" r="4" fill="{FAMILIES[family]}"/>')
        text(
            *free_place(taken, x(kb), y(accuracy + error), y(accuracy - error), name),
            name,
            color=FAMILIES[family],
        )
    return "\n".join((*parts, "</svg>", ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="trials at a time (default 2)")
    parser.add_argument("--seeds", type=int, default=2, help="of each trial (default 2)")
    parser.add_argument("--again", action="store_true", help="run everything again")
    parser.add_argument("--draw", action="store_true", help="only draw what is there")
    args = parser.parse_args()
    if not args.draw:
        run(trials(args.seeds), args.workers, args.again)
    draw(read())


if __name__ == "__main__":
    main()
