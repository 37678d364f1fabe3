"""The published checkpoints: the same graph from both files, dead channels exact, as good as they were."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
from helpers import assets, tier
from trimtab_tools import cli
from trimtab_tools.boards import simulated
from trimtab_tools.compiler import compile
from trimtab_tools.errors import ModelError
from trimtab_tools.formats import read_checkpoint
from trimtab_tools.operators import oracle

NAMES = ("mcunet-5fps", "mbv2-w0.35", "proxyless-w0.3")
RIGHT_OF_100 = {"mcunet-5fps": 58, "mbv2-w0.35": 57, "proxyless-w0.3": 58}  # of all 1000: 573, 498, 529


def path(name, suffix=".npz"):
    return assets() / "tiny_training" / (name + suffix)


def photos(n):
    """The first photographs of the ImageNet sample, one of each class in order: int8 (n, 128, 128, 3)."""
    from PIL import Image

    with np.load(assets() / "images" / "imagenet_sample1000_128.npz") as z:
        data, at = z["jpeg"].tobytes(), z["offset"]
    pixels = [np.asarray(Image.open(io.BytesIO(data[at[i] : at[i + 1]])).convert("RGB")) for i in range(n)]
    return (np.stack(pixels).astype(np.int16) - 128).astype(np.int8)


@pytest.mark.parametrize("name", NAMES)
def test_both_files_give_one_graph(name):
    a, b = (read_checkpoint.read(path(name, suffix)) for suffix in (".npz", ".pkl"))
    assert a.ops and [(o.kind, o.name, o.inputs, o.outputs, o.attrs) for o in a.ops] == [
        (o.kind, o.name, o.inputs, o.outputs, o.attrs) for o in b.ops
    ]
    for x, y in zip(a.tensors.values(), b.tensors.values(), strict=True):
        assert (x.name, x.shape, x.dtype, x.zero_point) == (y.name, y.shape, y.dtype, y.zero_point)
        assert np.array_equal(x.scale, y.scale) and np.array_equal(x.data, y.data)


@pytest.mark.parametrize("name", NAMES)
def test_top_1_of_the_integer_forward(name):
    graph = read_checkpoint.read(path(name))
    x = photos(100)
    c = compile.compile_inference(graph, kernels=tier("c"))
    net = simulated.load(c.data, tier("c"))
    right = 0
    for i, sample in enumerate(x):
        net.input_view[:] = sample.tobytes()
        net.classify_input()
        at = c.program.output.offset
        scores = np.frombuffer(bytes(net.arena[at : at + 1000]), np.int8)
        right += int(scores.argmax() == i)
        if i == 0:
            assert np.array_equal(scores, oracle.forward(graph, x[:1])[graph.outputs[0]][0])
    assert right == RIGHT_OF_100[name]


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_those_of_float_requantization(name):
    """Rounding differs by single steps, so that some close calls fall the other way."""
    with np.load(path("golden_imagenet_sample")) as golden:
        pooled = golden[f"{name}.pooled_int8_first16"][:4]
    graph = read_checkpoint.read(path(name))
    found = oracle.forward(graph, photos(4))["pool.out"].reshape(4, -1)
    assert np.abs(found.astype(int) - pooled).mean() < 1.5
    assert np.corrcoef(found.ravel(), pooled.ravel())[0, 1] > 0.99


def layers(tree):
    yield "first_conv", tree["first_conv"]
    for i, block in enumerate(tree["blocks"]):
        for part in read_checkpoint.BLOCK:
            if block[part] is not None:
                yield f"blocks.{i}.{part}", block[part]


@pytest.mark.parametrize("name, dead", [("mcunet-5fps", 59), ("mbv2-w0.35", 0), ("proxyless-w0.3", 31)])
def test_dead_channels_keep_their_output(name, dead):
    """A channel whose bias does not fit gives one value whatever comes in: the same one as in the file."""
    graph = read_checkpoint.read(path(name))
    seen = 0
    for layer, raw in layers(read_checkpoint._read_npz(path(name))):
        p, op = raw["params"], next(o for o in graph.ops if o.name == layer)
        w, b = graph[op.inputs[1]], graph[op.inputs[2]]
        assert np.abs(b.data.astype(np.int64)).max() <= 1 << 29
        ours = np.moveaxis(w.data, -1 if op.kind == "depthwise" else 0, 0).reshape(len(b.data), -1)
        theirs = p["weight"].reshape(len(b.data), -1)
        for o in np.flatnonzero(np.abs(p["bias"].astype(np.int64)) > 1 << 29):
            seen += 1
            before = outputs(theirs[o], p["bias"][o], p["w_scales"][o], p)
            assert before == outputs(ours[o], b.data[o], w.scale[o], p) and len(before) == 1
    assert seen == dead


def outputs(w, bias, scale, p):
    """The set of outputs at both ends of what the sum of products can be, after the clamp."""
    low, high = (
        np.minimum(w * (-128.0 - p["x_zero"]), w * (127.0 - p["x_zero"])),
        np.maximum(w * (-128.0 - p["x_zero"]), w * (127.0 - p["x_zero"])),
    )
    ends = np.array([low.sum(), high.sum()]) + int(bias)
    y = np.rint(ends * float(p["x_scale"]) * float(scale) / float(p["y_scale"])) + int(p["y_zero"])
    return set(np.clip(y, -128, 127))


def test_compile_and_plan_read_checkpoints(tmp_path, capsys):
    words = [str(path("mcunet-5fps")), "--policy", "sparse", "--scheme", "mcunet-49kb", "--classes", "10"]
    assert cli.main(["plan", *words, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["analytic_kb"]["mcunetv3"] == pytest.approx(49.8, abs=0.05)
    assert {u["layer"]: len(u["weight_channels"]) for u in row["updates"] if u["weight_channels"]} == {
        "blocks.8.pointwise1": 12,
        "blocks.9.pointwise1": 24,
        "blocks.10.pointwise1": 24,
    }
    assert len(row["updates"]) == 20
    assert cli.main(["compile", *words, "-o", str(tmp_path / "x.ttp")]) == 0
    net = simulated.load(str(tmp_path / "x.ttp"), tier("c"))
    assert net.self_test()


# -- refusals


def refused(file, data):
    file.write_bytes(data)
    with pytest.raises(ModelError) as e:
        read_checkpoint.read(file)
    assert "MCUNetV3" in str(e.value)
    return str(e.value)


def torch_zip(pickled):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("archive/data.pkl", pickled)
    return out.getvalue()


class Runs:
    def __init__(self, function, *words):
        self.call = function, words

    def __reduce__(self):
        return self.call


def test_a_pickle_that_runs_something_is_refused(tmp_path):
    mark = tmp_path / "mark"
    for call in (
        Runs(open, str(mark), "w"),
        Runs(eval, f"open({str(mark)!r}, 'w')"),
        Runs(getattr, 1, "real"),
    ):
        assert "wants to run" in refused(
            tmp_path / "bad.pkl", torch_zip(pickle.dumps({"first_conv": call}, 2))
        )
    assert not mark.exists()


@pytest.mark.parametrize(
    "array, part",
    [
        (np.array([None, {}], object), "type"),
        (np.zeros(3, "V4"), "type"),
        (np.zeros(3, ">i4"), "little-endian"),
    ],
)
def test_a_pickle_of_other_arrays_is_refused(tmp_path, array, part):
    assert part in refused(tmp_path / "bad.pkl", torch_zip(pickle.dumps({"first_conv": array}, 2)))


def test_broken_files_are_refused(tmp_path):
    refused(tmp_path / "a.pkl", b"not a zip file")
    refused(tmp_path / "b.pkl", torch_zip(pickle.dumps({"first_conv": 1}, 2)[:-3]))
    refused(tmp_path / "c.pkl", torch_zip(pickle.dumps([1, 2], 2)))
    refused(tmp_path / "d.npz", b"PK\x03\x04 cut")
    np.savez(tmp_path / "e.npz", x=np.zeros(3))
    refused(tmp_path / "e.npz", (tmp_path / "e.npz").read_bytes())
    with zipfile.ZipFile(tmp_path / "f.pkl", "w") as z:
        z.writestr("other.txt", "x")
    refused(tmp_path / "f.pkl", (tmp_path / "f.pkl").read_bytes())


def test_damaged_pickles_are_read_or_refused(tmp_path):
    with zipfile.ZipFile(path("mbv2-w0.35", ".pkl")) as z:
        whole = z.read("archive/data.pkl")
    rng, refusals = np.random.default_rng(1), 0
    for _ in range(40):
        data = bytearray(whole)
        for at in rng.integers(0, 6000, 2):
            data[at] = rng.integers(256)
        (tmp_path / "x.pkl").write_bytes(torch_zip(bytes(data)))
        try:
            read_checkpoint.read(tmp_path / "x.pkl")
        except ModelError:
            refusals += 1
    assert refusals > 20


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t["first_conv"].update(groups=2),
        lambda t: t["first_conv"]["params"].update(weight=np.zeros((16, 3, 3), np.int8)),
        lambda t: t["blocks"][2]["depthwise"]["params"].update(x_scale=0.5),
        lambda t: t["blocks"][2].update(se={}),
        lambda t: t.update(feature_mix=t["first_conv"]),
        lambda t: t["blocks"].pop(3),
        lambda t: t.pop("classifier"),
    ],
)
def test_trees_of_another_shape_are_refused(tmp_path, monkeypatch, change):
    tree = read_checkpoint._read_npz(path("mcunet-5fps"))
    change(tree)
    monkeypatch.setattr(read_checkpoint, "_read_npz", lambda _: tree)
    with pytest.raises(ModelError):
        read_checkpoint.read("changed.npz")


def test_a_scheme_of_another_network_is_refused(capsys):
    words = [str(path("mbv2-w0.35")), "--policy", "sparse", "--classes", "10"]
    for more, part in (
        (["--scheme", "mcunet-49kb"], "MCUNet-5fps"),
        (["--scheme", "mine"], "mcunet-49kb"),
        ([], "--scheme"),
    ):
        assert cli.main(["plan", *words, *more]) == 1
        said = capsys.readouterr().err.strip()
        assert part in said and "\n" not in said
