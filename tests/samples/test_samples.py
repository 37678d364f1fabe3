"""Data: what is accepted, what is refused and how, and the order of samples that every host must share."""

import types

import numpy as np
import pytest
from PIL import Image
from trimtab_tools.errors import DataError
from trimtab_tools.samples import (
    indices,
    load,
    order,
    outside,
    quantize,
    random_words,
    raw_map,
    samples,
    synthetic,
    xorshift32,
)

LABELS = ("cat", "dog")


def npz(folder, **arrays):
    path = folder / "d.npz"
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16, np.float32, np.float64])
def test_npz_kinds(tmp_path, dtype):
    path = npz(tmp_path, x=np.arange(24).reshape(2, 12).astype(dtype), y=[1, 0])
    x, y, names = load(path, LABELS, (2, 2, 3))
    assert x.shape == (2, 2, 2, 3) and y.tolist() == [1, 0] and names == LABELS
    assert x.dtype == (np.float32 if dtype().dtype.kind == "f" else dtype)
    one = samples(x, y, 0.5, -3)(0)
    values = np.arange(12) * 2 - 3 if x.dtype == np.float32 else np.arange(12)
    assert one == (values.astype(np.int8).tobytes(), 1, dtype is np.uint8)


def test_names_are_looked_up_in_the_package(tmp_path):
    path = npz(tmp_path, x=np.zeros((3, 4), np.int8), y=["dog", "cat", "dog"])
    assert load(path, LABELS)[1].tolist() == [1, 0, 1]


def test_a_split_in_the_file(tmp_path):
    path = npz(tmp_path, x=np.arange(4, dtype=np.int8).reshape(4, 1), y=[0, 1, 0, 1], split=[0, 1, 1, 0])
    assert load(path, LABELS, split="train")[0].ravel().tolist() == [0, 3]
    assert load(path, LABELS, split="val")[1].tolist() == [1, 0]


@pytest.mark.parametrize(
    "arrays, sentence",
    [
        (dict(y=[0]), "has no key x"),
        (dict(x=np.zeros((2, 4), np.int8), y=[0]), "2 samples and 1 labels"),
        (dict(x=np.zeros((1, 4), np.int16), y=[0]), "x is int16, samples are uint8"),
        (dict(x=np.zeros((1, 4), np.int8), y=[2]), "label 2 is not in the package: it has 2 classes"),
        (dict(x=np.zeros((1, 4), np.int8), y=[-1]), "label -1 is not in the package"),
        (dict(x=np.zeros((1, 4), np.int8), y=["cow"]), "label 'cow' is not in the package: it has cat, dog"),
        (dict(x=np.zeros((1, 4), np.int8), y=[0.5]), "labels are float64"),
        (dict(x=np.zeros((1, 4), np.int8), y=[[0, 1]]), "give one integer or name for each sample"),
        (dict(x=np.zeros((1, 5), np.int8), y=[0]), "a sample is 5, the package takes 2x2x1"),
        (dict(x=np.array([{}]), y=[0]), "cannot be read as .npz"),
    ],
)
def test_what_is_refused(tmp_path, arrays, sentence):
    with pytest.raises(DataError, match=sentence):
        load(npz(tmp_path, **arrays), LABELS, (2, 2, 1))


def test_files_that_are_not_there_or_not_what_they_seem(tmp_path):
    with pytest.raises(DataError, match="neither an .npz file nor a folder"):
        load(tmp_path / "nothing.npz")
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(DataError, match="cannot be read as .npz|neither"):
        load(tmp_path / "d.npz")


def pictures(folder):
    for name, colour in (("cat", (255, 0, 0)), ("dog", (0, 0, 255))):
        (folder / name).mkdir()
        for i in range(2):
            Image.new("RGB", (20 + i, 10), colour).save(folder / name / f"{i}.png")
    return folder


def test_folders_of_images(tmp_path):
    x, y, names = load(pictures(tmp_path), ("dog", "cat"), (4, 6, 3))
    assert x.shape == (4, 4, 6, 3) and x.dtype == np.uint8 and names == ("dog", "cat")
    assert y.tolist() == [1, 1, 0, 0]
    assert x[0, 0, 0].tolist() == [255, 0, 0] and x[3, 3, 5].tolist() == [0, 0, 255]
    assert load(tmp_path, (), (4, 6, 1))[0].shape == (4, 4, 6, 1)


def test_folders_that_do_not_fit(tmp_path):
    with pytest.raises(DataError, match="holds no class folders"):
        load(tmp_path, LABELS, (4, 4, 3))
    pictures(tmp_path)
    with pytest.raises(DataError, match="label 'dog' is not in the package: it has cat, cow"):
        load(tmp_path, ("cat", "cow"), (4, 4, 3))
    with pytest.raises(DataError, match="images do not fit a package that takes 49x10"):
        load(tmp_path, LABELS, (49, 10))
    (tmp_path / "cat" / "0.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="0.png cannot be read as an image"):
        load(tmp_path, LABELS, (4, 4, 3))


def test_half_is_rounded_away_from_zero():
    assert quantize([0.25, -0.25, 0.75, 100, -100], 0.5, 10).tolist() == [11, 9, 12, 127, -128]


def test_raw_bytes_as_a_package_maps_them():
    tensor = types.SimpleNamespace(scale=[0.5], zero_point=-10)
    assert raw_map(tensor).tolist() == list(range(-128, 128))
    mapped = raw_map(tensor, (-1.0, 50.0))  # raw n stands for n / 5 - 1
    assert mapped[[0, 5, 10, 255]].tolist() == [-12, -10, -8, 90]
    assert raw_map(tensor, (0, 255))[255] == 127  # what is out of range saturates


def test_the_first_label_that_is_no_class():
    assert outside([0, 3, 7, 9], 4) == 7 and outside([2, -1], 4) == -1
    assert outside([0, 3], 4) is None and outside([7], None) is None


def test_integers_without_a_label_list():
    assert indices([0, 9], (), 10).tolist() == [0, 9]
    with pytest.raises(DataError, match="label 10 is not in the package: it has 10 classes"):
        indices([10], (), 10)


def test_the_generator_and_what_is_made_of_it():
    # Marsaglia's xorshift32 (13, 17, 5) from 1
    assert [xorshift32(1), xorshift32(xorshift32(1))] == [270369, 67634689]
    state = 1
    for _ in range(1000):
        state = xorshift32(state)
        assert 0 < state < 2**32
    assert synthetic(0, 0, 2, 9) == (bytes([270369 & 255, 67634689 & 255]), 2647435461 % 9, False)
    assert synthetic(1, 2, 8, 5) != synthetic(1, 4, 8, 5)


@pytest.mark.parametrize("n", [1, 2, 3, 64, 1000])
def test_numbers_by_leaps_are_those_one_by_one(n):
    for state in (1, 2654435761, 0xFFFFFFFF):
        words = random_words(state, n)
        for word in words:
            state = xorshift32(state)
            assert word == state


def test_order_is_a_permutation_that_seed_and_epoch_decide():
    orders = [tuple(order(50, seed, epoch)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9
    assert all(sorted(one) == list(range(50)) for one in orders)
    assert order(50, 1, 2) == order(50, 1, 2)
    # seed 0, epoch 0 draws 270369, 67634689, 2647435461: 270369 % 4 = 1, 67634689 % 3 = 1, 2647435461 % 2 = 1
    assert order(4, 0, 0) == [0, 2, 3, 1]  # 3 and 1 change places, then 2 and 1
