"""Program with addresses -> package bytes, as format.py lays them out."""

import base64
import json
import struct
import zlib

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
from trimtab.tinytrain import HEAD, PATCHED

from ..graph.program import FIELDS, reference
from ..policies.plan import TRAINABLE
from .lifetimes import end


def package(program, placement, graph, name, labels=(), golden=b"", notes=None):
    """The bytes of a package. golden: the section as format.py describes it; empty while the compiler measures."""
    steps, phases, places = _records(program)
    const = _image(program.constants())
    shape = np.array([len(graph[graph.inputs[0]].shape), *graph[graph.inputs[0]].shape], "<u4").tobytes()
    const, shape_at = const + shape, len(const)
    sections = {
        "const": const,
        "weights": _image(program.constants(WEIGHTS)),
        "steps": steps,
        "state": _image(program.state),
        "segments": b"".join(struct.pack("<II", b.offset, b.size) for b in program.state if b.size),
        "labels": "\0".join((name, *labels)).encode(),
        "golden": golden,
        "choice": _choice(program, places),
        "plan": zlib.compress(json.dumps(_notes(program, placement, graph, notes)).encode(), 9),
        "signature": b"",
    }
    x = graph[graph.inputs[0]]
    header = dict(
        arena_bytes=placement.size,
        state_bytes=end(program.state),
        input=reference(program.input),
        input_bytes=x.size,
        input_shape=(CONST << SPACE_SHIFT) | shape_at,
        input_scale=_float(x.scale[0]),
        input_zero=x.zero_point,
        output=reference(program.output),
        target=reference(program.target) if program.target else 0,
        latent=reference(program.latent) if program.latent else 0,
        latent_bytes=program.latent.size if program.latent else 0,
        names=reference(program.names) if program.names else STATE << SPACE_SHIFT,
        head_bias=reference(program.head_bias) if program.head_bias else STATE << SPACE_SHIFT,
        **_study(program),
        clock=reference(program.clock),
        rng=reference(program.rng),
        flags=0,
        **program.header,
    )
    header["output_scale"] = _float(header["output_scale"])
    return _assemble(header, sections, phases)


def _study(program):
    """What the header says of the time line for Fisher information."""
    line = program.study or program
    places = dict(study_input=line.input, study_target=line.target, fisher=program.fisher)
    return {name: reference(buffer) if buffer else 0 for name, buffer in places.items()}


def _assemble(header, sections, phases):
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


def _candidates(program, graph):
    """Names of the weights and biases of what a board may choose, in the order of the section."""
    inputs = {op.name: op.inputs for op in graph.ops}
    return [inputs[c.layer][1:3] for c in program.pools.candidates] if program.pools else []


def _choice(program, places):
    """The section: pools, then each candidate's row and the places of its records."""
    pools = program.pools
    if not pools:
        return b""
    head = dict(candidates=len(pools.candidates), most_macs=min(pools.most_macs, 0xFFFFFFFF))
    for name, buffer in (("planes", pools.planes), ("kept", pools.inputs), ("bits", pools.bits)):
        head[name], head[f"{name}_bytes"] = reference(buffer), buffer.size
    words = [head[name] for name in HEAD]
    for c in pools.candidates:
        records = [
            places[step]
            for phase in ("prefix", "forward", "backward")
            for step in program.phases[phase]
            if step.layer == c.layer and step.kernel in PATCHED
        ]
        words += [*c.row, len(records), *records]
    return struct.pack(f"<{len(words)}I", *words)


def _image(buffers):
    image = bytearray(end(buffers))
    for b in buffers:
        image[b.offset : b.offset + b.size] = b.data
    return bytes(image)


def _float(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def _products(graph):
    """{bias: names of input and weights} where a bias has, as it should, the scale of their products."""
    found = {}
    for x, w, b in (op.inputs for op in graph.ops if op.kind in TRAINABLE):
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
        "candidates": _candidates(program, graph),
        "memory": {
            "arena_bytes": placement.size,
            "lower_bound_bytes": placement.lower_bound,
            "state_bytes": end(program.state),
        },
        **(notes or {}),
    }
