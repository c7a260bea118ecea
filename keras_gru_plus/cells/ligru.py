"""The light GRU of speech recognition: one gate, relu, and batch normalization of the input's share."""

from __future__ import annotations

from typing import Any

from .base import Cell

EPSILON = 1e-5
MOMENTUM = 0.95


class LiGRU(Cell):
    r"""Light GRU; `z` keeps the old state, the candidate is unbounded.

    $$z = \sigma(BN(W_z x) + U_z h), \quad c = relu(BN(W x) + U h), \quad h' = z \odot h + (1 - z) \odot c$$

    The statistics of BN are those of $W x$ over all rows and time steps of a batch in training, moving averages
    (momentum 0.95) in inference and in quantization-aware training, where they are folded into W and a bias. A
    `GRUPlusCell` on its own sees one step at a time and uses the moving averages.

    Source: Ravanelli et al. 2018, "Light Gated Recurrent Units for Speech Recognition", eq. 7-9.
    """

    kernel = recurrent_kernel = bias = ("z", "h")
    bound = None
    activation = "relu"
    implicit_bias = True
    frozen = ("moving_mean", "moving_variance")
    source = "Ravanelli et al. 2018, eq. 7-9"

    def weights(self, features: int, units: int, use_bias: bool) -> dict[str, tuple[int, ...]]:
        shapes = super().weights(features, units, False)
        names = ("gamma", *(("beta",) if use_bias else ()), *self.frozen)
        return shapes | dict.fromkeys(names, (2 * units,))

    def initializer(self, weight: str) -> str | float | tuple[float, float] | None:
        ones = {"gamma": 1.0, "moving_variance": 1.0, "moving_mean": 0.0, "beta": 0.0}
        return ones.get(weight, super().initializer(weight))

    def effective_weight(self, name: str, a: Any) -> Any:
        from keras import ops

        layer = a.layer
        if name not in ("kernel", "bias"):
            return layer.weight(name)
        mean, variance = a.statistics or (layer.weight("moving_mean"), layer.weight("moving_variance"))
        factor = layer.weight("gamma") * ops.cast(ops.rsqrt(variance + EPSILON), layer.compute_dtype)
        if name == "kernel":
            return layer.weight("kernel") * factor
        shift = -ops.cast(mean, layer.compute_dtype) * factor
        return shift + layer.weight("beta") if layer.use_bias else shift

    def begin(self, a: Any, sequences: Any, mask: Any, training: bool) -> bool:
        from keras import ops

        layer = a.layer
        if not training or a.folds_saturation:
            return False
        projected = ops.cast(ops.matmul(sequences, layer.weight("kernel")), "float32")
        weight = ops.ones(ops.shape(sequences)[:2]) if mask is None else ops.cast(mask, "float32")
        weight = ops.expand_dims(weight, -1)
        count = ops.maximum(ops.sum(weight), 1.0)
        mean = ops.sum(projected * weight, axis=(0, 1)) / count
        variance = ops.sum(ops.square(projected - mean) * weight, axis=(0, 1)) / count
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(MOMENTUM * moving + (1 - MOMENTUM) * ops.stop_gradient(value))
        a.statistics = (mean, variance)
        return True

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        z = a.gate("z", a.linear("z_pre", ("z",), x, h))
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x, h))
        h = a.interpolate("h", z, c, h)
        return h, (h,)
