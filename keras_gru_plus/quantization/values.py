"""Arrays from memory or a file as the numbers of a model's input, and where they are not."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ..arrays import DataError, read


def array_of(what: str, value: Any) -> np.ndarray:
    """`value` as an array of numbers or truth values; `what` it is for, "for input 'x'"."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DataError(f"Expected an array {what}, got {type(value).__name__}: {error}.") from None
    if array.dtype.kind not in "iufb":
        raise DataError(f"Expected numbers {what}, got {array.dtype}.")
    return array


def matches(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Whether a shape is the expected one, in which None stands for any size."""
    return len(shape) == len(expected) and all(e in (None, size) for e, size in zip(expected, shape))


def checked_input(name: str, tensor: Any, array: np.ndarray, first: int) -> np.ndarray:
    """Samples of an input in its type: int32 for any integers, float32 for all else.

    Args:
        name: of the input.
        tensor: the model's symbolic input.
        array: `(samples, …)`.
        first: number of the first sample, for messages.

    Raises:
        DataError: NaN or infinity, or a number that is no integer of the input's: not whole, beyond 32 bits, or
            without a row in an Embedding layer that reads the input.
    """
    if not str(tensor.dtype).startswith(("int", "uint")):
        with np.errstate(over="ignore"):
            array = np.asarray(array, np.float32)
        wrong = ~np.isfinite(array)
        if wrong.any():
            place = _place(wrong, first, timed=array.ndim > 2)
            raise DataError(
                f"Expected finite numbers for input {name!r}, got NaN or infinity {place}; remove those samples."
            )
        return array
    rows = _vocabulary(tensor)
    low, high = (-(2**31), 2**31 - 1) if rows is None else (0, rows - 1)
    wrong = ~((array >= low) & (array <= high) & (np.floor(array) == array if array.dtype.kind == "f" else True))
    if wrong.any():
        what = "whole numbers of 32 bits" if rows is None else f"whole numbers from 0 to {high}"
        raise DataError(
            f"Expected {what} for input {name!r}, got {array[wrong][0]} {_place(wrong, first, timed=array.ndim > 1)}."
        )
    return np.asarray(array, np.int32)


def checked_target(name: str, array: np.ndarray, first: int) -> np.ndarray:
    """Targets as they are.

    Raises:
        DataError: NaN or infinity.
    """
    wrong = ~np.isfinite(array)
    if wrong.any():
        place = _place(wrong, first, timed=False)
        raise DataError(f"Expected finite targets for output {name!r}, got NaN or infinity {place}.")
    return array


def _vocabulary(tensor: Any) -> int | None:
    """The least number of rows of the Embedding layers that read a model input; None without one."""
    readers = [node.operation for node in tensor._keras_history.operation._outbound_nodes]
    return min((int(layer.input_dim) for layer in readers if isinstance(layer, keras.layers.Embedding)), default=None)


def _place(wrong: np.ndarray, first: int, timed: bool) -> str:
    """Where the first wrong value is, "in sample 3, time step 0"."""
    sample, *rest = np.argwhere(wrong)[0]
    step = f", time step {rest[0]}" if timed else ""
    return f"in sample {first + sample}{step} (counted from 0)"


__all__ = ["DataError", "array_of", "checked_input", "checked_target", "matches", "read"]
