"""Few-shot tasks in `sim`: what choosing layers and channels for each task gains, at equal memory.

    python benchmarks/fewshot.py [--tasks N] [--draw]

The networks of fewshot_nets.py, with and without meta-training, get tasks: characters of alphabets that
they have not seen, and clothes. Every method makes prototypes from the same samples and is asked the same
pictures. The results go to benchmarks/results/fewshot.json; a section of docs/results.md is drawn from
there. What has been run stays run; --draw only draws.
"""

import argparse
import contextlib
import functools
import io
import json
import tempfile
import time

import numpy as np
import paths
import tables

RESULTS, PAGE = paths.RESULTS / "fewshot.json", paths.RESULTS_PAGE

NETS = {"ordinary": "without meta-training", "meta": "with meta-training"}
TASKS = (("clothes", 5, 5), ("characters", 10, 1))  # pictures, ways, shots
QUERIES = 15  # of each class, or as many as there are
FIRST = 100  # number of the first task: those below served to try the benchmark itself
EPOCHS, LAYERS, RATIO, SHARE = 10, None, 1 / 4, 0.5
METHODS = {  # what it is called, and its rate, by tasks of handwritten digits
    "none": ("prototypes only", 0),
    "last": ("last layer", 0.2),
    "fixed": ("fixed sparse scheme", 5e-2),
    "random": ("chosen layers, random channels", 5e-2),
    "tinytrain": ("chosen layers and channels", 5e-2),
    "full": ("all layers", 1e-2),
}


# -- tasks ---------------------------------------------------------------------------------------------------


@functools.cache
def pool(name):
    """(pictures, class of each, groups of classes that tasks draw from)"""
    import fewshot_nets

    if name == "characters":
        x, y, alphabet = fewshot_nets.omniglot()
        return x, y, [np.unique(y[alphabet == a]) for a in range(fewshot_nets.TRAINED, 8)]
    file = {"clothes": "fashion_mnist", "digits": "mnist"}[name]
    with np.load(paths.ASSETS / "images" / f"{file}_5000_1500.npz") as data:
        x, y = (np.concatenate([data[f"{kind}_{part}"] for part in ("train", "test")]) for kind in "Xy")
    return x[..., None], y.astype(np.int64), [np.arange(10)]


def task(name, ways, shots, seed):
    """(support, query): lists of (pixels, class); each class's samples come in turn with the others'."""
    rng = np.random.default_rng([seed, ways, shots])
    x, y, groups = pool(name)
    groups = [g for g in groups if len(g) >= ways]
    support, query = [], []
    for k, c in enumerate(rng.permutation(groups[rng.integers(len(groups))])[:ways]):
        at = rng.permutation(np.flatnonzero(y == c))[: shots + QUERIES]
        support += [(x[i].tobytes(), k) for i in at[:shots]]
        query += [(x[i].tobytes(), k) for i in at[shots:]]
    return [support[i] for i in rng.permutation(len(support))], query


# -- methods -------------------------------------------------------------------------------------------------


class Methods:
    """One network's ways to train; the memory of all sparse ones is that of the last layer."""

    def __init__(self, net):
        import fewshot_nets
        from trimtab_tools.policies import head, plan

        self.graph = fewshot_nets.network(fewshot_nets.Recipe(net))
        self.trunk, _ = head.cut_head(self.graph, 2)
        self.layers = [op.name for op in plan.layers(self.trunk)]
        self.budget = self.cost([{"layer": self.layers[-1], "weight_channels": 1.0}])[0]

    def cost(self, updates):
        """(bytes of what is trained and kept for it, share of a full backward pass)"""
        from trimtab import fisher
        from trimtab_tools.policies.tinytrain import most_macs, table

        if not updates:
            return 0, 0.0
        rows = [c.row for c in table(self.trunk, self.layers, 1.0)]
        for u in updates:
            i = self.layers.index(u["layer"])
            part = u["weight_channels"]
            part = len(part) / self.channels(i) if isinstance(part, list) else part
            rows[i] = table(self.trunk, [u["layer"]], part)[0].row
        *sizes, macs = fisher.cost(rows, [self.layers.index(u["layer"]) for u in updates])
        return sum(sizes), round(macs / most_macs(self.trunk, 1), 4)

    def channels(self, i):
        op = next(op for op in self.trunk.ops if op.name == self.layers[i])
        return self.trunk[op.inputs[1]].shape[-1]

    @functools.lru_cache(1)  # for random channels and for the best ones
    def chosen(self, name, ways, shots, seed):
        from trimtab_tools.lab import tinytrain

        support, _ = task(name, ways, shots, seed)
        found = tinytrain.choice(
            self.graph,
            support,
            self.budget,
            SHARE,
            RATIO,
            LAYERS,
            classes=ways,
            head="prototype",
            pixels=(0, 1),
        )
        return found["updates"]

    @functools.cached_property
    def scheme(self):
        """Layers that a task of digits chooses, channels by magnitude: the same for every task."""
        return [{"layer": u["layer"], "weight_channels": RATIO} for u in self.chosen("digits", 10, 5, 0)]

    def updates(self, method, name, ways, shots, seed):
        if method == "none":
            return []
        if method == "last":
            return [{"layer": self.layers[-1], "weight_channels": 1.0}]
        if method == "full":
            return [{"layer": name, "weight_channels": 1.0} for name in self.layers]
        if method == "fixed":
            return self.scheme
        rows = [
            {"layer": u["layer"], "weight_channels": u["weight_channels"]}
            for u in self.chosen(name, ways, shots, seed)
        ]
        if method == "random":
            rng = np.random.default_rng(seed)
            for u in rows:
                n = self.channels(self.layers.index(u["layer"]))
                u["weight_channels"] = sorted(rng.permutation(n)[: len(u["weight_channels"])].tolist())
        return rows

    def run(self, method, rate, name, ways, shots, seed):
        """The result of one method on one task."""
        from trimtab_tools.boards import simulated
        from trimtab_tools.compiler import compile as compiler
        from trimtab_tools.lab import batch

        support, query = task(name, ways, shots, seed)
        updates = self.updates(method, name, ways, shots, seed)
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"updates": updates}, file)
            file.flush()
            made = compiler.compile_graph(
                self.graph,
                f"plan:{file.name}",
                classes=ways,
                head="prototype",
                rate=rate or None,
                pixels=(0, 1),
                kernels=simulated.best_tier(),
            )
        net = simulated.load(made.data)
        net.enroll(support)
        if updates:
            with contextlib.redirect_stdout(io.StringIO()):
                net.fit_few(support, EPOCHS)
        size, share = self.cost(updates)
        return {
            "accuracy": round(100 * batch.evaluate(net, query), 2),
            "bytes": size,
            "share": share,
            "arena": made.placement.size,
            "state": made.program_state_bytes,
            "state_crc": net.state_crc(),
            "layers": {u["layer"]: u["weight_channels"] for u in updates} if method != "full" else "all",
        }


# -- running -------------------------------------------------------------------------------------------------

KEYS = ("task", "ways", "shots", "net", "method", "seed")


def read():
    """{(task, ways, shots, net, method, seed): result}"""
    if not RESULTS.exists():
        return {}
    return {tuple(row[k] for k in KEYS): row for row in json.loads(RESULTS.read_text())}


def write(done):
    RESULTS.parent.mkdir(exist_ok=True)
    rows = [json.dumps({**dict(zip(KEYS, key)), **row}) for key, row in sorted(done.items())]
    RESULTS.write_text("[\n" + ",\n".join(rows) + "\n]\n")


def run(tasks):
    done, methods = read(), functools.cache(Methods)
    wanted = [
        (*t, net, m, seed)
        for seed in range(FIRST, FIRST + tasks)
        for t in TASKS
        for net in NETS
        for m in METHODS
    ]
    for key in wanted:
        if key not in done:
            *t, net, method, seed = key
            started = time.monotonic()
            done[key] = methods(net).run(method, METHODS[method][1], *t, seed)
            print(*key, done[key]["accuracy"], f"{time.monotonic() - started:.1f} s", flush=True)
            write(done)


# -- tables --------------------------------------------------------------------------------------------------


def said(values):
    """Mean and its standard error over the tasks."""
    if len(values) < 2:
        return "not run"
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1) / len(values) ** 0.5:.1f}"


def of(done, t, net, method):
    """{seed: result}"""
    return {key[-1]: row for key, row in done.items() if key[:-1] == (*t, net, method)}


def accuracies(done):
    yield "tasks", "method", "bytes", "backward", *NETS.values()
    for t in TASKS:
        for method, (name, _) in METHODS.items():
            found = {net: of(done, t, net, method) for net in NETS}
            rows = [row for each in found.values() for row in each.values()]
            size, share = ([row[k] for row in rows] for k in ("bytes", "share"))
            yield (
                "%s, %d ways, %d shots" % t,
                name,
                f"{np.mean(size):.0f}" if rows else "",
                f"{100 * np.mean(share):.0f} %" if rows else "",
                *(said([row["accuracy"] for row in each.values()]) for each in found.values()),
            )


def differences(done):
    yield "chosen layers and channels against", "tasks", *NETS.values()
    for method, (name, _) in METHODS.items():
        for t in TASKS if method != "tinytrain" else ():
            cells = []
            for net in NETS:
                a, b = of(done, t, net, "tinytrain"), of(done, t, net, method)
                cells.append(said([a[s]["accuracy"] - b[s]["accuracy"] for s in a.keys() & b.keys()]))
            yield name, "%s, %d ways, %d shots" % t, *cells


TABLES = {"fewshot": accuracies, "fewshot-differences": differences}


def page(done, text):
    """The page with its tables drawn anew."""
    return tables.redrawn(text, {name: rows(done) for name, rows in TABLES.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=40, help="of each kind (default 40)")
    parser.add_argument("--draw", action="store_true", help="only draw what is there")
    args = parser.parse_args()
    if not args.draw:
        run(args.tasks)
    PAGE.write_text(page(read(), PAGE.read_text()))


if __name__ == "__main__":
    main()
