"""The blocks of a mobile network: a depthwise layer, the 1x1 convolutions around it, and their skip.

An inverted residual block is expand (1x1), depthwise, project (1x1), and an add where its input skips to its
output. Without the expansion it is the pair that depthwise-separable networks stack. Activations, pads and
changes of scale may stand between the layers as operators of their own: converters leave them there.
"""

from dataclasses import dataclass

from .ir import Graph, Op

ACTIVATIONS = ("relu", "relu6", "hard_swish", "logistic")
BETWEEN = (*ACTIVATIONS, "pad", "requantize")


@dataclass(frozen=True)
class Block:
    input: str  # the tensor that it reads
    output: str  # the tensor that it leaves, behind its add or last activation, where it has them
    expand: Op | None
    depthwise: Op
    project: Op
    add: Op | None

    @property
    def layers(self) -> list[Op]:
        """Its layers with weights, in order."""
        return [op for op in (self.expand, self.depthwise, self.project) if op]


def find(graph: Graph) -> list[Block]:
    """Blocks in the order of the graph; no layer belongs to two."""
    found: list[Block] = []
    taken: set[str] = set()
    for op in graph.ops:
        if op.kind == "depthwise":
            block = _around(graph, op, taken)
            if block:
                found.append(block)
                taken.update(layer.name for layer in block.layers)
    return found


def operators(graph: Graph, block: Block) -> list[Op]:
    """All operators of a block in order: its layers, what stands between them, its add."""
    wanted: list[Op] = []
    live = {block.output}
    for op in reversed(graph.ops):
        if live.intersection(op.outputs):
            wanted.insert(0, op)
            live.update(n for n in op.inputs if n and n != block.input and not graph[n].constant)
    return wanted


def _around(graph, depthwise, taken):
    project, _ = _next(graph, depthwise.outputs[0], BETWEEN)
    if project is None or not _pointwise(graph, project):
        return None
    expand, _ = _before(graph, depthwise.inputs[0], BETWEEN)
    if expand is None or not _pointwise(graph, expand) or expand.name in taken:
        expand = None
    start = expand.inputs[0] if expand else _before(graph, depthwise.inputs[0], ("pad",))[1]
    add, joined = _next(graph, project.outputs[0], BETWEEN)
    if add is not None and add.kind == "add" and start in add.inputs and joined != start:
        return Block(start, add.outputs[0], expand, depthwise, project, add)
    return Block(start, _next(graph, project.outputs[0], ACTIVATIONS)[1], expand, depthwise, project, None)


def _next(graph, name, between):
    """(the only reader of a tensor, or None; the tensor that it reads). `between` is passed over."""
    while len(readers := graph.consumers(name)) == 1 and name not in graph.outputs:
        if readers[0].kind not in between:
            return readers[0], name
        name = readers[0].outputs[0]
    return None, name


def _before(graph, name, between):
    """(the producer of a tensor that has one reader, or None; what it writes). `between` is passed over."""
    while (op := graph.producer(name)) is not None and len(graph.consumers(name)) == 1:
        if op.kind not in between:
            return op, name
        name = op.inputs[0]
    return None, name


def _pointwise(graph, op):
    return op.kind == "conv" and graph[op.inputs[1]].shape[1:3] == tuple(op.attrs["stride"]) == (1, 1)
