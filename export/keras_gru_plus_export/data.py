"""Calibration and evaluation data: arrays by input and output name, from memory or an `.npz` file."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_gru_plus.quantization.calibrate import checked_inputs

METRICS = ("accuracy", "mae")


class DataError(ValueError):
    """Data that cannot be read or does not fit the model."""


@dataclasses.dataclass(frozen=True)
class Data:
    """Samples for a model.

    Attributes:
        inputs: input name → float32 `(samples, …)`.
        targets: output name → `(samples, …)`; empty if there are none.
    """

    inputs: dict[str, np.ndarray]
    targets: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def head(self, samples: int) -> Data:
        """The first samples."""
        cut = {name: array[:samples] for name, array in self.inputs.items()}
        return Data(cut, {name: array[:samples] for name, array in self.targets.items()})


def load_data(model: Any, source: Any) -> Data:
    """`source` as arrays for the inputs of a `QuantizedModel`.

    Args:
        model: says the names and shapes of inputs and outputs.
        source: path of an `.npz` file, or a dict, whose keys are input names (or `x`) and output names
            (or `y`); an array of inputs; or a tuple (inputs, targets).

    Raises:
        DataError: missing or unreadable file, unknown or missing key, wrong shape, no samples, NaN.
    """
    names, outputs = input_names(model), output_names(model)
    if isinstance(source, Data):
        return source
    if isinstance(source, str | os.PathLike):
        source = _read_npz(Path(source))
    if isinstance(source, tuple):
        inputs, targets = source
        inputs = inputs if isinstance(inputs, dict) else {names[0]: inputs}
        targets = targets if isinstance(targets, dict) else {outputs[0]: targets}
        source = {**inputs, **targets}
    elif not isinstance(source, dict):
        source = {names[0]: source}
    aliases = {"x": names[0], "y": outputs[0]}
    named = {aliases.get(key, key) if key not in (*names, *outputs) else key: array for key, array in source.items()}
    unknown = sorted(set(named) - {*names, *outputs})
    missing = [name for name in names if name not in named]
    if unknown or missing:
        raise DataError(
            f"Expected data with the keys {', '.join(names)} (or x) and optionally {', '.join(outputs)} (or y), "
            f"got {', '.join(source) or 'none'}."
        )
    for name in names:
        kind = np.asarray(named[name]).dtype
        if kind.kind not in "iufb":
            raise DataError(f"Expected numbers for input {name!r}, got {kind}.")
    try:
        arrays = checked_inputs(model, {name: named[name] for name in names})
    except (ValueError, TypeError) as error:
        raise DataError(str(error)) from None
    targets = {name: _target(name, named[name], len(arrays[0])) for name in outputs if name in named}
    return Data(dict(zip(names, arrays)), targets)


def input_names(model: Any) -> list[str]:
    """Keras' names of a quantized model's inputs."""
    return [name for name, _ in model._graph.inputs]


def output_names(model: Any) -> list[str]:
    """Keras' names of a quantized model's outputs, repeated ones numbered as in the file."""
    from .convert import distinct

    return distinct([name for name, _ in model._graph.outputs])


def _target(name: str, array: Any, samples: int) -> np.ndarray:
    array = np.asarray(array)
    count = len(array) if array.ndim else 0
    if count != samples:
        raise DataError(f"Expected {samples} targets for output {name!r}, one for each sample, got {count}.")
    if array.dtype.kind not in "iufb":
        raise DataError(f"Expected numbers as targets of output {name!r}, got {array.dtype}.")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"Expected finite targets for output {name!r}, got NaN or infinity.")
    return array


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DataError(f"Expected an .npz file with data, got {str(path)!r}, which is no file.")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise DataError(f"Expected an .npz archive, got a single array in {str(path)!r}; use numpy.savez.")
        with loaded as archive:
            return {key: archive[key] for key in archive.files}
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 (damaged archives make zipfile, zlib and numpy raise nearly anything)
        raise DataError(f"Expected a readable .npz archive of plain arrays, got {str(path)!r}: {error}.") from None


def metric_for(target: np.ndarray | None, metric: str | None = None) -> str | None:
    """The metric's name: accuracy for integer targets, mean absolute error for float ones, None without targets.

    Raises:
        DataError: unknown name.
    """
    if metric is not None and metric not in METRICS:
        raise DataError(f"Expected `metric` to be one of {', '.join(METRICS)}, got {metric!r}.")
    if metric is None and target is not None:
        return "accuracy" if target.dtype.kind in "iub" else "mae"
    return metric


def check_target(name: str, target: np.ndarray, metric: str, shape: tuple[int, ...]) -> None:
    """Refuses targets that do not fit predictions of `shape`.

    Raises:
        DataError: wrong shape, or a class that the model does not have.
    """
    wanted = shape[:-1] if metric == "accuracy" else shape
    if len(target) != shape[0] or _without_ones(target.shape) != _without_ones(wanted):
        raise DataError(
            f"Expected targets of shape {wanted} for output {name!r} and metric {metric!r}, got {target.shape}."
        )
    if metric == "accuracy":
        last, numbers = max(shape[-1], 2) - 1, target.astype(np.float64)
        wrong = target[(numbers < 0) | (numbers > last) | (numbers % 1 != 0)]
        if wrong.size:
            raise DataError(f"Expected classes from 0 to {last} as targets of output {name!r}, got {wrong.flat[0]}.")


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape[1:] if size != 1)


def score(metric: str, prediction: np.ndarray, target: np.ndarray) -> float:
    """Accuracy (share of right classes, 0 to 1) or mean absolute error (in the target's unit)."""
    if metric == "accuracy":
        return float((classes(prediction) == target.reshape(classes(prediction).shape)).mean())
    return float(np.abs(prediction - target.reshape(prediction.shape)).mean())


def classes(prediction: np.ndarray) -> np.ndarray:
    """Predicted class: the greatest of several outputs, or whether a single one is above 1/2."""
    if prediction.shape[-1] == 1:
        return (prediction[..., 0] > 0.5).astype(np.int64)
    return prediction.argmax(axis=-1)
