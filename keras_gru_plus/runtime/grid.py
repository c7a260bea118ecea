"""Real numbers to a file's integers and back; the one definition, for devices and for the exporter."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class Quantizer:
    """Integers for real values of one shape as TFLite's QUANTIZE gives them: halves away from zero, saturating.

    Args:
        scale, zero_point: real = scale * (integer - zero_point); numbers, or arrays for each feature (the last axis).
        dtype: of the integers.
        shape: of the result; what is given is broadcast to it.
    """

    def __init__(self, scale: Any, zero_point: Any, dtype: Any, shape: tuple[int, ...]) -> None:
        limits = np.iinfo(dtype)
        # As arrays: a ufunc turns a Python number into one at every call.
        self._scale = np.array(scale, np.float32)
        self._zero_point, self._low, self._high = (
            np.array(value, np.float64) for value in (zero_point, limits.min, limits.max)
        )
        self._half = np.array(0.5)
        self._dtype = np.dtype(dtype)
        # No QUANTIZE has a zero point far outside of its type; beside one float32 would keep few digits.
        far = np.any((self._zero_point < limits.min) | (self._zero_point > limits.max))
        kind = np.float64 if far or self._scale.ndim else np.float32
        self._scale = self._scale.astype(kind)
        self._ratio = np.empty(shape, kind)
        # In float64 adding a half is exact: in float32 the number just below .5 would be rounded up.
        self._wide, self._signed = np.empty(shape), np.empty(shape)
        self._flat = self._wide.reshape(-1)

    def __call__(self, x: Array) -> Array:
        """A new array of integers.

        Raises:
            ValueError: there is a NaN.
        """
        wide = self._wide
        np.divide(x, self._scale, out=self._ratio)
        np.copysign(self._half, self._ratio, out=self._signed)
        np.add(self._ratio, self._signed, out=wide)
        np.trunc(wide, out=wide)
        np.add(wide, self._zero_point, out=wide)
        np.maximum(wide, self._low, out=wide)
        np.minimum(wide, self._high, out=wide)
        total = self._flat.dot(self._flat)  # the cheapest question whether one of them is NaN
        if total != total:
            raise ValueError("Expected numbers to quantize, got NaN; clean the data first")
        return wide.astype(self._dtype)


def dequantize(array: Array, scale: Any, zero_point: Any) -> Array:
    """Integers as float32."""
    # Differences of 16-bit integers are exact in float32.
    values = np.subtract(array, zero_point, dtype=np.float32)
    return np.asarray(np.multiply(values, scale, out=values))
