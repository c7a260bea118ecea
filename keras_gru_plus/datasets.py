"""Real sequence data that comes inside an installed package: nothing is downloaded."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_CLASSES = {
    "PEN": "pendulum",
    "ABD": "abduction",
    "FEL": "forward elevation",
    "IR": "internal rotation",
    "ER": "external rotation",
    "TRAP": "lower trapezius row",
    "ROW": "bent-over row",
}


class Channel(NamedTuple):
    """Name and unit of one feature."""

    name: str
    unit: str


_CHANNELS = tuple(Channel(name, "g") for name in ("ax", "ay", "az")) + tuple(
    Channel(name, "rad/s") for name in ("wx", "wy", "wz")
)


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Windows of one part of a data set, in the order of the recordings.

    Args:
        x: Windows, `(n, timesteps, features)` float32.
        y: Class of each window, `(n,)` int64.
        subject: Person that each window was recorded from, `(n,)` int64.
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.int64]
    subject: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Windows of sequences with one class each, split into train, validation and test.

    Args:
        train: To fit on.
        validation: To choose by.
        test: To report.
        classes: Name of each class; `y` indexes it.
        channels: Name and unit of each feature.
        rate: Time steps per second, in Hz.
        licence: SPDX identifier.
        citation: Publication that describes the data.
        mean: What `standardized` subtracted, `(features,)` float32 in the channels' units, else None.
        std: What it divided by, likewise.
    """

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    channels: tuple[Channel, ...]
    rate: float
    licence: str
    citation: str
    mean: npt.NDArray[np.float32] | None = None
    std: npt.NDArray[np.float32] | None = None

    def standardized(self) -> Dataset:
        """Return the data as `(x - mean) / std`, with mean and deviation of each channel over `train`.

        A device must do the same to its readings, so both are kept in the result.

        Raises:
            ValueError: If the data is standardized already.
        """
        if self.mean is not None:
            raise ValueError("Expected a data set in its own units, got one that is standardized already")
        mean = self.train.x.mean((0, 1), dtype=np.float64).astype(np.float32)
        std = self.train.x.std((0, 1), dtype=np.float64).astype(np.float32)

        def scaled(split: Split) -> Split:
            return dataclasses.replace(split, x=(split.x - mean) / std)

        return dataclasses.replace(
            self,
            train=scaled(self.train),
            validation=scaled(self.validation),
            test=scaled(self.test),
            mean=mean,
            std=std,
        )


def watch_activity(*, window: int = 100, hop: int = 50) -> Dataset:
    """Load windows of seven shoulder exercises, as a smartwatch's accelerometer and gyroscope saw them.

    140 recordings of 19 to 52 s at 50 Hz: ten people did each exercise with each arm. Train is subjects
    1 to 6, validation 7, test 8; 9 and 10 stay unused.

    Args:
        window: Time steps in a window, at 50 Hz: the default is 2 s.
        hop: Time steps from one window to the next of a recording.

    Raises:
        ModuleNotFoundError: If seglearn, which contains the data, is not installed.
        ValueError: If `hop` is not positive, or `window` not between 1 and the shortest recording.

    Source: Burns et al. 2018, doi:10.1088/1361-6579/aacfd9.

    Example:
        >>> data = watch_activity()
        >>> data.train.x.shape
        (2669, 100, 6)
        >>> data.classes[data.test.y[0]]
        'forward elevation'
    """
    recordings, labels, subjects = _read_watch()
    shortest = min(map(len, recordings))
    if not 1 <= window <= shortest:
        raise ValueError(f"Expected `window` to be 1 to {shortest}, the shortest recording, got {window}")
    if hop < 1:
        raise ValueError(f"Expected `hop` to be at least 1, got {hop}")

    def split(people: tuple[int, ...]) -> Split:
        chosen = np.flatnonzero(np.isin(subjects, people))
        windows = [
            np.lib.stride_tricks.sliding_window_view(recordings[i], window, axis=0)[::hop].swapaxes(1, 2)
            for i in chosen
        ]
        counts = [len(w) for w in windows]
        return Split(
            x=np.concatenate(windows).astype(np.float32, order="C"),
            y=np.repeat(labels[chosen], counts).astype(np.int64),
            subject=np.repeat(subjects[chosen], counts).astype(np.int64),
        )

    return Dataset(
        # Whole subjects, so that a model is tested on a person it has never seen. 9 and 10 are kept back.
        train=split((1, 2, 3, 4, 5, 6)),
        validation=split((7,)),
        test=split((8,)),
        classes=tuple(_CLASSES.values()),
        channels=_CHANNELS,
        rate=50.0,
        licence="BSD-3-Clause",
        citation=(
            "D. M. Burns, N. Leung, M. Hardisty, C. M. Whyne, P. Henry, S. McLachlin: Shoulder physiotherapy "
            "exercise recognition: machine learning the inertial signals from a smartwatch. "
            "Physiological Measurement 39(7), 2018, 075007. doi:10.1088/1361-6579/aacfd9"
        ),
    )


def _read_watch() -> tuple[list[npt.NDArray[Any]], npt.NDArray[Any], npt.NDArray[Any]]:
    """Return recordings `(timesteps, 6)`, their classes and their subjects."""
    # Found without importing seglearn: that takes scikit-learn, and pandas, which seglearn does not ask for.
    spec = importlib.util.find_spec("seglearn")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "watch_activity needs seglearn: pip install 'keras-gru-plus[demo]'", name="seglearn"
        )
    path = Path(spec.submodule_search_locations[0], "data", "watch_dataset.npy")
    # A pickle can run code: allowed for this file of an installed, pinned package and for no other.
    content = np.load(path, allow_pickle=True).item()
    names = (tuple(content["y_labels"]), tuple(content["X_labels"]))
    expected = (tuple(_CLASSES), tuple(channel.name for channel in _CHANNELS))
    if names != expected:
        raise ValueError(f"Expected seglearn's data to have the labels {expected}, got {names}; try seglearn==1.2.5")
    return content["X"], content["y"], content["subject"]
