"""The data sets of a comparison: built-in ones by name, or a user's `.npz`; no Keras here."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_gru_plus import arrays, datasets
from keras_gru_plus.datasets import Dataset, Split

#: Parts of a data set in the order in which a split names them.
PARTS = ("train", "validation", "test")
#: Share of the training samples that validate where the file has no such part.
HELD_OUT = 0.15


@dataclasses.dataclass(frozen=True)
class Training:
    """How long and how fast to train.

    Attributes:
        epochs, fine_tuning: in float, and after that with fake quantization.
        learning_rate, fine_tuning_rate: at the start; both fall along a cosine.
        percentile: of the training windows' extremes that the ranges cover before fine-tuning.
        memory: time steps that MGU's gates start with, None for zero biases.
    """

    epochs: int = 20
    fine_tuning: int = 5
    learning_rate: float = 5e-3
    fine_tuning_rate: float = 1e-3
    percentile: float = 99.0
    memory: int | None = None

    def quick(self) -> Training:
        """A quarter of it, to see it work."""
        shorter = {"epochs": max(1, self.epochs // 4), "fine_tuning": max(1, self.fine_tuning // 3)}
        return dataclasses.replace(self, **shorter)


@dataclasses.dataclass(frozen=True)
class Task:
    """A data set ready to train on.

    Attributes:
        name: of the data set, or the file's.
        data: with all three parts; the inputs are standardized unless they need not be.
        unit: standard deviation of the targets of a forecast, which were divided by it; 1 for classes.
        training: what suits the data.
        note: what was done to the data, in a sentence.
    """

    name: str
    data: Dataset
    unit: float
    training: Training
    note: str

    @property
    def metric(self) -> str:
        """accuracy or mae."""
        return "accuracy" if self.data.classes else "mae"

    def fingerprint(self) -> str:
        """A hash of every number in it."""
        found = hashlib.sha256()
        for part in PARTS:
            split = getattr(self.data, part)
            for array in (split.x, split.y):
                found.update(f"{array.shape}{array.dtype}".encode())
                found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()[:16]


#: Of the windows' extremes: a knock on the watch is six times as large as all else, and a grid wide enough for it
#: would be too coarse for the rest (chosen on subject 7).
WATCH_PERCENTILE = 90.0


def watch() -> Dataset:
    """Watch activity, standardized; training windows overlap by 90 %, the others by half."""
    dense = datasets.watch_activity(hop=10).train
    return dataclasses.replace(datasets.watch_activity(), train=dense).standardized()


_BUILT_IN: dict[str, tuple[Callable[[], Dataset], Training, str]] = {
    "digits": (datasets.digits_rows, Training(40, 8, 1e-2), "pixels from -1 to 1"),
    "watch": (watch, Training(8, 3, percentile=WATCH_PERCENTILE, memory=30), "standardized by channel"),
    "spoken": (
        lambda: datasets.spoken_digits(timesteps=24).standardized(),
        Training(20, 4, 1e-2),
        "24 frames of each recording, standardized by channel",
    ),
    "mnist": (datasets.mnist_rows, Training(20, 5), "pixels from -1 to 1"),
    "ecg": (datasets.ecg, Training(40, 10), "beats of mean 0 and deviation 1"),
    "keywords": (lambda: datasets.keywords().standardized(), Training(20, 5), "standardized by channel"),
    "demand": (lambda: datasets.demand().standardized(), Training(20, 5), "standardized by channel"),
}
NAMES = tuple(_BUILT_IN)


def load(source: str, *, split: str | None = None, standardize: bool = True) -> Task:
    """A built-in data set by name, or a `.npz` file.

    Args:
        source: one of `NAMES`, or a file with x_train, y_train, x_test, y_test (and x_validation, y_validation), or
            with x, y and a `split`. x is `(samples, timesteps, features)`; y is whole numbers, a class each, or real
            numbers `(samples,)` or `(samples, outputs)`.
        split: shares of train, validation and test in percent, such as "70,15,15", for a file with x and y: the
            first, next and last samples of each class (of the file, for forecasts).
        standardize: bring the inputs of a file to mean 0 and deviation 1 over its training part, by channel.

    Raises:
        ValueError: no such data set, or a file that is no such file; names what is missing.
        ImportError: the package that has the data is not installed.
    """
    if source in _BUILT_IN:
        if split is not None:
            raise ValueError(f"Expected `--split` for a file with x and y, got it for the data set {source!r}.")
        make, training, note = _BUILT_IN[source]
        try:
            return _task(source, make(), training, note)
        except ModuleNotFoundError as error:  # which says what to install for it
            raise ImportError(str(error)) from None
    path = Path(source)
    if path.suffix != ".npz" or not path.is_file():
        raise ValueError(f"Expected data to be one of {', '.join(NAMES)} or a .npz file, got {source!r}.")
    content = arrays.read(path)
    if not isinstance(content, dict):
        raise ValueError(f"Expected {path.name} to be a .npz file with several arrays, got a single one.")
    pieces, note = _parts(path.name, content, split)
    data = _dataset(path.name, pieces)
    if standardize:
        data, note = _standardized(data), note + "; standardized by channel"
    return _task(path.name, data, Training(), note)


def _task(name: str, data: Dataset, training: Training, note: str) -> Task:
    if data.classes:
        return Task(name, data, 1.0, training, note)
    mean, unit = float(data.train.y.mean()), float(data.train.y.std()) or 1.0

    def scaled(part: Split) -> Split:
        return dataclasses.replace(part, y=((part.y - mean) / unit).astype(np.float32))

    changed: dict[str, Any] = {part: scaled(getattr(data, part)) for part in PARTS}
    return Task(name, dataclasses.replace(data, **changed), unit, training, note)


def _parts(name: str, arrays: Mapping[str, Any], split: str | None) -> tuple[dict[str, tuple[Any, Any]], str]:
    """(x, y) of each part, and how they came about."""
    whole = {"x", "y"} <= set(arrays)
    if whole and split is None and "x_train" not in arrays:
        raise ValueError(f"Expected `--split`, such as 70,15,15, for {name}, which has x and y only, got none.")
    if split is not None:
        if not whole:
            raise ValueError(f"Expected x and y in {name} for `--split`, got {', '.join(arrays) or 'nothing'}.")
        shares = _shares(split)
        _check_ends(name, "all", arrays["x"], arrays["y"])
        cut = _cut(arrays["x"], arrays["y"], shares)
        note = f"split {split}: first, next and last samples of each class"
        return dict(zip(PARTS, cut)), note if _is_classes(arrays["y"]) else f"split {split} in the file's order"
    keys = [f"{end}_{part}" for part in ("train", "test") for end in "xy"]
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise ValueError(
            f"Expected {', '.join(keys)} (or x and y, with --split) in {name}, got {', '.join(arrays) or 'nothing'}; "
            f"{', '.join(missing)} missing."
        )
    pieces = {part: (arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test")}
    if {"x_validation", "y_validation"} <= set(arrays):
        return {**pieces, "validation": (arrays["x_validation"], arrays["y_validation"])}, "parts as in the file"
    x, y = pieces["train"]
    _check_ends(name, "train", x, y)
    train, validation, _ = _cut(x, y, (1 - HELD_OUT, HELD_OUT, 0.0))
    note = f"the last {HELD_OUT:.0%} of the training samples, class by class, validate"
    return {"train": train, "validation": validation, "test": pieces["test"]}, note


def _shares(split: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(part) / 100 for part in split.split(","))
    except ValueError:
        shares = ()
    if len(shares) != 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"Expected `--split` to be three shares that make 100, such as 70,15,15, got {split!r}.")
    return shares


def _is_classes(y: Any) -> bool:
    return bool(y.dtype.kind in "iub")


def _cut(x: Any, y: Any, shares: tuple[float, ...]) -> list[tuple[Any, Any]]:
    """First, next and last samples, class by class where there are classes."""
    groups = [np.flatnonzero(y == value) for value in np.unique(y)] if _is_classes(y) else [np.arange(len(y))]
    chosen: list[list[Any]] = [[], [], []]
    for group in groups:
        edges = np.rint(np.cumsum(shares)[:2] * len(group)).astype(int)
        for own, some in zip(chosen, np.split(group, edges)):
            own.append(some)
    order = [np.sort(np.concatenate(own)) for own in chosen]
    return [(x[own], y[own]) for own in order]


def _check_ends(name: str, part: str, x: Any, y: Any) -> None:
    if x.ndim != 3 or not len(x) or x.dtype.kind not in "fiu":
        got = f"{x.dtype} {x.shape}"
        raise ValueError(f"Expected x of {part} in {name} to be numbers (samples, timesteps, features), got {got}.")
    if len(y) != len(x) or y.ndim > (1 if _is_classes(y) else 2) or y.dtype.kind not in "fiub":
        raise ValueError(
            f"Expected y of {part} in {name} to be a class (whole number) or real numbers for {len(x)} samples, "
            f"got {y.dtype} {y.shape}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError(f"Expected only finite numbers in {part} of {name}, got NaN or infinity.")


def _dataset(name: str, pieces: Mapping[str, tuple[Any, Any]]) -> Dataset:
    splits = {}
    for part in PARTS:
        x, y = (np.asarray(array) for array in pieces[part])
        _check_ends(name, part, x, y)
        splits[part] = Split(x.astype(np.float32), y.astype(np.int64 if _is_classes(y) else np.float32))
    shapes = {part: (split.x.shape[1:], split.y.shape[1:], split.y.dtype) for part, split in splits.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"Expected the parts of {name} to have samples of one shape and kind, got {shapes}.")
    classes: tuple[str, ...] = ()
    if splits["train"].y.dtype == np.int64:
        seen = np.unique(np.concatenate([split.y for split in splits.values()]))
        if seen[0] < 0 or len(seen) < 2:
            raise ValueError(f"Expected two classes or more, counted from 0, in {name}, got {seen[:5].tolist()}.")
        classes = tuple(str(number) for number in range(int(seen[-1]) + 1))
    channels = tuple(datasets.Channel(f"feature {i}", "1") for i in range(splits["train"].x.shape[2]))
    train, validation, test = (splits[part] for part in PARTS)
    return Dataset(train, validation, test, classes, channels, None, "NOASSERTION", name)


def _standardized(data: Dataset) -> Dataset:
    """As `Dataset.standardized`, for files that may have a channel that never changes."""
    constant = np.flatnonzero(data.train.x.std((0, 1)) == 0)
    if constant.size:
        names = ", ".join(str(int(i)) for i in constant)
        raise ValueError(
            f"Expected features that vary over the training samples, got constant ones: {names}; "
            "remove them, or standardize yourself (--no-standardize)."
        )
    return data.standardized()
