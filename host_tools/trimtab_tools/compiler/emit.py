"""Program with addresses -> package bytes, as format.py lays them out."""

import base64
import json
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from trimtab.crc import crc32
from trimtab.format import (
    ABI,
    CONST,
    HEADER,
    MAGIC,
    OPCODES,
    PHASES,
    SECTIONS,
    SPACE_SHIFT,
    STATE,
    VERSION,
    WEIGHTS,
)

from ..graph.ir import Graph
from ..graph.program import FIELDS, Buffer, Program, reference
from ..operators.registry import WEIGHTED
from .lifetimes import end
from .memory import Placement


@dataclass
class Parts:
    """A package before its bytes are put together: its sections may still be exchanged."""

    header: dict
    sections: dict
    phases: dict

    def package(self, **sections: bytes) -> bytes:
        """The bytes, with these sections in place of those that were made."""
        return assemble(self.header, {**self.sections, **sections}, self.phases)


def package(
    program: Program,
    placement: Placement,
    graph: Graph,
    name: str,
    labels: tuple = (),
    golden: bytes = b"",
    notes: dict | None = None,
) -> bytes:
    """The bytes of a package. golden: the section as format.py describes it."""
    return parts(program, placement, graph, name, labels, notes).package(golden=golden)


def parts(
    program: Program,
    placement: Placement,
    graph: Graph,
    name: str,
    labels: tuple = (),
    notes: dict | None = None,
) -> Parts:
    """A package without a golden sample."""
    words, phases, places = _records(program)
    const = image(program.constants())
    x = graph[graph.inputs[0]]
    shape = np.array([len(x.shape), *x.shape], "<u4").tobytes()
    sections = {
        "const": const + shape,
        "weights": image(program.constants(WEIGHTS)),
        "program": words,
        "state": image(program.state),
        "segments": b"".join(struct.pack("<II", b.offset, b.size) for b in program.state if b.size),
        "labels": "\0".join((name, *labels)).encode(),
        "golden": b"",
        "choice": program.pools.section(program, places) if program.pools else b"",
        "plan": zlib.compress(json.dumps(_notes(program, placement, graph, notes)).encode(), 9),
        "signature": b"",
    }
    header = _header(program, placement, x)
    header["input_shape"] = (CONST << SPACE_SHIFT) | len(const)
    return Parts(header, sections, phases)


def _header(program, placement, x):
    nowhere = STATE << SPACE_SHIFT
    header = dict(
        arena_bytes=placement.size,
        state_bytes=end(program.state),
        input=reference(program.input),
        input_bytes=x.size,
        input_scale=_float(x.scale[0]),
        input_zero=x.zero_point,
        output=reference(program.output),
        target=reference(program.target) if program.target else 0,
        latent=reference(program.latent) if program.latent else 0,
        latent_bytes=program.latent.size if program.latent else 0,
        names=reference(program.names) if program.names else nowhere,
        head_bias=reference(program.head_bias) if program.head_bias else nowhere,
        **_study(program),
        clock=reference(program.clock),
        rng=reference(program.rng),
        flags=0,
        **program.header,
    )
    header["output_scale"] = _float(header["output_scale"])
    return header


def _study(program):
    """What the header says of the time line for Fisher information."""
    line = program.study or program
    places = dict(study_input=line.input, study_target=line.target, fisher=program.fisher)
    return {name: reference(buffer) if buffer else 0 for name, buffer in places.items()}


def assemble(header: dict, sections: dict, phases: dict) -> bytes:
    """Header, the places and CRCs of sections, phases, its own CRC; then the sections, each aligned."""
    words = [header[name] & 0xFFFFFFFF for name in HEADER]
    at = 8 + 4 * (len(HEADER) + 3 * len(SECTIONS) + 2 * len(PHASES)) + 4
    body = b""
    for name in SECTIONS:
        data = sections[name]
        words += [at + len(body), len(data), crc32(data)]
        body += data + bytes(-len(data) % 4)
    for name in PHASES:
        words += phases[name]
    head = MAGIC + struct.pack("<HH", VERSION, ABI) + struct.pack(f"<{len(words)}I", *words)
    return head + struct.pack("<I", crc32(head)) + body


def _records(program):
    data, phases, places = b"", {}, {}
    for phase in PHASES:
        phases[phase] = (len(data), len(program.phases[phase]))
        for step in program.phases[phase]:
            places[step] = len(data)
            words = [OPCODES[step.kernel]] + [
                reference(step.values.get(name)) for name, *_ in FIELDS[step.kernel]
            ]
            data += struct.pack(f"<{len(words)}i", *words)
    return data, phases, places


def image(buffers: list[Buffer]) -> bytes:
    """What buffers hold, each where it lies."""
    found = bytearray(end(buffers))
    for b in buffers:
        assert b.data is not None, b.name  # only buffers of the arena are empty
        found[b.offset : b.offset + b.size] = b.data
    return bytes(found)


def _float(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def _products(graph):
    """{bias: names of input and weights} where a bias has, as it should, the scale of their products."""
    found = {}
    for x, w, b in (op.inputs for op in graph.ops if op.kind in WEIGHTED):
        if (
            b
            and graph[b].scale is not None
            and np.array_equal(graph[b].scale, graph[x].scale * graph[w].scale)
        ):
            found[b] = x, w
    return found


def _notes(program, placement, graph, notes):
    """What the host needs to know again: the graph, where its tensors lie, what is trained."""
    tensors, products = [], _products(graph)
    for t in graph.tensors.values():
        row = {"name": t.name, "shape": list(t.shape), "dtype": t.dtype, "zero": t.zero_point}
        if t.name in products:
            row["scale_of"] = products[t.name]
        elif t.scale is not None:
            row["scale"] = base64.b64encode(np.asarray(t.scale, "<f8").tobytes()).decode()
        if t.constant:
            buffer = program.where.get(t.name)
            row["const"] = reference(buffer) if buffer else None
        tensors.append(row)
    ops = [
        {"kind": o.kind, "name": o.name, "inputs": o.inputs, "outputs": o.outputs, "attrs": o.attrs}
        for o in graph.ops
    ]
    return {
        "graph": {"tensors": tensors, "ops": ops, "inputs": graph.inputs, "outputs": graph.outputs},
        "activations": {name: b.offset for name, b in program.activations.items()},
        "trained": program.trained,
        "candidates": program.pools.tensors(graph) if program.pools else [],
        "memory": {
            "arena_bytes": placement.size,
            "lower_bound_bytes": placement.lower_bound,
            "state_bytes": end(program.state),
        },
        **(notes or {}),
    }
