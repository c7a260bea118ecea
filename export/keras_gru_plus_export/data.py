"""Calibration and evaluation data of an export by input and output name, and the scores of predictions on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_gru_plus.activations import form_of
from keras_gru_plus.quantization import QuantizedModel
from keras_gru_plus.quantization.batch import Batch
from keras_gru_plus.quantization.data import UNSIZED_SAMPLES, Batches, DataError

from .fingerprint import SamplesHash, samples_sha256

METRICS = ("accuracy", "mae")
#: Layers that keep the values of what they are given.
_COPIES = (keras.layers.Dropout, keras.layers.Flatten, keras.layers.Reshape)


@dataclasses.dataclass(frozen=True)
class Data:
    """Samples for a model.

    Attributes:
        inputs: input name → `(samples, …)`, float32, or int32 for an input of integers.
        targets: output name → `(samples, …)`; empty if there are none.
        capped: there were more samples, but of data whose length is unknown no more were read.
    """

    inputs: dict[str, np.ndarray]
    targets: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    capped: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def head(self, samples: int) -> Data:
        """The first samples."""
        cut = {name: array[:samples] for name, array in self.inputs.items()}
        return Data(cut, {name: array[:samples] for name, array in self.targets.items()})


class HashedBatches(Batches):
    """Batches of which each goes into a hash.

    Attributes:
        sha256: of the inputs read so far.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sha256 = SamplesHash()

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            self.sha256.update(batch.inputs)
            yield batch


def batches_of(model: QuantizedModel, source: Any, *, max_samples: int | None = None, keep: int = 0) -> HashedBatches:
    """`source` as batches for a quantized model, with targets.

    Args:
        model: says the names and shapes of inputs and outputs.
        source: any form of data that `Batches` takes, or `Data`.
        max_samples: read no more than these.
        keep: how many of the first samples to remember.

    Raises:
        DataError, TypeError: see `Batches`.
    """
    if isinstance(source, Data):
        source = (source.inputs, source.targets)
    outputs = output_names(model)
    return HashedBatches(model, source, outputs=outputs, batch_size=256, max_samples=max_samples, keep=keep)


def load_data(model: QuantizedModel, source: Any, max_samples: int | None = None) -> Data:
    """All of `source` in memory, where several runtimes read it again and again; arguments as of `batches_of`.

    Raises:
        DataError, TypeError: see `Batches`; samples of several lengths.
    """
    if isinstance(source, Data):
        return source
    batches = batches_of(model, source, max_samples=max_samples)
    return joined(list(batches), batches.capped)


def data_sha256(data: Data) -> str:
    """SHA-256 of inputs and targets."""
    return samples_sha256(
        {f"{part}/{k}": v for part in ("inputs", "targets") for k, v in getattr(data, part).items()}
    )


def joined(batches: list[Batch], capped: bool = False) -> Data:
    """Batches one after the other.

    Raises:
        DataError: samples of several lengths, or targets of some batches only.
    """

    def whole(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        found = {}
        for name in dict.fromkeys(name for part in parts for name in part):
            arrays = [part[name] for part in parts if name in part]
            shapes = sorted({array.shape[1:] for array in arrays})
            if len(shapes) > 1:
                raise DataError(
                    f"Expected samples of one shape for {name!r}, got {', '.join(map(str, shapes))}; "
                    "cut or pad them to one length."
                )
            if len(arrays) < len(parts):
                raise DataError(
                    f"Expected {name!r} in each of {len(parts)} batches, got it in {len(arrays)} of them."
                )
            found[name] = np.concatenate(arrays) if len(arrays) > 1 else arrays[0]
        return found

    return Data(whole([batch.inputs for batch in batches]), whole([batch.targets for batch in batches]), capped)


def input_names(model: Any) -> list[str]:
    """Keras' names of a quantized model's inputs."""
    return [name for name, _ in model._graph.inputs]


def output_names(model: Any) -> list[str]:
    """Keras' names of a quantized model's outputs, repeated ones numbered as in the file."""
    from .convert import distinct

    return distinct([name for name, _ in model._graph.outputs])


def is_sigmoid(model: QuantizedModel) -> list[bool]:
    """For each output, whether it comes out of a sigmoid or one of its kin, and so is a share of 1."""
    made = {identity: node for node in model._graph.nodes for identity in node.outputs}
    found = []
    for _, identity in model._graph.outputs:
        node = made.get(identity)
        while node is not None and isinstance(node.layer, _COPIES):
            node = made.get(node.inputs[0])
        layer = None if node is None else getattr(node.layer, "layer", node.layer)
        form = form_of(getattr(layer, "activation", None))
        found.append(form is not None and form.grid == "gate")
    return found


def check_metric(metric: Any, outputs: list[str] | None = None) -> None:
    """Refuses what is no metric.

    Args:
        metric: "accuracy", "mae", or a dict of them by output name; "name=mae,name=accuracy" is one as well.
        outputs: names of the model's outputs, once they are known.

    Raises:
        DataError: names what was expected.
    """
    by_name = _by_output(metric)
    for value in [metric] if by_name is None else by_name.values():
        if value is not None and value not in METRICS:
            raise DataError(f"Expected `metric` to be one of {', '.join(METRICS)}, got {value!r}.")
    unknown = [name for name in by_name or () if outputs is not None and name not in outputs]
    if unknown:
        raise DataError(f"Expected `metric` for the outputs {', '.join(outputs or ())}, got {', '.join(unknown)}.")


def _by_output(metric: Any) -> dict[str, str] | None:
    if isinstance(metric, str) and "=" in metric:
        pairs = [part.partition("=") for part in metric.split(",")]
        return {name.strip(): value.strip() for name, _, value in pairs}
    return metric if isinstance(metric, dict) else None


def metric_for(
    target: np.ndarray | None,
    metric: Any = None,
    *,
    name: str = "",
    shape: tuple[int, ...] | None = None,
    sigmoid: bool = False,
) -> str | None:
    """The metric's name for one output; None without targets.

    Accuracy for integers and truth values, for one-hot rows (each 0 but for one 1) where the output has two columns
    or more, and for zeros and ones where it is a single sigmoid; mean absolute error for all other targets.

    Args:
        target: `(samples, …)`.
        metric: what was asked for, see `check_metric`.
        name: of the output.
        shape: of the predictions.
        sigmoid: whether the predictions are shares of 1.

    Raises:
        DataError: unknown metric.
    """
    check_metric(metric)
    by_name = _by_output(metric)
    metric = metric if by_name is None else by_name.get(name)
    if metric is not None or target is None:
        return metric
    classes = target.dtype.kind in "iub" or (shape is not None and _is_one_hot(target, shape))
    single = sigmoid and shape is not None and shape[-1] == 1
    return "accuracy" if classes or (single and bool(np.isin(target, (0, 1)).all())) else "mae"


def _is_one_hot(target: np.ndarray, shape: tuple[int, ...]) -> bool:
    if target.shape != shape or shape[-1] < 2:
        return False
    return bool(np.isin(target, (0, 1)).all() and (target.sum(axis=-1) == 1).all())


def checked_target(name: str, target: np.ndarray, metric: str | None, shape: tuple[int, ...]) -> np.ndarray:
    """Targets for predictions of `shape`; for accuracy as numbers of classes, one-hot rows too.

    Raises:
        DataError: wrong shape, or a class that the model does not have.
    """
    if metric == "accuracy" and _is_one_hot(target, shape):
        return target.argmax(axis=-1)
    wanted = shape[:-1] if metric == "accuracy" else shape
    if len(target) != shape[0] or _without_ones(target.shape) != _without_ones(wanted):
        advice = "; metric mae takes numbers instead of classes" if metric == "accuracy" else ""
        raise DataError(
            f"Expected targets of shape {wanted} for output {name!r} and metric {metric!r}, "
            f"got {target.shape}{advice}."
        )
    if metric == "accuracy":
        last, numbers = max(shape[-1], 2) - 1, target.astype(np.float64)
        wrong = target[(numbers < 0) | (numbers > last) | (numbers % 1 != 0)]
        if wrong.size:
            raise DataError(
                f"Expected classes from 0 to {last} as targets of output {name!r}, got {wrong.flat[0]}; "
                "metric mae takes numbers instead of classes."
            )
    return target


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


__all__ = ["UNSIZED_SAMPLES", "Data", "DataError", "batches_of", "load_data"]
