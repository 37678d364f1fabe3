"""Inverted residual blocks and depthwise-separable pairs, found in models as they come."""

import pytest
from helpers import assets
from models import Builder
from toys import reader
from trimtab_tools.formats import read_checkpoint, read_tflite
from trimtab_tools.graph.blocks import find, operators


def names(block):
    return tuple(op and op.name for op in (block.expand, block.depthwise, block.project, block.add))


PUBLISHED = [("mcunet-5fps", 14, 7), ("mbv2-w0.35", 17, 10), ("proxyless-w0.3", 20, 13)]


@pytest.mark.parametrize("model, blocks, skips", PUBLISHED)
def test_published_checkpoints(model, blocks, skips):
    graph = read_checkpoint.read(assets() / "tiny_training" / f"{model}.npz")
    found = find(graph)
    assert len(found) == blocks and sum(b.add is not None for b in found) == skips
    assert found[0].expand is None and all(b.expand for b in found[1:])
    assert [b.input for b in found[1:]] == [b.output for b in found[:-1]]
    for i, block in enumerate(found):
        assert {n.rpartition(".")[0] for n in names(block) if n} == {f"blocks.{i}"}


@pytest.mark.parametrize("model, blocks", [("kws_ref_model", 4), ("vww_96_int8", 13)])
def test_depthwise_separable_networks(model, blocks):
    graph = read_tflite.read(assets() / "mlperf_tiny" / f"{model}.tflite")
    found = find(graph)
    assert len(found) == blocks
    assert not any(b.expand or b.add for b in found)
    assert [b.input for b in found[1:]] == [b.output for b in found[:-1]]


def test_a_small_network():
    graph = reader()
    convs = [op.name for op in graph.ops]
    assert [names(b) for b in find(graph)] == [(*convs[1:4], None), tuple(convs[4:8])]


def swishing(project_act=False):
    """MobileNetV3's second block, with the operators between its layers that converters leave."""
    b = Builder((8, 8, 4))
    b.conv(8)
    b.unary("hard_swish")
    b.pad((0, 1), (0, 1), (0, 0))
    b.depthwise(stride=(2, 2), padding="valid")
    b.unary("relu6")
    start = b.conv(8, (1, 1))
    if project_act:
        start = b.unary("hard_swish")
    b.conv(16, (1, 1))
    b.unary("hard_swish")
    b.depthwise()
    b.unary("hard_swish")
    b.add(start, b.conv(8, (1, 1)))
    return b.graph()


def test_activations_and_pads_between_the_layers():
    graph = swishing()
    first, second = find(graph)
    assert names(first) == (None, "depthwise_3", "conv_5", None)
    assert (first.input, first.output) == ("hard_swish_1", "conv_5")
    assert [op.kind for op in operators(graph, first)] == ["pad", "depthwise", "relu6", "conv"]
    assert names(second) == ("conv_6", "depthwise_8", "conv_10", "add_11")
    assert (second.input, second.output) == (first.output, "add_11")
    kinds = ["conv", "hard_swish", "depthwise", "hard_swish", "conv", "add"]
    assert [op.kind for op in operators(graph, second)] == kinds


def test_an_activation_behind_a_block_is_its_own():
    first, second = find(swishing(project_act=True))
    assert first.output == second.input == "hard_swish_6" and second.add.name == "add_12"


def test_what_is_no_block():
    b = Builder((8, 8, 4))
    b.depthwise()
    b.conv(8, (3, 3))  # not 1x1
    b.depthwise()
    b.conv(8, (1, 1), (2, 2))  # strides
    x = b.depthwise()
    y = b.conv(8, (1, 1))
    b.add(x, y)  # a skip that goes round the conv alone
    assert find(b.graph()) == []


def test_an_operator_that_stands_in_no_block_hides_it():
    b = Builder((8, 8, 4))
    b.conv(8, (1, 1))
    b.unary("tanh")
    b.depthwise()
    b.unary("elu")
    b.conv(8, (1, 1))
    assert find(b.graph()) == []


def test_a_skip_from_elsewhere_is_not_the_blocks():
    b = Builder((8, 8, 8))
    far = b.conv(8, (1, 1))
    b.conv(8, (3, 3))
    b.conv(16, (1, 1))
    b.depthwise()
    b.add(far, b.conv(8, (1, 1)))
    (block,) = find(b.graph())
    assert block.add is None and block.output == block.project.outputs[0]
