"""Smartwatch recordings of shoulder exercises, inside seglearn."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .base import Channel, Dataset, Split, installed_file

_CLASSES = {
    "PEN": "pendulum",
    "ABD": "abduction",
    "FEL": "forward elevation",
    "IR": "internal rotation",
    "ER": "external rotation",
    "TRAP": "lower trapezius row",
    "ROW": "bent-over row",
}

_CHANNELS = tuple(Channel(name, "g") for name in ("ax", "ay", "az")) + tuple(
    Channel(name, "rad/s") for name in ("wx", "wy", "wz")
)


def watch_activity(*, window: int = 100, hop: int = 50) -> Dataset:
    """Load windows of seven shoulder exercises, as a smartwatch's accelerometer and gyroscope saw them.

    140 recordings of 19 to 52 s at 50 Hz: ten people did each exercise with each arm. Train is subjects
    1 to 6, validation 7, test 8; 9 and 10 stay unused.

    Licence: BSD-3-Clause as part of seglearn.

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
    path = installed_file(
        "seglearn",
        "data",
        "watch_dataset.npy",
        loader="watch_activity",
        install="seglearn: pip install 'keras-gru-plus[demo]'",
    )
    # A pickle can run code: allowed for this file of an installed, pinned package and for no other.
    content = np.load(path, allow_pickle=True).item()
    names = (tuple(content["y_labels"]), tuple(content["X_labels"]))
    expected = (tuple(_CLASSES), tuple(channel.name for channel in _CHANNELS))
    if names != expected:
        raise ValueError(f"Expected seglearn's data to have the labels {expected}, got {names}; try seglearn==1.2.5")
    return content["X"], content["y"], content["subject"]
