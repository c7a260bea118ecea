"""Quantization points: tensorflow-model-optimization's quantizers with their ranges in Keras 3."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..arithmetic import Grid
from .recipe import Recipe

#: Real range of the 8-bit grids that the kernels fix; zero is on the grid exactly.
FIXED = {
    Grid.GATE: (0.0, 255 / 256),
    Grid.UNIT: (-1.0, 127 / 128),
    Grid.DOUBLE: (-2.0, 127 / 64),
    Grid.MASK: (0.0, 1.0),
    Grid.SQUARE: (0.0, 255 / 128**2),
}
#: Grids that start at 0: with 8 bits the zero point is -128, with 16, where kernels take no zero point, half the
#: grid is left unused.
FROM_ZERO = (Grid.GATE, Grid.POSITIVE, Grid.MASK, Grid.SQUARE)
#: A tap that only ever saw zeros still needs a grid.
SMALLEST_RANGE = 2.0**-10
#: A weight that is as good as zero.
NOTHING = 1e-30
#: Calibrated ranges are this much wider than what was seen. A range of exactly [-2, 2], which differences of
#: saturated values have, would put every second result on a rounding tie, where runtimes differ.
HEADROOM = 1.004


class _RangeFactory:
    """What a tfmot quantizer takes for its layer: creates its range variables on a Keras 3 layer."""

    def __init__(self, layer: keras.layers.Layer) -> None:
        self.layer = layer

    def add_weight(self, name: str, initializer: Any = None, trainable: bool = False, shape: Any = None) -> Any:
        shape = () if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
        return self.layer.add_weight(
            name=name.replace("/", "_"),
            shape=shape,
            initializer=keras.initializers.Constant(initializer.value),
            trainable=trainable,
            dtype="float32",
            autocast=False,
        )


def over_replicas(lows: Any, highs: Any) -> tuple[Any, Any]:
    """Least of `lows` and greatest of `highs`, both `(taps,)`, over all replicas of a `tf.distribute` strategy.

    So the ranges follow the whole batch, whichever part of it a replica sees. In replicas only; elsewhere, on
    the whole batch, the arguments.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return lows, highs
    # Replicas can sum, average and gather; one gather of [least, -greatest] serves both ends.
    least = tf.reduce_min(context.all_gather(tf.stack([lows, -highs])[tf.newaxis], axis=0), axis=0)
    return least[0], -least[1]


def symmetric(bound: Any, bits: int) -> tuple[Any, Any]:
    """Range of a grid of zero point 0 that reaches from -bound to one step below bound."""
    return -bound, bound * (1 - 2.0 ** (1 - bits))


class Tap:
    """One quantization point: its grid and, where that is learned, the range in two variables.

    Learned grids are symmetric (range [-m, m * 127/128], zero point 0) or positive ([0, m], zero
    point -128), so that zero is always exactly on the grid. With 16 bits all are symmetric
    ([-m, m * 32767/32768]), and values are clipped at 0 where the 8-bit grid starts there.

    Args:
        key: "<layer>/<tap>".
        grid: where scale and zero point come from.
        store: the layer that owns the variables.
        bits: 8 or 16.
        given: range that is neither calibrated nor moved by training; a symmetric grid is made to cover it.
    """

    def __init__(
        self,
        key: str,
        grid: Grid,
        store: keras.layers.Layer,
        bits: int = 8,
        given: tuple[float, float] | None = None,
    ) -> None:
        self.key = key
        self.grid = grid
        self.bits = bits
        self._symmetric = bits == 16 or grid not in FROM_ZERO
        if grid in FIXED:
            return
        from tensorflow_model_optimization.quantization.keras.quantizers import MovingAverageQuantizer

        self._quantizer = MovingAverageQuantizer(
            num_bits=bits, per_axis=False, symmetric=self._symmetric, narrow_range=False
        )
        self._variables = self._quantizer.build(None, key, _RangeFactory(store))
        self.given = given
        if given:
            self._cover(*given, headroom=1.0)
        else:
            self.set_range(-6.0, 6.0)

    @property
    def learned(self) -> bool:
        """Whether the range comes from data."""
        return self.grid not in FIXED

    def _ranges(self) -> dict[str, Any]:
        return {name: variable.value for name, variable in self._variables.items()}

    def fake_quant(self, value: Any, bounds: tuple[Any, Any] | None = None) -> Any:
        """`value` rounded to the tap's grid and clipped to its range; gradient 1 inside, 0 outside.

        Args:
            value: any tensor.
            bounds: the tap's `range()`, read once where a loop would read it in every step.
        """
        value = tf.convert_to_tensor(value)
        if self.grid in FROM_ZERO and self._symmetric:
            value = tf.maximum(value, 0.0)
        if not self.learned:
            return tf.quantization.fake_quant_with_min_max_args(value, *self.range(), num_bits=self.bits)
        return _rounded(value, *(bounds or self.range()), self.bits)

    def update(self, low: Any, high: Any) -> None:
        """Moves the range towards [low, high], as tfmot's moving average does (decay 0.999).

        Replicas have to pass the same numbers: see `over_replicas`.
        """
        if self.given:
            return
        high = tf.maximum(high, SMALLEST_RANGE)
        self._quantizer(tf.stack([tf.minimum(low, 0.0), high]), True, self._ranges())

    def set_range(self, low: float, high: float) -> None:
        """Sets the range so that it covers [low, high] with `HEADROOM`; a given one stays."""
        if not self.given:
            self._cover(low, high, HEADROOM)

    def _cover(self, low: float, high: float, headroom: float) -> None:
        if self._symmetric:
            low = 0.0 if self.grid in FROM_ZERO else low
            one_step_less = 1 - 2.0 ** (1 - self.bits)
            low, high = symmetric(max(-low, high / one_step_less, SMALLEST_RANGE) * headroom, self.bits)
        else:
            low, high = 0.0, max(high, SMALLEST_RANGE) * headroom
        self._variables["min_var"].assign(np.float32(low))
        self._variables["max_var"].assign(np.float32(high))

    def range(self) -> tuple[Any, Any]:
        """Lower and upper end, as numbers for a fixed grid and as tensors for a learned one."""
        if not self.learned:
            if self.bits == 8:
                return FIXED[self.grid]
            return symmetric(1.0 if self.grid is Grid.GATE else -FIXED[self.grid][0], self.bits)
        ranges = self._ranges()
        return tf.convert_to_tensor(ranges["min_var"]), tf.convert_to_tensor(ranges["max_var"])

    def int8_range(self) -> tuple[Any, Any]:
        """The range that the tap has in an 8-bit graph whose steps are 256 (from zero: 128) of its own."""
        if self.bits == 8:
            return self.range()
        if not self.learned:
            return FIXED[self.grid]
        low, _ = self.range()
        return (0.0, -low * 255 / 256) if self.grid in FROM_ZERO else symmetric(-low, 8)

    def bound(self) -> Any:
        """The m that maps the tap's largest magnitude to 1: -min, or max for a grid that starts at 0."""
        low, high = self.range()
        # That of a gate is never 1: a factor of exactly 1 is folded away, and with it what changes the grid.
        return high if self.grid is Grid.GATE or not self._symmetric else -low


def _rounded(value: Any, low: Any, high: Any, bits: int) -> Any:
    """What tfmot's quantizer gives in inference, but for the gradient of the ranges, which is none."""

    @tf.custom_gradient
    def rounded(value: Any, low: Any, high: Any) -> Any:
        result = tf.quantization.fake_quant_with_min_max_vars(value, low, high, num_bits=bits)

        def gradient(upstream: Any) -> tuple[Any, None, None]:
            # TensorFlow's own, of which a loop would sum up the ranges' part in every step.
            inside, _, _ = tf.raw_ops.FakeQuantWithMinMaxVarsGradient(
                gradients=upstream, inputs=value, min=low, max=high, num_bits=bits
            )
            return inside, None, None

        return result, gradient

    return rounded(value, low, high)


class WeightTap:
    """Quantization point of a weight: symmetric, narrow range, scale = max|w| / 127 of its present value.

    With 16 bits, for element-wise weights, max|w| / 32767.

    The range follows the weights at every call, in inference as well, as it will at export.
    """

    def __init__(
        self, key: str, shape: tuple[int, ...], per_channel: bool, store: keras.layers.Layer, bits: int = 8
    ) -> None:
        from tensorflow_model_optimization.quantization.keras.quantizers import LastValueQuantizer

        self.key = key
        self._quantizer = LastValueQuantizer(num_bits=bits, per_axis=per_channel, symmetric=True, narrow_range=True)
        self._variables = self._quantizer.build(tf.TensorShape(shape), key, _RangeFactory(store))

    def fake_quant(self, kernel: Any) -> Any:
        """`kernel` on its grid; gradient 1 everywhere."""
        ranges = {name: variable.value for name, variable in self._variables.items()}
        kernel = tf.convert_to_tensor(kernel)
        constant = tf.stop_gradient(kernel)
        # Not the quantizer's own gradient: compiled by XLA it is 0 for the largest weight, which rounding may
        # put outside its own range, and for every weight of a kernel of zeros.
        # Zero is on every grid; of a tensor of zeros alone XLA would make other numbers, and of one that is nearly
        # zero the quantizer's scale is none.
        rounded = tf.where(
            tf.abs(constant) < NOTHING, tf.zeros_like(constant), self._quantizer(constant, True, ranges)
        )
        return rounded + (kernel - constant)


class TapStore(keras.layers.Layer):
    """All taps of a model by key; a layer, so that the ranges are saved and counted with the model."""

    def __init__(self, recipe: Recipe, **kwargs: Any) -> None:
        super().__init__(dtype="float32", trainable=False, **kwargs)
        self.recipe = recipe
        self._taps: dict[str, Tap | WeightTap] = {}
        #: Keys of the kernels whose scales the recipe decides.
        self.kernels: list[str] = []
        #: 1 once data was seen: nothing can be exported before.
        self.ranges_set = self.add_weight(name="ranges_set", shape=(), initializer="zeros", trainable=False)
        #: Python flag, read when a training step is traced.
        self.frozen = False
        self.built = True

    def tap(self, key: str, grid: Grid) -> Tap:
        """The tap called `key`, created at its first use."""
        if key not in self._taps:
            self._taps[key] = Tap(key, grid, self, self.recipe.activation_bits, self.recipe.setting(key, "range"))
        found = self._taps[key]
        if not isinstance(found, Tap) or found.grid is not grid:
            raise ValueError(f"Expected tap {key!r} to keep its grid, got {grid}.")
        return found

    def weight(self, key: str, shape: tuple[int, ...], per_channel: bool | None = None) -> WeightTap:
        """The tap of the kernel called `key`, created at its first use; by default as the recipe says."""
        if per_channel is None:
            per_channel = self.recipe.per_channel(key)
            self.kernels.append(key)
        return self._weight_tap(key, shape, per_channel, self.recipe.bits)

    def constant(self, key: str, shape: tuple[int, ...]) -> WeightTap:
        """The tap of an element-wise weight called `key`, created at its first use; it has one scale."""
        return self._weight_tap(key, shape, False, self.recipe.activation_bits)

    def _weight_tap(self, key: str, shape: tuple[int, ...], per_channel: bool, bits: int) -> WeightTap:
        if key not in self._taps:
            self._taps[key] = WeightTap(key, shape, per_channel, self, bits)
        found = self._taps[key]
        assert isinstance(found, WeightTap)
        return found

    def learned(self) -> dict[str, Tap]:
        """Taps whose range comes from data."""
        return {key: tap for key, tap in self._taps.items() if isinstance(tap, Tap) and tap.learned}

    def all(self) -> dict[str, Tap]:
        """All activation taps in the order of the data flow."""
        return {key: tap for key, tap in self._taps.items() if isinstance(tap, Tap)}
