"""Estimated cycles of records: the counts of a record's loop times what benchmarks/calibrate.py measured.

cycles.json holds {board: {memory model: {loop: {count: cycles}}}}. Memory "flat" answers at once, from flash
as from RAM.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from . import features
from .features import Values

TABLE = json.loads(Path(__file__).with_name("cycles.json").read_text())
UNKNOWN = "unknown loop"  # in place of a loop that no calibration met: what a product costs on average
CLOCK_HZ = {"pico": 125_000_000}


def of(kernel: str, values: Values, board: str = "pico", memory: str = "flat") -> float:
    """Estimated cycles of one record, by its fields. References may be anything; None where there is none."""
    loop, counts = features.of(kernel, values)
    loops = TABLE[board][memory]
    each = loops.get(loop, loops[UNKNOWN])
    return sum(each.get(name, 0) * count for name, count in counts.items())


def by_board(records: Iterable[tuple[str, Values]], memory: str = "flat") -> dict[str, int]:
    """Estimated cycles of records (kernel, fields), by board."""
    records = list(records)
    return {board: round(sum(of(*record, board, memory) for record in records)) for board in TABLE}
