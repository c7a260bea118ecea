"""Grids of a file's inputs, which undo what the network scales them by."""

from __future__ import annotations

import numpy as np

from keras_gru_plus.quantization.input_scaling import Scaling

from . import tflite


def input_grid(unit: float, scaling: Scaling | None, bits: int, axis: int = 0) -> tflite.Grid:
    """Grid of an input that, scaled, is `unit` where the integer is 2^(bits - 1); scales by feature are along `axis`.

    The tensor itself has the scales and zero points, not a metadata entry: any reader of the format sees them, and
    LiteRT, tflite-runtime and TFLite Micro take several scales, and zero points outside of the type, at an input that
    only a RESHAPE or the GATHER of a loop reads: neither looks at them.
    """
    step = np.float32(unit) / np.float32(2 ** (bits - 1))
    if scaling is None:
        return tflite.Grid((float(step),), (0,))
    scales, zero_points = (np.atleast_1d(array) for array in scaling.grid(step))
    return tflite.Grid(tuple(map(float, scales)), tuple(map(int, zero_points)), axis if scaling.by_feature else 0)


def has_quantize(grid: tflite.Grid, bits: int) -> bool:
    """Whether QUANTIZE writes the grid on every runtime: one scale, a zero point of int8, with 16 bits none but 0."""
    low, high = (-128, 127) if bits == 8 else (0, 0)
    return not grid.per_channel and low <= grid.zero_point <= high


def scaled_as(grid: tflite.Grid, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Offset and factor that take a real input with this grid to the graph's own, 2^(1 - bits) with zero point 0."""
    scales = np.array(grid.scales)
    return np.array(grid.zero_points) * scales, 2.0 ** (1 - bits) / scales
