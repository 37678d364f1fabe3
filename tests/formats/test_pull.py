"""The tuned network comes home: what the board computes, TensorFlow Lite's reference kernels compute."""

import numpy as np
import pytest
from methods import needs
from models import Builder
from trimtab_tools.boards import simulated, train
from trimtab_tools.boards.progress import Lines
from trimtab_tools.boards.pull import pull
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.compiler.package_reading import Contents
from trimtab_tools.formats import read_tflite, write_tflite
from trimtab_tools.samples import synthetic

SAMPLES = 40


def model(seed=3):
    b = Builder((8, 8, 2), seed=seed)
    b.conv(6, act="relu6")
    skip = b.x
    b.depthwise(act="relu6")
    b.conv(6, (1, 1))
    b.add(skip, b.x)
    b.conv(8, (3, 3), (2, 2), act="relu")
    b.dense(5)
    return write_tflite.write(b.graph())


def interpreter(data):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    made = Interpreter(
        model_content=data,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    made.allocate_tensors()
    return made


def trained(policy, steps=30, **options):
    made = compiler.compile_graph(
        read_tflite.read(model()), policy, rate=0.02, **options, kernels=simulated.best_tier()
    )
    net = simulated.load(made.data, simulated.best_tier())
    net.begin(steps)
    for i in range(steps):
        x, label, _ = synthetic(7, 2 * i, net.input_bytes, net.classes)
        net.input_view[:] = x
        net.train_input(label)
    return made, net


def state_of(net):
    state = bytearray(net.state_bytes)
    assert net.read_state(0, memoryview(state)) == len(state)
    return bytes(state)


@pytest.mark.parametrize(
    "policy, options",
    [
        ("last", {"classes": 4}),
        ("bias", {"labels": ("a", "b", "c")}),
        ("full", {"classes": 4}),
        ("full", {}),
        pytest.param("mobiletl", {"classes": 4}, marks=needs("mobiletl")),
        ("full", {"classes": 4, "head": "prototype"}),
    ],
)
def test_tuned_model_computes_what_the_board_computes(policy, options):
    made, net = trained(policy, **options)
    contents = Contents(made.data, state_of(net))
    lite = interpreter(contents.tflite())
    x_in, y_out = lite.get_input_details()[0]["index"], lite.get_output_details()[0]["index"]
    names = {d["name"]: d["index"] for d in lite.get_tensor_details()}
    features = made.plan.head.features
    place = made.program.activations[features]
    changed = 0
    for i in range(SAMPLES):
        x, _, _ = synthetic(9, 2 * i, net.input_bytes, net.classes)
        net.input_view[:] = x
        best = net.classify_input()
        ours = np.frombuffer(bytes(net.span(place.offset, place.size)), np.int8)
        logits = np.array(net.outputs())
        lite.set_tensor(x_in, np.frombuffer(x, np.int8).reshape(made.trunk[made.trunk.inputs[0]].shape))
        lite.invoke()
        assert np.array_equal(lite.get_tensor(names[features]).ravel(), ours)
        theirs = lite.get_tensor(y_out).ravel()
        p = np.exp(logits - logits.max())
        assert np.abs(theirs - p / p.sum()).max() <= 1 / 256
        if np.sum(logits == logits.max()) == 1:
            assert theirs.argmax() == best
        changed += best != 0
    assert changed, "the head never learnt to say anything but class 0"


def test_partial_weights_go_back_into_their_channels():
    made, net = trained("full", classes=4)
    before, after = Contents(made.data).graph(), Contents(made.data, state_of(net)).graph()
    moved = [
        n for n in before.tensors if before[n].constant and not np.array_equal(before[n].data, after[n].data)
    ]
    assert len(moved) == 8  # weights and biases of four layers


def test_untrained_package_gives_the_model_back():
    graph = read_tflite.read(model())
    again = Contents(
        compiler.compile_graph(graph, "bias", classes=4, kernels=simulated.best_tier()).data
    ).graph()
    for op in again.ops:
        for name in op.inputs:
            if again[name].constant:
                assert np.array_equal(again[name].data, graph[name].data), name


def test_pull_through_a_board(tmp_path):
    package = tmp_path / "net.ttp"
    package.write_bytes(
        compiler.compile_graph(
            read_tflite.read(model()), "bias", labels=("a", "b", "c"), kernels=simulated.best_tier()
        ).data
    )
    rng = np.random.RandomState(0)
    np.savez(
        tmp_path / "d.npz", x=rng.randint(0, 256, (20, 8, 8, 2)).astype(np.uint8), y=rng.randint(0, 3, 20)
    )
    train.train(package, tmp_path / "d.npz", epochs=2, out=Lines(True))
    size = pull(package, "sim", tmp_path / "tuned.tflite")
    assert size == (tmp_path / "tuned.tflite").stat().st_size
    assert interpreter((tmp_path / "tuned.tflite").read_bytes()).get_output_details()[0][
        "shape"
    ].tolist() == [1, 3]
