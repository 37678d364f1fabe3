"""Names of files by their content: the same content has the same name, other content another one."""

import hashlib

import numpy as np

from ..graph.ir import Graph

WHOLE = 1 << 20  # numbers of an array up to which all of them count


def digest(*parts: str | bytes) -> str:
    """A name made of all parts. The lengths are hashed too, so moving a byte from part to part changes it."""
    h = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else bytes(part)
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()[:20]


def of_graph(graph: Graph) -> str:
    """A name made of the operators, tensors and constants of a graph."""
    parts = [repr((op.kind, op.name, op.inputs, op.outputs, sorted(op.attrs.items()))) for op in graph.ops]
    for name in sorted(graph.tensors):
        t = graph.tensors[name]
        scale = None if t.scale is None else np.asarray(t.scale).tolist()
        parts.append(repr((name, t.shape, t.zero_point, scale)))
        if t.constant:
            parts.append(t.data.tobytes())
    return digest(*parts)


def of_array(array: np.ndarray) -> bytes:
    """Shape, type and numbers of an array. Of a large one every 101st number tells data sets apart."""
    flat = np.ascontiguousarray(array).reshape(-1)
    about = repr((array.shape, array.dtype.str)).encode()
    return about + (flat if flat.size < WHOLE else flat[::101]).tobytes()
