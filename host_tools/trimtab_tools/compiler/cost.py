"""What a plan costs: our own count, from a program's records, and four papers' counts, from a layer table.

Our count is exact: bytes that the board allocates, multiplications that its kernels do. The papers' counts
are models; each leaves something out (docs/costs.md says what), and they are here so that plans can be set
beside published ones.
"""

from dataclasses import dataclass, replace

from trimtab.format import ARENA, PHASES

from ..graph.ir import Graph
from ..graph.program import Program, Record
from ..operators import registry
from ..operators.registry import WEIGHTED
from ..policies.plan import TrainPlan
from . import cycles, features
from .lifetimes import end
from .memory import Placement

# -- our count: records

FORWARD = ("conv_fwd", "depthwise_fwd", "head_fwd", "tinytl_conv_fwd", "prototype_fwd")


def record_macs(record: Record) -> int:
    """Multiplications of one record."""
    return features.macs(record.kernel, record.values)


NOT_OF_A_STEP = ("map", "study_map", "study", "fisher", "enroll")


def of_one_step(program: Program) -> list[Record]:
    """The records that run for one int8 sample of training; a raw one goes through a table before."""
    return [record for phase, record in program.timeline() if phase not in NOT_OF_A_STEP]


def macs(program: Program) -> dict:
    """Multiplications of one training step, forward and backward."""
    total = {"forward": 0, "backward": 0}
    for record in of_one_step(program):
        total["forward" if record.kernel in FORWARD else "backward"] += record_macs(record)
    return total


def estimated_cycles(program: Program) -> dict[str, int]:
    """Cycles of one training step, by board."""
    return cycles.by_board((record.kernel, record.values) for record in of_one_step(program))


def kept(program: Program) -> list:
    """Arena buffers that the forward pass writes and the backward pass reads: masks and activations."""
    cut = PHASES.index("loss")
    written: dict = {}
    read: set[int] = set()
    for phase, record in program.timeline():
        if PHASES.index(phase) < cut:
            written.update((id(b), b) for b in record.buffers(True))
        elif phase != "loss":
            read.update(id(b) for b in record.buffers(False) + record.buffers(True))
    return [b for key, b in written.items() if key in read and b.space == ARENA]


def of(trunk: Graph, plan: TrainPlan, program: Program, placement: Placement) -> dict:
    """Every exact cost of a plan and its program, as `trimtab plan --json` prints it."""
    rows = table(trunk, plan)
    return {
        "analytic_kb": {name: round(rule(rows) / 1024, 2) for name, rule in PAPERS.items()},
        "arena_bytes": placement.size,
        "state_bytes": end(program.state),
        "sums_bytes": sum(about["bytes"] for about in program.trained if about["role"] == "sum"),
        "lower_bound_bytes": placement.lower_bound,
        "kept_bytes": sum(b.size for b in kept(program)),
        "macs": macs(program),
    }


# -- the papers' counts: a table of layers


@dataclass(frozen=True)
class Row:
    """A layer as the papers count it. Numbers of elements, not bytes; what is trained stands at the end."""

    # conv (also depthwise and dense), norm, relu, smooth (hard-swish, logistic), gate (squeeze-and-excite)
    kind: str
    x: int  # input
    y: int = 0  # output
    channels: int = 0  # of the output
    weights: int = 0
    biases: int = 0
    groups: int = 1
    macs: int = 0
    skip: int = 0  # tensors that wait beside this layer
    head: bool = False
    share: float = 0  # of the weights (and of the input's channels) trained
    bias: bool = False  # trained
    learns: bool = False  # a gradient passes through its output

    @property
    def trained(self) -> float:
        return self.weights * self.share + self.biases * self.bias


def table(graph: Graph, plan: TrainPlan) -> list[Row]:
    """Rows of a trunk under a plan; a fused activation is a row of its own."""
    shares = {
        u.layer: len(u.channels) / graph[_layer(graph, u.layer).inputs[1]].shape[-1] for u in plan.updates
    }
    rows: list[Row] = []
    learned: set[str] = set()
    for i, op in enumerate(graph.ops):
        update = plan.of(op.name)
        inputs = [n for n in op.inputs if n and not graph[n].constant]
        if update or learned.intersection(inputs):
            learned.update(op.outputs)
        row = Row(
            registry.row(op).paper,
            graph[inputs[0]].size,
            graph[op.outputs[0]].size,
            graph[op.outputs[0]].shape[-1],
            skip=_waiting(graph, i, inputs),
            learns=op.outputs[0] in learned,
        )
        if op.kind in WEIGHTED:
            w = graph[op.inputs[1]]
            row = replace(
                row,
                weights=w.size,
                biases=row.channels,
                macs=row.y * w.size // row.channels,
                groups=row.channels if op.kind == "depthwise" else 1,
                share=shares.get(op.name, 0),
                bias=bool(update and update.bias),
            )
        rows += [row] if row.kind != "none" else []
        more_rows = registry.row(op).paper_rows
        if more_rows:
            rows += [Row(**more) for more in more_rows(graph, op, row.skip)]
        if op.attrs.get("act", "none") != "none":
            rows.append(Row("relu", row.y, row.y, row.channels, skip=_waiting(graph, i), learns=row.learns))
    if plan.head:
        f, n = plan.head.weights.shape[1], plan.head.classes
        dense = plan.head.kind == "dense"  # prototypes learn by no gradient
        rows.append(
            Row("conv", f, n, n, f * n, n, macs=f * n, head=True, share=dense, bias=dense, learns=True)
        )
    return rows


def _layer(graph, name):
    return next(op for op in graph.ops if op.name == name)


def _waiting(graph, i, reads=()):
    """Elements that were there before operator i and are wanted after it, without those that it reads."""
    before = {*graph.inputs, *(n for op in graph.ops[:i] for n in op.outputs)}
    after = {*graph.outputs, *(n for op in graph.ops[i + 1 :] for n in op.inputs)}
    return sum(graph[n].size for n in before & after - set(reads))


@dataclass(frozen=True)
class Rule:
    """Bytes that a layer keeps for its backward pass: what the papers agree and disagree on."""

    relu_bits: float = 1
    smooth_bits: float = 32  # hard-swish and sigmoids keep their input
    statistics: int = 0  # bytes for each channel of a trained norm
    everywhere: bool = False  # masks also where nothing below is trained

    def kept(self, row: Row) -> float:
        """Activations are float32: 4 bytes."""
        if row.kind in ("relu", "smooth"):
            bits = self.relu_bits if row.kind == "relu" else self.smooth_bits
            return row.x * bits / 8 * (self.everywhere or row.learns)
        if row.kind == "gate":
            return 4 * row.x
        statistics = self.statistics * row.channels if row.kind == "norm" and row.share else 0
        return 4 * row.x * row.share + statistics

    def total_kept(self, rows: list[Row]) -> float:
        return sum(self.kept(r) for r in rows)

    def peak(self, rows: list[Row]) -> float:
        """Most bytes at any layer: what it works on, what waits beside it, what was kept before it."""
        sofar, peak = 0.0, 0.0
        for row in rows:
            peak = max(peak, _working(row) + 4 * row.skip + sofar)
            sofar += self.kept(row)
        return peak


def _working(row):
    """Float32 input and output; norms and activations are in place, a depthwise output goes by channel."""
    if row.kind == "conv":
        return 4 * (row.x + row.y / row.groups)
    return 4 * row.x if row.kind in ("norm", "relu", "smooth") else 0


TINYTL = Rule()
MOBILETL = Rule(smooth_bits=1, statistics=8)
MOBILETL_BASELINE = Rule(relu_bits=2, statistics=8)
TINYTRAIN = Rule()


def mcunetv3(rows: list[Row]) -> float:
    """Bytes: a bit for each output of layers whose bias trains, int32 biases, int8 weights, their inputs."""
    body = [r for r in rows if not r.head]
    return (
        sum(r.y / 8 + 4 * r.channels for r in body if r.bias)
        + sum((r.weights + r.x) * r.share for r in body)
        + sum(r.x for r in rows if r.head)
    )


def tinytl(rows: list[Row], batch: int = 1) -> float:
    """Bytes: peak activations of a batch, trained parameters in 32 bits, frozen ones in 8.

    As soon as anything but the head trains, every ReLU keeps its mask, also below the first trained layer.
    """
    rule = replace(TINYTL, everywhere=any(r.trained for r in rows if not r.head))
    return batch * rule.peak(rows) + _parameters(rows)


def mobiletl(rows: list[Row], batch: int = 1) -> float:
    """Bytes: as TinyTL, but smooth activations keep masks too, and masks are only where a gradient passes."""
    return batch * MOBILETL.peak(rows) + _parameters(rows)


def tinytrain(rows: list[Row], moments: int = 2) -> float:
    """Bytes at batch 1: updated weights, gradients and two moments of Adam (SGD: 0) in float32, and the peak.

    Its classifier is prototypes, so the head counts nothing; biases are ignored.
    """
    updated = sum(r.weights * r.share for r in rows if not r.head)
    return 4 * (2 + moments) * updated + TINYTRAIN.peak([r for r in rows if not r.head])


def _parameters(rows):
    return sum(4 * r.trained + (r.weights + r.biases - r.trained) for r in rows)


def backward_macs(rows: list[Row]) -> float:
    """Multiplications of TinyTrain's backward pass: dW of what trains, dX of all behind the first.

    Training everything counts the first layer's dX too.
    """
    everything = all(r.share == 1 for r in rows if r.macs)
    first = next((i for i, r in enumerate(rows) if r.share), len(rows))
    return sum(r.share * r.macs for r in rows) + sum(r.macs for r in rows[0 if everything else first + 1 :])


PAPERS = {"mcunetv3": mcunetv3, "tinytl": tinytl, "mobiletl": mobiletl, "tinytrain": tinytrain}
