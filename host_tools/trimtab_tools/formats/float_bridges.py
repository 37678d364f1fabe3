"""Floats in the middle of a network that are only moved: the integers can move in their place.

Converters write DEQUANTIZE, SPLIT, QUANTIZE where they did not find one scale for all parts. This is the
split of the integers, and then a change of scale, provided that both round alike.
"""

from dataclasses import replace

import numpy as np

from ..graph.rounding import INT8_MAX, INT8_MIN, multiply_twice_rounded, quantize_multiplier, round_away
from .tflite_file import File, OpEntry, TensorEntry

# operator -> which of its inputs it moves
MOVES = {
    "SPLIT": 1,
    **dict.fromkeys(
        ("SPLIT_V", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "STRIDED_SLICE", "TRANSPOSE", "UNPACK"), 0
    ),
}


def bridged(file: File, entries: list[OpEntry]) -> tuple[list[OpEntry], set[int]]:
    """(operators that compute in int8 where they can, the numbers of tensors that are floats in the file)."""
    made, integers = [], {}
    for entry in entries:
        source = entry.inputs[MOVES.get(entry.code, 0)] if entry.inputs else -1
        if entry.code == "DEQUANTIZE" and _moves_only(file, entries, entry.outputs[0], file.tensors[source]):
            integers[entry.outputs[0]] = file.tensors[source]
            entry = replace(entry, code="RESHAPE", inputs=[source])
        elif entry.code in MOVES and source in integers:
            integers.update(dict.fromkeys(entry.outputs, integers[source]))
        made.append(entry)
    for number, known in integers.items():
        t = file.tensors[number]
        file.tensors[number] = replace(t, dtype="int8", scale=known.scale, zero=known.zero)
    return made, set(integers)


def _moves_only(file, entries, number, known):
    """Whether all that reads this float tensor moves it or makes integers of it that ours equal."""
    readers = [entry for entry in entries if number in entry.inputs]
    return known.dtype == "int8" and all(
        (entry.code == "QUANTIZE" and _alike(known, file.tensors[entry.outputs[0]]))
        or (
            entry.code in MOVES
            and entry.inputs[MOVES[entry.code]] == number
            and all(_moves_only(file, entries, output, known) for output in entry.outputs)
        )
        for entry in readers
    )


def _alike(x: TensorEntry, y: TensorEntry) -> bool:
    """Whether a change of scale gives what floats give, for all 256 inputs."""
    if y.dtype != "int8" or x.scale.size != 1 or y.scale.size != 1 or not (x.scale[0] > 0 and y.scale[0] > 0):
        return False
    sx, sy = np.float32(x.scale[0]), np.float32(y.scale[0])
    steps = np.arange(INT8_MIN, INT8_MAX + 1) - int(x.zero[0])
    real = round_away(sx * steps.astype(np.float32) / sy).astype(np.int64)
    ours = multiply_twice_rounded(steps, *quantize_multiplier(float(sx) / float(sy)))
    low, high = INT8_MIN - int(y.zero[0]), INT8_MAX - int(y.zero[0])
    return np.array_equal(np.clip(real, low, high), np.clip(ours, low, high))
