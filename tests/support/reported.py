"""A network with a skip connection, its facts, and the log of a run: what the report is tested with."""

from models import Builder
from trimtab_tools.compiler import facts as report

LOG = [
    {"epoch": 1, "loss": 1.2},
    {"epoch": 2, "loss": 0.7, "accuracy": 0.8},
    {"before": 0.3, "after": 0.8, "steps": 20},
]


def network():
    b = Builder((8, 8, 2), seed=3)
    b.conv(6, act="relu6")
    skip = b.x
    b.depthwise(act="relu")
    b.conv(6, (1, 1))
    b.add(skip, b.x)
    b.mean()
    b.dense(5)
    return b.graph()


def facts(c):
    found = report.facts(c.trunk, c.plan, c.program, c.placement)
    return report.timed(found, (record.values for _, record in c.program.timeline()))
