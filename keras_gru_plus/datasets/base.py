"""What every data set is: windows of sequences, split into three parts, and what is known of their source."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt


class Channel(NamedTuple):
    """Name and unit of one feature."""

    name: str
    unit: str


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Windows of one part of a data set, in the order of the recordings.

    Args:
        x: Windows, `(n, timesteps, features)` float32; of a text, `(n, timesteps)` int32.
        y: Class of each window, `(n,)` int64, or of each time step, `(n, timesteps)`; or what is to be forecast,
            `(n, horizon)` float32.
        subject: Person that each window was recorded from, `(n,)` int64; None where the source does not say.
    """

    x: npt.NDArray[np.float32]
    y: npt.NDArray[Any]
    subject: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Windows of sequences with a class or a forecast each, split into train, validation and test.

    Args:
        train: To fit on.
        validation: To choose by.
        test: To report.
        classes: Name of each class; `y` indexes it. Empty for forecasts.
        channels: Name and unit of each feature.
        rate: Time steps per second, in Hz; None where steps are not equal times.
        licence: SPDX identifier, NOASSERTION where the source states none.
        citation: Publication that describes the data.
        mean: What `standardized` subtracted, `(features,)` float32 in the channels' units, else None.
        std: What it divided by, likewise.
    """

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    channels: tuple[Channel, ...]
    rate: float | None
    licence: str
    citation: str
    mean: npt.NDArray[np.float32] | None = None
    std: npt.NDArray[np.float32] | None = None

    def standardized(self) -> Dataset:
        """Return the data as `(x - mean) / std`, with mean and deviation of each channel over `train`.

        A device must do the same to its readings, so both are kept in the result.

        Raises:
            ValueError: If the data is standardized already, is symbols, or has a channel that never changes.
        """
        if self.mean is not None:
            raise ValueError("Expected a data set in its own units, got one that is standardized already")
        if not self.channels:
            raise ValueError("Expected a data set of measurements, got symbols; try an Embedding")
        mean = self.train.x.mean((0, 1), dtype=np.float64).astype(np.float32)
        std = self.train.x.std((0, 1), dtype=np.float64).astype(np.float32)
        constant = [channel.name for channel, deviation in zip(self.channels, std) if deviation == 0]
        if constant:
            raise ValueError(f"Expected channels that vary over the train part, got constant {', '.join(constant)}")

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


def installed_file(package: str, *path: str, loader: str, install: str) -> Path:
    """A file inside an installed package, which is not imported: that would take all that it imports.

    Args:
        package: name to import.
        path: from the package's folder to the file.
        loader, install: who needs it and how to get it, for the error.

    Raises:
        ModuleNotFoundError: If the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{loader} needs {install}", name=package)
    return Path(spec.submodule_search_locations[0], *path)
