"""Data for a model in every usual form, read as batches: what are its inputs, and what its targets."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from .batch import Batch, Splitter, has_arrays
from .values import DataError, read

#: Samples that are read of data whose length nobody knows, which may have no end.
UNSIZED_SAMPLES = 10_000


class Batches:
    """The batches of `data`, checked against the inputs of a model; to be iterated over once.

    | `data` | is read as |
    |---|---|
    | array | the inputs of a model with one input |
    | list of arrays | one for each input |
    | dict | input names (or `x`) and output names (or `y`) |
    | tuple | (inputs, targets) or (inputs, targets, sample weights) in any of these forms; weights are ignored |
    | path | `.npz`, read as a dict, or `.npy`, read as an array |
    | `tf.data.Dataset`, `PyDataset`, list of tuples or dicts, generator, any iterable | batches, each in one of these forms |

    All samples are read, unless the length is unknown (a generator, a `PyDataset` without `num_batches`, a
    `tf.data.Dataset` of unknown cardinality): then no more than `UNSIZED_SAMPLES`.

    Args:
        model: says names, shapes and types of the inputs.
        data: see above.
        outputs: names of the model's outputs; None if targets are of no interest.
        batch_size: of arrays.
        max_samples: read no more than these, of any form of data.
        keep: how many of the first samples to remember.

    Attributes:
        capped: after the loop: data of unknown length had more than `UNSIZED_SAMPLES`.
        kept: the first samples, as they were read.

    Raises:
        DataError: unreadable file, unknown or missing key, wrong shape, no samples, NaN, an infinite
            `tf.data.Dataset`, single samples where batches are expected.
        TypeError: none of these forms.
    """  # noqa: E501 (a table)

    def __init__(
        self,
        model: keras.Model,
        data: Any,
        *,
        outputs: Sequence[str] | None = None,
        batch_size: int = 64,
        max_samples: int | None = None,
        keep: int = 0,
    ) -> None:
        if max_samples is not None and max_samples < 1:
            raise ValueError(f"Expected `max_samples` to be 1 or more, got {max_samples!r}.")
        self.capped = False
        self.kept: list[Batch] = []
        self._keep = keep
        self._max_samples = max_samples
        if isinstance(data, str | os.PathLike):
            data = read(Path(data))
        whole = _is_arrays(data)
        if isinstance(data, tf.data.Dataset):
            advice = "call .batch(n) on the dataset"
        else:
            advice = "give it as x[np.newaxis]" if whole else "yield batches"
        self._splitter = Splitter(model, outputs, unbatched=advice, loose_lists=not whole)
        self._source: Iterable[Any]
        if whole:
            self._source, self._sized = _slices(self._splitter.split(data), batch_size), True
        else:
            self._source, self._sized = _opened(data)

    def __iter__(self) -> Iterator[Batch]:
        limit = self._max_samples or (None if self._sized else UNSIZED_SAMPLES)
        first = 0
        for batch in self._source:
            if limit is not None and first == limit:
                self.capped = self._max_samples is None
                return
            batch = batch if isinstance(batch, Batch) else self._splitter.split(batch)
            found = self._splitter.checked(batch, first)
            if limit is not None and first + len(found) > limit:
                self.capped = self._max_samples is None
                found = found[: limit - first]
            first += len(found)
            if self._keep > 0:
                self.kept.append(found[: self._keep])
                self._keep -= len(self.kept[-1])
            yield found
            if first == self._max_samples or self.capped:
                return
        if not first:
            raise DataError("Expected data with at least one sample, got none.")


def _opened(data: Any) -> tuple[Iterable[Any], bool]:
    """An iterable of batches, and whether it is known to end."""
    if isinstance(data, tf.data.Dataset):
        cardinality = int(data.cardinality())
        if cardinality == tf.data.INFINITE_CARDINALITY:
            raise DataError("Expected data that ends, got an infinite tf.data.Dataset; use .take(n).")
        return data, cardinality >= 0
    if isinstance(data, keras.utils.PyDataset):
        count = _num_batches(data)
        indices = itertools.count() if count is None else range(count)
        return (data[index] for index in indices), count is not None
    if not hasattr(data, "__iter__"):
        raise TypeError(
            f"Expected arrays, an iterable of batches or the path of a file as data, got {type(data).__name__}."
        )
    try:
        return data, len(data) >= 0
    except TypeError:
        return data, False


def _slices(whole: Batch, size: int) -> Iterator[Batch]:
    for start in range(0, len(whole), size):
        yield whole[start : start + size]


def _is_arrays(data: Any) -> bool:
    """Whether `data` is all samples at once, and not batches of them."""
    if isinstance(data, list):
        return not any(
            isinstance(part, tuple | dict) or (isinstance(part, list) and has_arrays(part)) for part in data
        )
    return isinstance(data, dict | tuple) or hasattr(data, "__array__") or tf.is_tensor(data)


def _num_batches(data: keras.utils.PyDataset) -> int | None:
    try:
        batches = data.num_batches
    except NotImplementedError:
        return None
    return None if batches is None else int(batches)


__all__ = ["UNSIZED_SAMPLES", "Batch", "Batches", "DataError"]
