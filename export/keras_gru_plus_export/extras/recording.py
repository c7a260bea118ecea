"""A signal for extra `web` to play."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_gru_plus.arrays import read

Array = np.ndarray[Any, Any]
#: Time steps of samples that stand in for a recording.
ROWS = 1500
_KEYS = ("x", "y", "rate", "channels", "units", "mean", "std", "title", "note")


@dataclasses.dataclass(frozen=True)
class Recording:
    """A signal, and how it becomes what the model takes: `(x - mean) / std`.

    Attributes:
        x: `(timesteps, features)`, float32, in `units`.
        y: class of each time step, whole numbers, or None.
        rate: time steps a second.
        channels, units: name and unit of each feature.
        mean, std: `(features,)`, float32, in `units`.
        title, note: what the page says of it.
    """

    x: Array
    y: Array | None
    rate: float
    channels: list[str]
    units: list[str]
    mean: Array
    std: Array
    title: str
    note: str


def load_recording(path: str | os.PathLike[str]) -> Recording:
    """Reads `.npy` with the signal alone, or `.npz` with `x` and any of `made`'s other keys.

    Raises:
        ValueError: no such file, or one that holds no recording.
    """
    name = os.fspath(path)
    try:
        loaded = read(Path(path))
    except ValueError as error:
        raise ValueError(f"Expected a recording (.npz or .npy). {error}") from None
    content = loaded if isinstance(loaded, dict) else {"x": loaded}
    unknown = sorted(set(content) - set(_KEYS))
    if "x" not in content or unknown:
        raise ValueError(
            f"Expected a recording with x and any of {', '.join(_KEYS[1:])}, got {', '.join(content)} in {name!r}."
        )
    return made(content, name)


def made(content: Mapping[str, Any], name: str) -> Recording:
    """A checked recording of arrays by key; what is not there gets a plain default.

    Raises:
        ValueError: shapes or numbers that do not fit.
    """
    x = np.asarray(content["x"])
    if x.ndim != 2 or not x.size or x.dtype.kind not in "fiu":
        raise ValueError(f"Expected x to be numbers (timesteps, features), got {x.dtype} {x.shape} in {name!r}.")
    features = x.shape[1]
    numbers = {
        key: np.asarray(content.get(key, np.full(features, default)), np.float32)
        for key, default in (("mean", 0), ("std", 1))
    }
    words = {
        key: [str(word) for word in np.asarray(content.get(key, default)).ravel()]
        for key, default in (("channels", [f"x{i}" for i in range(features)]), ("units", [""] * features))
    }
    for key, value in [*numbers.items(), *((key, np.asarray(value)) for key, value in words.items())]:
        if value.shape != (features,):
            raise ValueError(f"Expected {key} to have {features} entries as x has columns, got {value} in {name!r}.")
    y = content.get("y")
    if y is not None and (np.shape(y) != (len(x),) or np.asarray(y).dtype.kind not in "iu"):
        raise ValueError(f"Expected y to be a whole number for each of {len(x)} rows of x, got others in {name!r}.")
    rate = float(content.get("rate", 50))
    finite = all(np.isfinite(array).all() for array in (x, *numbers.values()))
    if not finite or not (numbers["std"] > 0).all() or not 0 < rate < 1e5:
        raise ValueError(f"Expected finite numbers, std above 0 and rate above 0, got others in {name!r}.")
    return Recording(
        x=x.astype(np.float32),
        y=None if y is None else np.asarray(y),
        rate=rate,
        channels=words["channels"],
        units=words["units"],
        mean=numbers["mean"],
        std=numbers["std"],
        title=str(content.get("title", "Recording")),
        note=str(content.get("note", "")),
    )


def of_samples(samples: Array) -> Recording:
    """The first samples `(samples, timesteps, features)` one after the other, where there is no recording."""
    count = max(1, ROWS // samples.shape[1])
    x = samples[:count].reshape(-1, samples.shape[-1])
    return made({"x": x, "title": f"{min(count, len(samples))} samples, one after the other"}, "samples")
