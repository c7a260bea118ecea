"""One step of every variant in NumPy float64, typed from the papers; imports nothing of the package.

`REFERENCES[name]` has the step and the number of parameters. A step takes the layer's weights in
Keras' order, one input `(batch, features)` and the states, and returns the output and the new states.
`run` is the plain loop over time, with masks as Keras treats them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Reference:
    """An independent definition of a variant.

    Attributes:
        step: `(weights, x, states) -> output, states`.
        parameters: number of weights for `d` features and `n` units.
        options: keyword arguments of `GRUPlus` for which it holds.
    """

    step: Callable[[list[Array], Array, list[Array]], tuple[Array, list[Array]]]
    parameters: Callable[[int, int], int]
    options: dict[str, Any]


def sigmoid(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def columns(matrix: Array, gates: int) -> list[Array]:
    """The blocks of `units` columns of a weight, one a gate."""
    return np.split(matrix, gates, axis=-1)


def gru_reset_after(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Cho et al. 2014, v1 of the preprint, with two biases as in cuDNN. Keras' order is z, r, h."""
    W, U, b = weights
    (h,) = states
    Wz, Wr, Wh = columns(W, 3)
    Uz, Ur, Uh = columns(U, 3)
    (bz, br, bh), (uz, ur, uh) = columns(b[0], 3), columns(b[1], 3)
    z = sigmoid(x @ Wz + bz + h @ Uz + uz)
    r = sigmoid(x @ Wr + br + h @ Ur + ur)
    candidate = np.tanh(x @ Wh + bh + r * (h @ Uh + uh))
    new = z * h + (1 - z) * candidate
    return new, [new]


def gru_reset_before(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Cho et al. 2014, v3 of the preprint."""
    W, U, b = weights
    (h,) = states
    Wz, Wr, Wh = columns(W, 3)
    Uz, Ur, Uh = columns(U, 3)
    bz, br, bh = columns(b, 3)
    z = sigmoid(x @ Wz + h @ Uz + bz)
    r = sigmoid(x @ Wr + h @ Ur + br)
    candidate = np.tanh(x @ Wh + (r * h) @ Uh + bh)
    new = z * h + (1 - z) * candidate
    return new, [new]


def mgu(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Zhou et al. 2016, eq. 7-9: f writes."""
    W, U, b = weights
    (h,) = states
    (Wf, Wh), (Uf, Uh), (bf, bh) = columns(W, 2), columns(U, 2), columns(b, 2)
    f = sigmoid(x @ Wf + h @ Uf + bf)
    candidate = np.tanh(x @ Wh + (f * h) @ Uh + bh)
    new = (1 - f) * h + f * candidate
    return new, [new]


def coupled(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """z=σ(Wz x+Uz h+bz); c=φ(W x+b+z*(U h+b')); h'=z*h+(1-z)*c. The second bias is the candidate's alone."""
    W, U, b, recurrent_bias = weights
    (h,) = states
    (Wz, Wh), (Uz, Uh), (bz, bh) = columns(W, 2), columns(U, 2), columns(b, 2)
    z = sigmoid(x @ Wz + h @ Uz + bz)
    candidate = np.tanh(x @ Wh + bh + z * (h @ Uh + recurrent_bias))
    new = z * h + (1 - z) * candidate
    return new, [new]


REFERENCES = {
    "gru": Reference(gru_reset_after, lambda d, n: 3 * (d * n + n * n + 2 * n), {}),
    "gru, reset before": Reference(
        gru_reset_before, lambda d, n: 3 * (d * n + n * n + n), {"variant": "gru", "reset_after": False}
    ),
    "mgu": Reference(mgu, lambda d, n: 2 * (d * n + n * n + n), {}),
    "coupled": Reference(coupled, lambda d, n: 2 * (d * n + n * n) + 3 * n, {}),
}


def run(
    step: Callable[[list[Array], Array, list[Array]], tuple[Array, list[Array]]],
    weights: list[Array],
    x: Array,
    states: list[Array],
    *,
    mask: Array | None = None,
    go_backwards: bool = False,
) -> tuple[Array, list[Array]]:
    """All outputs `(batch, timesteps, units)` in the order of computing, and the last states.

    Where the mask `(batch, timesteps)` is false, a row keeps its states and repeats its output
    (zeros if it has none yet).
    """
    weights = [np.asarray(w, np.float64) for w in weights]
    states = [np.asarray(s, np.float64) for s in states]
    outputs: list[Array] = []
    for t in range(x.shape[1])[:: -1 if go_backwards else 1]:
        output, new = step(weights, np.asarray(x[:, t], np.float64), states)
        if mask is not None:
            keep = mask[:, t, None]
            output = np.where(keep, output, outputs[-1] if outputs else 0.0)
            new = [np.where(keep, n, s) for n, s in zip(new, states)]
        outputs.append(output)
        states = new
    return np.stack(outputs, axis=1), states
