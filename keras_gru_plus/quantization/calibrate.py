"""Ranges from data without training, and the callback that stops moving them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .model import QuantizedModel, input_name


def calibrate(
    model: QuantizedModel, data: Any, *, batch_size: int = 64, percentile: float | None = None
) -> QuantizedModel:
    """Sets every learned range from `data`, in place, and returns the model.

    The data runs once through the float arithmetic (`training=False`, fake quantization off); each
    range becomes the least and greatest value that its tap took.

    Args:
        model: from `quantize_aware`.
        data: inputs as one array `(samples, …)`, a list of arrays or a dict by input name, or an
            iterable of batches (`tf.data.Dataset`, generator) of such inputs or of (inputs, targets).
        batch_size: for arrays.
        percentile: use this percentile (say 99.9) of the samples' extremes instead of the greatest; overrides
            of the recipe come first.

    Raises:
        ValueError: no samples, NaN or infinity, wrong shape.
    """
    if not isinstance(model, QuantizedModel):
        raise TypeError(f"Expected a model from quantize_aware, got {type(model).__name__}.")
    if percentile is not None and not 50 < percentile <= 100:
        raise ValueError(f"Expected `percentile` to be in (50, 100], got {percentile!r}.")
    if not model.recipe.quantized:
        return model
    observe = tf.function(model.observe, reduce_retracing=True, autograph=False)
    seen: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    model.reset_states()
    for batch in _batches(model, data, batch_size):
        for key, (low, high) in observe([tf.constant(array) for array in batch]).items():
            seen.setdefault(key, []).append((low.numpy(), high.numpy()))
    model.reset_states()
    if not seen:
        raise ValueError("Expected calibration data with at least one sample, got none.")
    for key, tap in model.taps.learned().items():
        low = np.concatenate([np.atleast_1d(pair[0]) for pair in seen[key]])
        high = np.concatenate([np.atleast_1d(pair[1]) for pair in seen[key]])
        share = model.recipe.setting(key, "percentile") or percentile
        if share is None:
            tap.set_range(float(low.min()), float(high.max()))
        else:
            tap.set_range(float(np.percentile(low, 100 - share)), float(np.percentile(high, share)))
    model.taps.ranges_set.assign(1.0)
    return model


def _batches(model: QuantizedModel, data: Any, batch_size: int) -> Iterator[list[np.ndarray]]:
    if isinstance(data, np.ndarray | list | dict) or tf.is_tensor(data):
        arrays = checked_inputs(model, data)
        fixed = model.inputs[0].shape[0]
        for start in range(0, len(arrays[0]), fixed or batch_size):
            batch = [array[start : start + (fixed or batch_size)] for array in arrays]
            missing = (fixed or 0) - len(batch[0])  # repeated samples change no extreme
            yield [np.concatenate([b, np.repeat(b[-1:], missing, axis=0)]) for b in batch] if missing > 0 else batch
        return
    if not hasattr(data, "__iter__"):
        raise TypeError(f"Expected arrays or an iterable of batches as calibration data, got {type(data).__name__}.")
    for batch in data:
        yield checked_inputs(model, batch[0] if isinstance(batch, tuple) else batch)


def checked_inputs(model: keras.Model, data: Any) -> list[np.ndarray]:
    """`data` as one float32 array for each input of `model`, in its order.

    Raises:
        ValueError: a missing input, wrong shape, different lengths, no samples, NaN or infinity.
    """
    names = [input_name(tensor) for tensor in model.inputs]
    if isinstance(data, dict):
        missing = [name for name in names if name not in data]
        if missing:
            raise ValueError(f"Expected data for the inputs {', '.join(names)}, got {', '.join(data) or 'nothing'}.")
        data = [data[name] for name in names]
    elif not isinstance(data, list):
        data = [data]
    if len(data) != len(names):
        raise ValueError(f"Expected one array for each of the inputs {', '.join(names)}, got {len(data)}.")
    arrays = [np.asarray(array, dtype=np.float32) for array in data]
    for name, tensor, array in zip(names, model.inputs, arrays):
        expected = tuple(tensor.shape)
        fits = array.ndim == len(expected) and all(e in (None, a) for e, a in zip(expected[1:], array.shape[1:]))
        if not fits:
            wanted = str(("samples", *("any" if d is None else d for d in expected[1:]))).replace("'", "")
            raise ValueError(f"Expected data of shape {wanted} for input {name!r}, got {array.shape}.")
        if not len(array) or len(array) != len(arrays[0]):
            raise ValueError(
                f"Expected the same number of samples, at least one, for every input, got {[len(a) for a in arrays]}."
            )
        if not np.isfinite(array).all():
            raise ValueError(
                f"Expected finite numbers for input {name!r}, got NaN or infinity; remove those samples."
            )
    return arrays


class FreezeRanges(keras.callbacks.Callback):
    """Stops moving the ranges from an epoch on, so that the last epochs train on fixed grids.

    Args:
        epoch: first epoch (counted from 0) in which the ranges stay as they are.
    """

    def __init__(self, epoch: int) -> None:
        super().__init__()
        if epoch < 0:
            raise ValueError(f"Expected `epoch` to be 0 or more, got {epoch!r}.")
        self.epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Freezes or thaws; the training step is traced anew when that changes."""
        self._set(epoch >= self.epoch)

    def on_train_end(self, logs: Any = None) -> None:
        """Leaves the model as it was found."""
        self._set(False)

    def _set(self, frozen: bool) -> None:
        if not isinstance(self.model, QuantizedModel):
            raise TypeError(f"Expected a model from quantize_aware, got {type(self.model).__name__}.")
        if self.model.recipe.quantized and self.model.taps.frozen != frozen:
            self.model.taps.frozen = frozen
            self.model.make_train_function(force=True)
