"""TFLite Micro's int8 kernels in numpy, bit for bit, as functions of all 256 values of each operand.

Source: tflite-micro, kernels/internal/reference and gemmlowp's fixedpoint.h, with its default double rounding.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from ..tflite import Grid

Array = np.ndarray[Any, Any]

#: All int8 values, in the order of the tables.
EVERY = np.arange(-128, 128, dtype=np.int64)
_F32 = np.float32
_LOW, _HIGH = -(1 << 31), (1 << 31) - 1
#: Of activations fused into an operator: name of each in the schema → real range.
RANGES = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
}


def multiplier(real: float) -> tuple[int, int]:
    """A real factor as (31-bit integer, power of two), TFLite's QuantizeMultiplier."""
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    whole = math.floor(fraction * (1 << 31) + 0.5)
    if whole == 1 << 31:
        whole, shift = whole // 2, shift + 1
    return (0, 0) if shift < -31 else (whole, shift)


def linear_factors(x: Grid, weights: Grid, y: Grid) -> list[tuple[int, int]]:
    """`multiplier` of each channel of a FULLY_CONNECTED (one for all where there is one scale)."""
    if not weights.per_channel:
        return [multiplier(float(_F32(x.scale) * _F32(weights.scale)) / y.scale)]
    return [multiplier(x.scale * scale / y.scale) for scale in weights.scales]


def clamp_of(activation: str, grid: Grid) -> tuple[int, int]:
    """Least and greatest integer that an operator with a fused activation gives."""
    low, high = RANGES[activation]
    scale, zero = _F32(grid.scale), grid.zero_point

    def integer(real: float) -> int:
        ratio = float(_F32(real) / scale)
        return zero + math.floor(abs(ratio) + 0.5) * (1 if ratio >= 0 else -1)

    return (
        -128 if low == -math.inf else max(-128, integer(low)),
        127 if high == math.inf else min(127, integer(high)),
    )


@dataclasses.dataclass(frozen=True)
class ExactSum:
    """The parameters of TFLite Micro's ADD and SUB: for each operand and for the sum a zero point and a factor."""

    zeros: tuple[int, int, int]
    factors: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
    sign: int
    low: int
    high: int


def exact_sum(a: Grid, b: Grid, y: Grid, activation: str = "NONE", *, subtract: bool = False) -> ExactSum:
    """What the kernel prepares."""
    if subtract:  # computes its factors in single precision
        twice = _F32(2) * max(_F32(a.scale), _F32(b.scale))
        factors = (float(_F32(a.scale) / twice), float(_F32(b.scale) / twice))
        last = float(twice / (_F32(1 << 20) * _F32(y.scale)))
    else:
        both = 2 * max(a.scale, b.scale)
        factors, last = (a.scale / both, b.scale / both), both / ((1 << 20) * y.scale)
    zeros = (a.zero_point, b.zero_point, y.zero_point)
    scales = (multiplier(factors[0]), multiplier(factors[1]), multiplier(last))
    return ExactSum(zeros, scales, -1 if subtract else 1, *clamp_of(activation, y))


def add(a: Grid, b: Grid, y: Grid, activation: str = "NONE", *, subtract: bool = False) -> Array:
    """ADD or SUB: table `[a + 128, b + 128]`."""
    exact = exact_sum(a, b, y, activation, subtract=subtract)
    left, right = (scaled((EVERY - zero) << 20, *factor) for zero, factor in zip(exact.zeros, exact.factors[:2]))
    total = left[:, None] + exact.sign * right[None]
    return np.clip(scaled(total, *exact.factors[2]) + exact.zeros[2], exact.low, exact.high)


def multiply(a: Grid, b: Grid, y: Grid, activation: str = "NONE") -> Array:
    """MUL: table `[a + 128, b + 128]`."""
    product = (EVERY - a.zero_point)[:, None] * (EVERY - b.zero_point)[None]
    result = scaled(product, *multiplier(a.scale * b.scale / y.scale))
    return np.clip(result + y.zero_point, *clamp_of(activation, y))


def requantize(x: Grid, y: Grid) -> Array:
    """QUANTIZE from int8 to int8."""
    return np.clip(scaled(EVERY - x.zero_point, *multiplier(x.scale / y.scale)) + y.zero_point, -128, 127)


def relu(x: Grid, y: Grid) -> Array:
    """RELU; its factor is computed in single precision."""
    factor = multiplier(float(_F32(x.scale) / _F32(y.scale)))
    return np.clip(scaled(EVERY - x.zero_point, *factor) + y.zero_point, max(-128, y.zero_point), 127)


def relu6(x: Grid, y: Grid) -> Array:
    """RELU6, which does not rescale."""
    return np.clip(EVERY, *clamp_of("RELU6", x))


def logistic(x: Grid) -> Array:
    """LOGISTIC; the grid of the result is 1/256, -128, whatever the file says."""
    value, radius, shifted = _gate_input(x)
    result = _one_over_one_plus(_exp_of_negative(-np.abs(value), 4))
    result = np.where(value > 0, result, _HIGH - result)
    result = np.where(value == 0, 1 << 30, result)
    integers = np.clip(_divide_by_power(result, 23) - 128, -128, 127)
    return _saturated(integers, shifted, radius)


def tanh(x: Grid) -> Array:
    """TANH; the grid of the result is 1/128, 0, whatever the file says."""
    value, radius, shifted = _gate_input(x)
    # exp(2 x): the same bits, read with one more integer bit.
    result = _one_minus_over_one_plus(_exp_of_negative(-np.abs(value), 5))
    result = np.where(value > 0, result, -result)
    result = np.where(value == 0, 0, result)
    return _saturated(np.clip(_divide_by_power(result, 24), -128, 127), shifted, radius)


def softmax_exponentials(x: Grid, beta: float) -> Array:
    """SOFTMAX: the 256 values of exp(difference to the greatest), in Q0.31, for differences 0, -1 … -255."""
    real = min(beta * x.scale * (1 << 26), float(_HIGH))
    factor, left = multiplier(real)
    least = -math.floor(31 * float(1 << 26) / (1 << left))
    difference = -np.arange(256, dtype=np.int64)
    value = doubling_high(difference << left, factor)
    return np.where(difference >= least, _exp_of_negative(value, 5), 0)


def _gate_input(x: Grid) -> tuple[Array, int, Array]:
    """Inputs in Q4.27, the radius outside which a gate saturates, and inputs without their zero point."""
    factor, shift = multiplier(x.scale * float(1 << 27))
    radius = math.floor(15 * (1 << 27) / 2.0**shift)
    shifted = EVERY - x.zero_point
    # What lies outside the radius is replaced; left in, it would not fit in 32 bits.
    inside = np.clip(shifted, -radius, radius)
    return scaled(inside, factor, shift), radius, shifted


def _saturated(integers: Array, shifted: Array, radius: int) -> Array:
    return np.where(shifted <= -radius, -128, np.where(shifted >= radius, 127, integers))


def scaled(value: Array, factor: int, shift: int) -> Array:
    """MultiplyByQuantizedMultiplier: rounds after the product and again after the shift."""
    return _divide_by_power(doubling_high(value << max(shift, 0), factor), max(-shift, 0))


def doubling_high(a: Array, b: Array | int) -> Array:
    """SaturatingRoundingDoublingHighMul of values that are not both -2^31."""
    return np.right_shift(a * b + (1 << 30), 31)


def _divide_by_power(value: Array, exponent: int) -> Array:
    """RoundingDivideByPOT: halves away from zero."""
    return value if exponent == 0 else (value + (1 << (exponent - 1)) - (value < 0)) >> exponent


def _times_power(value: Array, exponent: int) -> Array:
    """SaturatingRoundingMultiplyByPOT."""
    return np.clip(value << exponent, _LOW, _HIGH) if exponent > 0 else _divide_by_power(value, -exponent)


def _exp_of_negative(value: Array, integer_bits: int) -> Array:
    """exp(value) in Q0.31 of values up to 0 in Q(integer_bits)."""
    fraction_bits = 31 - integer_bits
    quarter = 1 << (fraction_bits - 2)
    modulo = (value & (quarter - 1)) - quarter
    result = _exp_between(_times_power(modulo, integer_bits))
    remainder = modulo - value
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for exponent, factor in zip(range(-2, 5), factors):
        if integer_bits > exponent:
            bit = remainder & (1 << (fraction_bits + exponent))
            result = np.where(bit != 0, doubling_high(result, factor), result)
    return np.where(value == 0, _HIGH, result)


def _exp_between(value: Array) -> Array:
    """exp of [-1/4, 0) in Q0.31."""
    x = value + (1 << 28)
    x2 = doubling_high(x, x)
    x3, x4 = doubling_high(x2, x), doubling_high(x2, x2)
    series = _times_power(doubling_high(_times_power(x4, -2) + x3, 715827883) + x2, -1)
    return np.clip(1895147668 + doubling_high(x + series, 1895147668), _LOW, _HIGH)


def _reciprocal(value: Array) -> Array:
    """1 / ((1 + value) / 2) in Q2.29 by three Newton-Raphson steps."""
    total = value + _HIGH
    half = (total + np.where(total >= 0, 1, -1)) // 2  # both are positive: halves go up
    x = 1515870810 + doubling_high(half, -1010580540)
    for _ in range(3):
        x = x + _times_power(doubling_high(x, (1 << 29) - doubling_high(half, x)), 2)
    return x


def _one_over_one_plus(value: Array) -> Array:
    return np.clip(_reciprocal(value) << 1, _LOW, _HIGH)


def _one_minus_over_one_plus(value: Array) -> Array:
    return np.clip((_reciprocal(value) - (1 << 29)) << 2, _LOW, _HIGH)
