"""What a package holds: its graph, its tensors by name, the model with its trained state."""

import base64
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from trimtab import classes
from trimtab.format import CONST, LOSSES, NULL, OFFSET_MASK, RECORDS, SPACE_SHIFT, WEIGHTS
from trimtab.package import Package, PackageError

from .. import output
from ..errors import ModelError
from ..formats import write_tflite
from ..graph.ir import Graph, Op, Tensor
from ..graph.program import FIELDS
from ..policies import registry


class Contents:
    """A package from a path or from bytes.

    The state is what the package brings unless one is given (as saved).
    """

    def __init__(self, source: str | Path | bytes, state: bytes | None = None):
        self._source = source
        self.package = Package(
            str(source) if not isinstance(source, (bytes, bytearray, memoryview)) else source
        )
        self.notes = _notes(self.package)
        self.constants = {
            space: bytes(self.package.section(name))
            for space, name in ((CONST, "const"), (WEIGHTS, "weights"))
        }
        self.state = self._pieces(self._initial() if state is None else state)
        self.chosen = self._chosen()
        self.labels = [*self.package.labels()[1:], *classes.names(self.state.get("head.names", b""))]
        self.name = self.package.labels()[0]
        self.loss = LOSSES[self.package.loss_kind]
        self.trained = self.loss != "none"
        graph = self.graph()
        self.input, self.output = graph[graph.inputs[0]], graph[graph.outputs[0]]

    def initial(self) -> "Contents":
        """The contents as the package brings them, untrained."""
        return Contents(self._source)

    def _initial(self):
        image = bytes(self.package.section("state"))
        return b"".join(image[at : at + size] for at, size in self.package.segments())

    def _pieces(self, data):
        """{name: array} of the state in the order of a save."""
        pieces, at = {}, 0
        for about in self.notes["trained"]:
            dtype = np.dtype(about["dtype"]).newbyteorder("<")
            pieces[about["name"]] = np.frombuffer(data, dtype, about["bytes"] // dtype.itemsize, at)
            at += about["bytes"]
        if at != len(data):
            raise PackageError(
                f"the state has {len(data)} bytes, the package's has {at}: pull from the board that runs it"
            )
        return pieces

    def graph(self) -> Graph:
        """The int8 graph up to the head, its tuned weights and biases in place."""
        noted = self.notes["graph"]
        tuned = {about["tensor"]: about for about in self.notes["trained"] if "tensor" in about}
        tensors = {row["name"]: self._tensor(row, tuned.get(row["name"])) for row in noted["tensors"]}
        self._apply_gains(tensors)
        for row in noted["tensors"]:
            if "scale_of" in row:
                x, w = (tensors[name].scale for name in row["scale_of"])
                tensors[row["name"]] = replace(tensors[row["name"]], scale=x * w)
        ops = [
            Op(o["kind"], o["name"], tuple(o["inputs"]), tuple(o["outputs"]), _attrs(o["attrs"]))
            for o in noted["ops"]
        ]
        return Graph(tensors, tuple(ops), tuple(noted["inputs"]), tuple(noted["outputs"]))

    def _tensor(self, row, about):
        scale = np.frombuffer(base64.b64decode(row["scale"]), "<f8") if "scale" in row else None
        data = self._constant(row, about) if "const" in row else None
        return Tensor(row["name"], tuple(row["shape"]), row["dtype"], scale, row["zero"], data)

    def _apply_gains(self, tensors):
        """A trained gain of 1 + d / 2^30 for each output channel goes into the scale of the weights."""
        for about in self.notes["trained"]:
            if "scales" in about:
                w = tensors[about["scales"]]
                gain = 1 + np.clip(self.state[about["name"]] / 2.0**30, -0.5, 0.5)
                scale = (w.scale * gain).astype(np.float32).astype(np.float64)
                tensors[w.name] = replace(w, scale=scale)

    def _chosen(self):
        """{tensor: (channels, what a board trained there, whether that adds to the frozen values)}."""
        tensors = self.notes["candidates"]
        if not tensors:
            return {}
        policy = registry.find(self.notes["policy"])
        return policy.tuned(self.package.section("choice"), self.state, tensors)

    def _constant(self, row, about):
        shape, dtype = tuple(row["shape"]), np.dtype(row["dtype"]).newbyteorder("<")
        count = int(np.prod(shape))
        if row["const"] is None:
            data = np.zeros(shape, dtype)
        else:
            constants = self.constants[row["const"] >> SPACE_SHIFT]
            data = np.frombuffer(constants, dtype, count, row["const"] & OFFSET_MASK).reshape(shape).copy()
        if row["name"] in self.chosen:
            channels, plane, adds = self.chosen[row["name"]]
            data[..., channels] = plane.reshape(data[..., channels].shape) + (
                data[..., channels] if adds else 0
            )
        elif about and about["role"] == "weights":
            data[..., about["channels"]] = self.state[about["name"]].reshape(*shape[:-1], -1)
        elif about:
            data = self.state[about["name"]].reshape(shape)
        return data.astype(row["dtype"])

    def head(self) -> dict | None:
        """The head as export wants it: features, W / 4096 and b / 65536, or prototypes; None without one."""
        about = self.notes.get("head")
        if about is None:
            return None
        rows = about["classes"]
        used = len(self.labels) or rows
        named = {"features": about["features"], "labels": self.labels}
        if about["kind"] == "prototype":
            return {
                **named,
                "prototypes": self.state["head.prototypes"].reshape(rows, -1)[:used],
                "counts": self.state["head.counts"][:used],
            }
        return {
            **named,
            "weights": self.state["head.weights"].reshape(rows, -1)[:used],
            "bias": self.state["head.bias"][:used],
        }

    def tensors(self) -> dict[str, np.ndarray]:
        """{name: array} for an .npz: `layer|tensor`, with `.scale` and `.zero_point` beside each."""
        graph = self.graph()
        found: dict[str, Any] = {}
        for op in graph.ops:
            for name in (*op.inputs, *op.outputs):
                if name:
                    t = graph[name]
                    key = f"{op.name}|{name}"
                    found[key] = t.data if t.constant else np.zeros((0, *t.shape), np.int8)
                    if t.scale is not None:
                        found[key + ".scale"] = t.scale
                    found[key + ".zero_point"] = np.int32(t.zero_point)
        for name, piece in self.state.items():
            found[f"state|{name}"] = piece
        return found

    def tflite(self) -> bytes:
        """The tuned network as a .tflite file."""
        head = self.head()
        if head is None:
            return write_tflite.write(self.graph(), self.name)
        return write_tflite.write_with_head(self.graph(), head, self.name)

    def write(self, path: str, keras: str | None = None) -> int:
        """Write the tuned network; how many bytes. A .keras file needs the model that it came from."""
        if path.endswith(".keras"):
            from ..formats import write_keras

            if not keras:
                raise ModelError(
                    "a .keras file keeps the layers of the model that was compiled: name it with --keras FILE"
                )
            return write_keras.export(self, keras, path)
        return output.write(path, self.tflite())


def _notes(package):
    data = package.section("plan")
    try:
        return json.loads(zlib.decompress(bytes(data)))
    except (zlib.error, ValueError):
        raise PackageError("the package's plan section cannot be read: compile the model again")


def records(package: Package) -> list[dict]:
    """The fields of each record in order of time. A reference is a number, or None where there is none."""
    program, found = package.section("program"), []
    for codes, offsets in package.records(program, package.section("const")):
        for code, at in zip(codes, offsets):
            rows = FIELDS[RECORDS[code][0]]
            words = struct.unpack_from(f"<{len(rows)}i", program, at + 4)
            found.append(
                {row[0]: None if row[1] and word == NULL else word for row, word in zip(rows, words)}
            )
    return found


def _attrs(attrs):
    """JSON has no tuples."""

    def tuples(v):
        return tuple(tuples(i) for i in v) if isinstance(v, list) else v

    return {k: tuples(v) for k, v in attrs.items()}


def open_state(path: str) -> bytes:
    """The state in a slot file that a board or `sim` saved, as bytes in the order of a save."""
    from trimtab.store import CRC_BYTES, HEADER_BYTES

    with open(path, "rb") as f:
        data = f.read()
    if data[:4] != b"TTS1":
        raise ModelError(f"{path} is not a saved state: name a .s0 or .s1 file")
    return data[HEADER_BYTES + CRC_BYTES :]
