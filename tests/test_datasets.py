"""The watch data: counts, split by subject, values equal to the source, and standardization."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_gru_plus import datasets

SEGLEARN = importlib.util.find_spec("seglearn")

pytestmark = pytest.mark.skipif(SEGLEARN is None, reason="the data is inside seglearn")


@pytest.fixture(scope="module")
def source():
    path = Path(SEGLEARN.submodule_search_locations[0], "data", "watch_dataset.npy")
    return np.load(path, allow_pickle=True).item()


@pytest.fixture(scope="module")
def data():
    return datasets.watch_activity()


def splits(data):
    return {"train": data.train, "validation": data.validation, "test": data.test}


@pytest.mark.parametrize(
    ("name", "by_class"),
    [
        ("train", [287, 421, 430, 418, 416, 356, 341]),
        ("validation", [51, 89, 92, 82, 86, 56, 68]),
        ("test", [56, 84, 82, 70, 68, 58, 64]),
    ],
)
def test_counts_by_class(data, name, by_class):
    split = splits(data)[name]
    assert np.bincount(split.y).tolist() == by_class
    assert split.x.shape == (sum(by_class), 100, 6)
    assert split.subject.shape == split.y.shape == (len(split),)
    assert split.x.flags.c_contiguous
    assert (split.x.dtype, split.y.dtype, split.subject.dtype) == (np.float32, np.int64, np.int64)


def test_no_subject_is_in_two_splits(data):
    people = {name: sorted(set(split.subject.tolist())) for name, split in splits(data).items()}
    assert people == {"train": [1, 2, 3, 4, 5, 6], "validation": [7], "test": [8]}


@pytest.mark.parametrize(("window", "hop"), [(100, 50), (75, 100), (947, 100)])
def test_every_window_is_a_piece_of_its_recording(source, window, hop):
    data = datasets.watch_activity(window=window, hop=hop)
    position = dict.fromkeys(splits(data), 0)
    for recording, label, subject in zip(source["X"], source["y"], source["subject"], strict=True):
        name = {7: "validation", 8: "test", 9: None, 10: None}.get(int(subject), "train")
        for start in range(0, len(recording) - window + 1, hop) if name else ():
            split, i = splits(data)[name], position[name]
            assert (split.y[i], split.subject[i]) == (label, subject)
            np.testing.assert_array_equal(split.x[i], recording[start : start + window].astype(np.float32))
            position[name] += 1
    assert position == {name: len(split) for name, split in splits(data).items()}


def test_names_and_units(data):
    assert len(data.classes) == 7
    assert [channel.name for channel in data.channels] == ["ax", "ay", "az", "wx", "wy", "wz"]
    assert [channel.unit for channel in data.channels] == ["g"] * 3 + ["rad/s"] * 3
    assert data.rate == 50
    # The unit is g: at rest the acceleration is 1, and people are near rest most of the time.
    acceleration = np.linalg.norm(data.train.x[..., :3], axis=-1)
    assert 0.9 < np.median(acceleration) < 1.2


def test_standardized_by_the_training_split_alone(data):
    result = data.standardized()
    # Means are sums of 266,900 float32 values near 1.
    np.testing.assert_allclose(result.train.x.mean((0, 1), dtype=np.float64), 0, atol=1e-5)
    np.testing.assert_allclose(result.train.x.std((0, 1), dtype=np.float64), 1, atol=1e-5)
    for name, split in splits(result).items():
        original = splits(data)[name]
        assert split.x.dtype == np.float32
        np.testing.assert_array_equal(split.y, original.y)
        # One rounding in the subtraction, two back.
        np.testing.assert_allclose(split.x * result.std + result.mean, original.x, rtol=1e-6, atol=1e-5)
    assert data.mean is None
    with pytest.raises(ValueError, match="got one that is standardized already"):
        result.standardized()


def test_a_channel_that_never_changes_is_not_standardized(data):
    train = dataclasses.replace(data.train, x=data.train.x * np.float32([1, 1, 1, 1, 0, 1]))
    with pytest.raises(ValueError, match="Expected channels that vary over the train part, got constant wy"):
        dataclasses.replace(data, train=train).standardized()


def test_neighbours_in_other_people_tell_the_class(data):
    """Labels belong to their windows: the nearest training window's class is right far above chance (1/7)."""
    data = data.standardized()
    train, test = (split.x.reshape(len(split), -1) for split in (data.train, data.test))
    distance = (train**2).sum(1) - 2 * test @ train.T
    accuracy = np.mean(data.train.y[distance.argmin(1)] == data.test.y)
    # 77.4 % when written; ties in float32 may move one of 482 windows.
    assert accuracy == pytest.approx(0.774, abs=0.005)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"window": 0}, "Expected `window` to be 1 to 947, the shortest recording, got 0"),
        ({"window": 948}, "Expected `window` to be 1 to 947, the shortest recording, got 948"),
        ({"hop": 0}, "Expected `hop` to be at least 1, got 0"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.watch_activity(**arguments)


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "seglearn", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs seglearn: pip install 'keras-gru-plus\[demo\]'"):
        datasets.watch_activity()
