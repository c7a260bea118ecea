"""References of the cells that know how much time has passed."""

from __future__ import annotations

import numpy as np
import references_base as base
from references_base import Array, Reference, columns


def cfc(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Hasani et al. 2022, CfC without a backbone, for a constant step of time, where a*s+b is one row of weights."""
    W, U, b = weights
    (h,) = states
    first, second, t = columns(x @ W + h @ U + b, 3)
    t = base.sigmoid(t)
    new = (1 - t) * np.tanh(first) + t * np.tanh(second)
    return new, [new]


def cfc_elapsed(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Hasani et al. 2022, CfC without a backbone; the last column of the input is the time elapsed."""
    W, U, b = weights
    (h,) = states
    x, elapsed = x[:, :-1], x[:, -1:]
    first, second, slope, offset = columns(x @ W + h @ U + b, 4)
    t = base.sigmoid(slope * elapsed + offset)
    new = (1 - t) * np.tanh(first) + t * np.tanh(second)
    return new, [new]


def grud(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Che et al. 2018, GRU-D: an input that is missing decays to its mean, the state to zero.

    `x` is the values, their mask (1 where observed) and the time since the row before. The states are h, the last
    observed value less the mean, and the time since it was observed where it is missing now.
    """
    W, U, b, V, input_decay, input_decay_bias, hidden_decay, hidden_decay_bias, mean = weights
    h, deviation, unseen = states
    v = mean.shape[-1]
    value, m, passed = x[:, :v], x[:, v : 2 * v], x[:, 2 * v :]
    gap = passed + unseen
    last = m * value + (1 - m) * (mean + deviation)
    input_gamma = np.exp(-np.maximum(0, input_decay * gap + input_decay_bias))
    hidden_gamma = np.exp(-np.maximum(0, gap @ hidden_decay + hidden_decay_bias))
    value = m * value + (1 - m) * (input_gamma * last + (1 - input_gamma) * mean)
    h = hidden_gamma * h
    (Wz, Wr, Wh), (Uz, Ur, Uh) = columns(W, 3), columns(U, 3)
    (Vz, Vr, Vh), (bz, br, bh) = columns(V, 3), columns(b, 3)
    z = base.sigmoid(value @ Wz + h @ Uz + m @ Vz + bz)
    r = base.sigmoid(value @ Wr + h @ Ur + m @ Vr + br)
    candidate = np.tanh(value @ Wh + (r * h) @ Uh + m @ Vh + bh)
    # The paper's z writes, (1-z)*h + z*c.
    new = (1 - z) * h + z * candidate
    return new, [new, last - mean, (1 - m) * gap]


def grud_parameters(d: int, n: int) -> int:
    v = (d - 1) // 2
    return 7 * v * n + 3 * n * n + 4 * n + 3 * v


TIME = {
    "cfc": Reference(cfc, lambda d, n: 3 * (d * n + n * n + n), {}),
    "cfc, elapsed": Reference(
        cfc_elapsed,
        lambda d, n: 4 * ((d - 1) * n + n * n + n),
        {"variant": {"name": "cfc", "elapsed": True}},
    ),
    "grud": Reference(grud, grud_parameters, {}),
}
