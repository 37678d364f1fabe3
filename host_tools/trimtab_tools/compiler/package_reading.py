"""What a package holds, for the host: its graph, every tensor by name, the trained state put back into the model."""

import base64
import json
import zlib
from dataclasses import replace

import numpy as np
from trimtab import classes, fisher, tinytrain
from trimtab.format import CONST, LOSSES, OFFSET_MASK, SPACE_SHIFT, WEIGHTS
from trimtab.package import Package, PackageError

from .. import output
from ..errors import ModelError
from ..formats import write_tflite
from ..graph.ir import Graph, Op, Tensor


class Contents:
    """A package from a path or from bytes. The state is what the package brings unless one is given (as saved)."""

    def __init__(self, source, state=None):
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

    def initial(self):
        """The contents as the package brings them, untrained."""
        return Contents(self._source)

    def _initial(self):
        image = bytes(self.package.section("state"))
        return b"".join(image[at : at + size] for at, size in self.package.segments())

    def _pieces(self, data):
        """{name: array} of the state in the order of a save."""
        pieces, at = {}, 0
        for about in self.notes["trained"]:
            pieces[about["name"]] = np.frombuffer(
                data,
                np.dtype(about["dtype"]).newbyteorder("<"),
                about["bytes"] // np.dtype(about["dtype"]).itemsize,
                at,
            )
            at += about["bytes"]
        if at != len(data):
            raise PackageError(
                f"the state has {len(data)} bytes, the package's has {at}: pull from the board that runs it"
            )
        return pieces

    def graph(self):
        """The int8 graph up to the head, its tuned weights and biases in place."""
        tensors = {}
        tuned = {about["tensor"]: about for about in self.notes["trained"] if "tensor" in about}
        for row in self.notes["graph"]["tensors"]:
            scale = np.frombuffer(base64.b64decode(row["scale"]), "<f8") if "scale" in row else None
            data = self._constant(row, tuned.get(row["name"])) if "const" in row else None
            tensors[row["name"]] = Tensor(
                row["name"], tuple(row["shape"]), row["dtype"], scale, row["zero"], data
            )
        for about in self.notes["trained"]:
            if "scales" in about:  # a gain: 1 + d / 2^30 for each output channel
                w, gain = (
                    tensors[about["scales"]],
                    1 + np.clip(self.state[about["name"]] / 2.0**30, -0.5, 0.5),
                )
                tensors[w.name] = replace(w, scale=(w.scale * gain).astype(np.float32).astype(np.float64))
        for row in self.notes["graph"]["tensors"]:
            if "scale_of" in row:
                x, w = (tensors[name].scale for name in row["scale_of"])
                tensors[row["name"]] = replace(tensors[row["name"]], scale=x * w)
        ops = [
            Op(o["kind"], o["name"], tuple(o["inputs"]), tuple(o["outputs"]), _attrs(o["attrs"]))
            for o in self.notes["graph"]["ops"]
        ]
        return Graph(
            tensors, tuple(ops), tuple(self.notes["graph"]["inputs"]), tuple(self.notes["graph"]["outputs"])
        )

    def _chosen(self):
        """{tensor: (channels, what a board trained there, whether that adds to the frozen values)}."""
        if not self.notes["candidates"]:
            return {}
        rows = tinytrain.parse(self.package.section("choice"))[1]
        chosen = tinytrain.chosen_of(self.state["choice"].view(np.uint8), rows)
        pool, found = self.state["planes"].tobytes(), {}
        for i, (plane, _, bias, *_) in tinytrain.places(rows, chosen).items():
            weights, biases = self.notes["candidates"][i]
            found[weights] = (
                chosen[i],
                np.frombuffer(pool, np.int8, rows[i][fisher.PLANE], plane),
                not rows[i][fisher.ERROR],
            )
            found[biases] = slice(None), np.frombuffer(pool, "<i4", rows[i][fisher.BIAS] // 4, bias), False
        return found

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

    def head(self):
        """The head as export wants it: features, W / 4096 and b / 65536, or prototypes; None without one."""
        if "head" not in self.notes:
            return None
        rows = self.notes["head"]["classes"]
        used = len(self.labels) or rows
        if self.notes["head"]["kind"] == "prototype":
            return {
                "features": self.notes["head"]["features"],
                "labels": self.labels,
                "prototypes": self.state["head.prototypes"].reshape(rows, -1)[:used],
                "counts": self.state["head.counts"][:used],
            }
        return {
            "features": self.notes["head"]["features"],
            "labels": self.labels,
            "weights": self.state["head.weights"].reshape(rows, -1)[:used],
            "bias": self.state["head.bias"][:used],
        }

    def tensors(self):
        """{name: array} for an .npz: each layer tensor as `layer|tensor`, with `.scale` and `.zero_point` beside it."""
        graph, found = self.graph(), {}
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

    def tflite(self):
        """The tuned network as a .tflite file."""
        model = write_tflite.write(self.graph(), self.name)
        head = self.head()
        return write_tflite.export(model, {}, head) if head else model

    def write(self, path, keras=None):
        """The tuned network as .tflite, or as .keras where `keras` is the model that it came from; its bytes."""
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


def _attrs(attrs):
    """JSON has no tuples."""

    def tuples(v):
        return tuple(tuples(i) for i in v) if isinstance(v, list) else v

    return {k: tuples(v) for k, v in attrs.items()}


def open_state(path):
    """The state in a slot file that a board or `sim` saved, as bytes in the order of a save."""
    from trimtab.store import CRC_BYTES, HEADER_BYTES

    with open(path, "rb") as f:
        data = f.read()
    if data[:4] != b"TTS1":
        raise ModelError(f"{path} is not a saved state: name a .s0 or .s1 file")
    return data[HEADER_BYTES + CRC_BYTES :]
