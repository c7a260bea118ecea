"""Ranges from data without training, and the callback that stops moving them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .data import UNSIZED_SAMPLES, Batch, Batches
from .model import QuantizedModel

#: Values beyond are no numbers any more once they are multiplied.
LARGEST = 1e30


def calibrate(
    model: QuantizedModel,
    data: Any,
    *,
    batch_size: int = 64,
    percentile: float | None = None,
    max_samples: int | None = None,
) -> QuantizedModel:
    """Sets every learned range from `data`, in place, and returns the model.

    The data runs once through the float arithmetic (`training=False`, fake quantization off), batch by batch;
    each range becomes the least and greatest value that its tap took.

    Args:
        model: from `quantize_aware`.
        data: inputs as one array `(samples, …)`, a list of arrays, a dict by input name (or `x`), a tuple
            (inputs, targets), the path of an `.npz` or `.npy` file, or batches of any of these: a `tf.data.Dataset`,
            a `keras.utils.PyDataset`, a list of tuples or dicts, a generator or any other iterable.
            Targets and sample weights are ignored.
            Of data whose length is unknown (a generator, a `PyDataset` without `num_batches`, a
            `tf.data.Dataset` of unknown cardinality) 10,000 samples are read; a warning says if there were more.
        batch_size: for arrays.
        percentile: use this percentile (say 99.9) of the samples' extremes instead of the greatest; overrides
            of the recipe come first.
        max_samples: read no more than these, of any form of data.

    Raises:
        ValueError: no samples, NaN or infinity, in the data or at a tap, wrong shape, numbers that are not whole for
            an input of integers, an unreadable file, an infinite or unbatched `tf.data.Dataset`.
        TypeError: no quantized model, or no data.
    """
    if not isinstance(model, QuantizedModel):
        raise TypeError(f"Expected a model from quantize_aware, got {type(model).__name__}.")
    if percentile is not None and not 50 < percentile <= 100:
        raise ValueError(f"Expected `percentile` to be in (50, 100], got {percentile!r}.")
    if not model.recipe.quantized:
        return model
    batches = data
    if not isinstance(data, Batches):
        batches = Batches(model, data, batch_size=batch_size, max_samples=max_samples)
    _set_ranges(model, batches, percentile)
    if batches.capped:
        warnings.warn(
            f"Expected calibration data of known length, got more than {UNSIZED_SAMPLES:,} samples; the first "
            f"{UNSIZED_SAMPLES:,} were used. Pass `max_samples` to use another number.",
            stacklevel=2,
        )
    return model


def _set_ranges(model: QuantizedModel, batches: Iterable[Batch], percentile: float | None) -> None:
    observe = tf.function(model.observe, reduce_retracing=True, autograph=False)
    seen: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    model.reset_states()
    try:
        for inputs in _of_fixed_size(model, batches):
            for key, (low, high) in observe([tf.constant(array) for array in inputs]).items():
                seen.setdefault(key, []).append((low.numpy(), high.numpy()))
    finally:
        model.reset_states()
    for key, tap in model.taps.learned().items():
        low = np.concatenate([np.atleast_1d(pair[0]) for pair in seen[key]])
        high = np.concatenate([np.atleast_1d(pair[1]) for pair in seen[key]])
        if max(-low.min(), high.max()) > LARGEST or np.isnan(low).any() or np.isnan(high).any():
            raise ValueError(
                f"Expected values up to {LARGEST:g} at {key!r}, got {low.min():g} to {high.max():g} in float "
                "arithmetic; try smaller weights or scaled data (keras.layers.Normalization)."
            )
        share = model.recipe.setting(key, "percentile") or percentile
        if share is None:
            tap.set_range(float(low.min()), float(high.max()))
        else:
            tap.set_range(float(np.percentile(low, 100 - share)), float(np.percentile(high, share)))
    model.taps.ranges_set.assign(1.0)


def _of_fixed_size(model: QuantizedModel, batches: Iterable[Batch]) -> Iterator[list[np.ndarray]]:
    """The inputs of each batch, cut to the size of batch that a model may insist on."""
    fixed = model.inputs[0].shape[0]
    for batch in batches:
        size = fixed or len(batch)
        for start in range(0, len(batch), size):
            arrays = [array[start : start + size] for array in batch.inputs.values()]
            missing = size - len(arrays[0])  # repeated samples change no extreme
            yield [np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]) if missing else a for a in arrays]


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
