"""A tuned network as a Keras model: the layers of the original, the weights of the board."""

import numpy as np
import pytest
from helpers import fastest
from trimtab_tools import cli
from trimtab_tools.boards import simulated
from trimtab_tools.cli import demo
from trimtab_tools.compiler import compile as compiler
from trimtab_tools.compiler.package_reading import Contents
from trimtab_tools.errors import ModelError
from trimtab_tools.formats import read_tflite

pytestmark = pytest.mark.keras

keras = pytest.importorskip("keras")
PLAN = f"plan:{demo.EXAMPLE / 'plan.json'}"


@pytest.fixture(scope="module")
def folder():
    pytest.importorskip("tensorflow")
    return demo.pretrained()


def pictures(folder, name):
    with np.load(folder / f"{name}.npz") as file:
        return file["x"], file["y"]


def tuned(folder, path, policy, n=200, **options):
    """The demo's task on this machine; the package, its state beside it, the trained net."""
    import trimtab

    made = compiler.compile_graph(
        read_tflite.read(folder / "digits.tflite"),
        policy,
        name="digits",
        **options,
        kernels=simulated.best_tier(),
    )
    path.write_bytes(made.data)
    net = trimtab.load(str(path), fastest())
    x, y = pictures(folder, "train")
    net.fit([(x[i].tobytes(), int(y[i])) for i in range(n)])
    net.save()
    return net


def exported(folder, path):
    assert (
        cli.main(
            [
                "export",
                str(path),
                "--state",
                f"{path}.s0",
                "-o",
                f"{path}.keras",
                "--keras",
                str(folder / "digits.keras"),
            ]
        )
        == 0
    )
    return keras.models.load_model(f"{path}.keras")


@pytest.mark.parametrize(
    "policy, options",
    [
        (PLAN, {"rate": demo.RATE}),
        ("full", {}),
        ("last", {"labels": tuple("abcdefghij"), "max_classes": 12, "rate": 4e-3}),
    ],
)
def test_it_sees_what_the_board_sees(folder, tmp_path, policy, options):
    net = tuned(folder, tmp_path / "digits.ttp", policy, **options)
    model, original = (
        exported(folder, tmp_path / "digits.ttp"),
        keras.models.load_model(folder / "digits.keras"),
    )
    x, _ = pictures(folder, "test")
    ours = [net.predict(one.tobytes()) for one in x]
    ours = [net.labels.index(label) for label in ours] if net.labels else ours
    theirs, before = (m.predict(x / 255, verbose=0).argmax(1) for m in (model, original))
    assert np.mean(theirs == ours) >= 0.95
    assert np.mean(before == ours) < 0.9
    assert [layer.name for layer in model.layers] == [layer.name for layer in original.layers]


def test_what_was_not_trained_keeps_its_numbers(folder, tmp_path):
    tuned(folder, tmp_path / "digits.ttp", "bias:2", n=30)
    model, original = (
        exported(folder, tmp_path / "digits.ttp"),
        keras.models.load_model(folder / "digits.keras"),
    )
    moved = {
        layer.name
        for layer in original.layers
        if not all(map(np.array_equal, layer.get_weights(), model.get_layer(layer.name).get_weights()))
    }
    assert moved == {"digit", "features_norm", "late_project_norm"}


def test_refusals(folder, tmp_path):
    path = tmp_path / "digits.ttp"
    tuned(folder, path, "full", n=3)
    contents = Contents(path, simulate_state(path))
    with pytest.raises(ModelError, match="--keras FILE"):
        contents.write(str(tmp_path / "out.keras"))
    other = keras.models.clone_model(keras.models.load_model(folder / "digits.keras"))
    other.save(tmp_path / "other.keras")
    with pytest.raises(ModelError, match="other weights than the network before training"):
        contents.write(str(tmp_path / "out.keras"), str(tmp_path / "other.keras"))
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()]).save(tmp_path / "none.keras")
    with pytest.raises(ModelError, match="has no .* layer"):
        contents.write(str(tmp_path / "out.keras"), str(tmp_path / "none.keras"))
    assert not (tmp_path / "out.keras").exists()


def simulate_state(path):
    net = simulated.load(str(path))
    state = bytearray(net.state_bytes)
    net.train(bytes(64), 1)
    net.read_state(0, memoryview(state))
    return bytes(state)
