"""FastRNN and FastGRNN: one matmul for gate and candidate."""

from __future__ import annotations

from typing import Any, ClassVar

from .base import Cell
from .gru import checked_rank


class FastRNN(Cell):
    r"""Plain RNN with a residual connection of learned weight.

    $$c = \varphi(W x + U h + b + 1), \quad h' = \sigma(\alpha) c + \sigma(\beta) h$$

    $\alpha$ starts at -3, $\beta$ at 3: slow memory. Here $\sigma$ is always the logistic function. The authors
    start the kernels at $N(0, 0.1^2)$.

    Source: Kusupati et al. 2018, "FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent
    Neural Network", eq. 2; the 1 from the authors' code.
    """

    kernel = recurrent_kernel = bias = ("h",)
    offsets: ClassVar = {"h": 1.0}
    bound = None
    source = "Kusupati et al. 2018, eq. 2"

    def weights(self, features: int, units: int, use_bias: bool) -> dict[str, tuple[int, ...]]:
        return super().weights(features, units, use_bias) | {"alpha": (1,), "beta": (1,)}

    def initializer(self, weight: str) -> str | float | tuple[float, float] | None:
        return {"alpha": -3.0, "beta": 3.0}.get(weight)

    def constants(self, a: Any) -> dict[str, Any]:
        return {name: logistic(a.weight(name)) for name in ("alpha", "beta")}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x, h))
        new, old = a.mul("h_new", c, a.constant("alpha")), a.mul("h_old", h, a.constant("beta"))
        h = a.state("h", new, old)
        return h, (h,)


def logistic(value: Any) -> Any:
    """The logistic function, whatever the recurrent activation is."""
    from keras import ops

    return ops.sigmoid(value)


class FastGRNN(Cell):
    r"""Gate and candidate from one matmul, with two biases.

    $$p = W x + U h, \quad z = \sigma(p + b_z + 1), \quad c = \varphi(p + b_h + 1)$$
    $$h' = (\zeta (1 - z) + \nu) \odot c + z \odot h$$

    $\zeta = \sigma(1)$ and $\nu = \sigma(-4)$ at the start; both are the logistic function of a weight. The authors
    start the kernels at $N(0, 0.1^2)$.

    Args:
        rank, recurrent_rank: make W, U products of two factors, $W = W_1 W_2$ with `rank` columns in $W_1$.
        zoneout: see `Cell`.

    Source: Kusupati et al. 2018, "FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent
    Neural Network", eq. 6; initial biases and weights from the authors' code.
    """

    kernel = recurrent_kernel = ("p",)
    bias = ("z", "h")
    offsets: ClassVar = {"z": 1.0, "h": 1.0}
    keep_gates = ("z",)
    bound: float | None = None
    source = "Kusupati et al. 2018, eq. 6"

    def __init__(self, *, rank: int | None = None, recurrent_rank: int | None = None, zoneout: float = 0.0) -> None:
        super().__init__(zoneout=zoneout)
        self.rank, self.recurrent_rank = checked_rank("rank", rank), checked_rank("recurrent_rank", recurrent_rank)

    def weights(self, features: int, units: int, use_bias: bool) -> dict[str, tuple[int, ...]]:
        return super().weights(features, units, use_bias) | {"zeta": (1,), "nu": (1,)}

    def initializer(self, weight: str) -> str | float | tuple[float, float] | None:
        return {"zeta": 1.0, "nu": -4.0}.get(weight)

    def constants(self, a: Any) -> dict[str, Any]:
        zeta, nu = logistic(a.weight("zeta")), logistic(a.weight("nu"))
        return {**_biases(a), "minus_zeta": -zeta, "zeta_nu": zeta + nu}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        z, c = _gate_and_candidate(a, x, h)
        write = a.settle(a.add("write", a.mul("write_z", z, a.constant("minus_zeta")), a.constant("zeta_nu")))
        h = a.state("h", a.mul("h_new", write, c), a.gated("h_old", z, h))
        return h, (h,)


class FastGRNN0(FastGRNN):
    r"""FastGRNN with $\zeta = 1$ and $\nu = 0$: bounded, and two numbers less.

    $$p = W x + U h, \quad z = \sigma(p + b_z + 1), \quad c = \varphi(p + b_h + 1), \quad
    h' = z \odot h + (1 - z) \odot c$$

    Args:
        rank, recurrent_rank, zoneout: as for `FastGRNN`.

    Source: Kusupati et al. 2018, "FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent
    Neural Network", eq. 6, a limit of it.
    """

    bound = 1.0
    source = "limit of Kusupati et al. 2018, eq. 6"

    def weights(self, features: int, units: int, use_bias: bool) -> dict[str, tuple[int, ...]]:
        return Cell.weights(self, features, units, use_bias)

    def constants(self, a: Any) -> dict[str, Any]:
        return _biases(a)

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        z, c = _gate_and_candidate(a, x, h)
        h = a.interpolate("h", z, c, h)
        return h, (h,)


def _biases(a: Any) -> dict[str, Any]:
    return {"z_bias": a.bias_of(("z",)), "h_bias": a.bias_of(("h",))}


def _gate_and_candidate(a: Any, x: Any, h: Any) -> tuple[Any, Any]:
    p = a.settle(a.linear("p", ("p",), x, h))
    z = a.gate("z", a.add("z_pre", p, a.constant("z_bias")))
    return z, a.candidate("h_cand", a.add("h_pre", p, a.constant("h_bias")))
