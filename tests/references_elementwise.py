"""References of the cells whose state reaches the next one element by element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import references_base as base
from references_base import Array, Reference, columns, logistic


def linear(v: Array) -> Array:
    return v


def tanh(v: Array) -> Array:
    return np.tanh(v)


def positive(v: Array) -> Array:
    """The g of Feng et al. 2024, appendix B: above 0 and continuous."""
    return np.where(v >= 0, v + 0.5, logistic(v))


def mingru(g: Callable[[Array], Array]) -> base.Step:
    """Feng et al. 2024, minGRU: z writes, and neither gate nor candidate see the state."""

    def step(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
        W, b = weights
        (h,) = states
        (Wz, Wh), (bz, bh) = columns(W, 2), columns(b, 2)
        z = base.sigmoid(x @ Wz + bz)
        new = (1 - z) * h + z * g(x @ Wh + bh)
        return new, [new]

    return step


def sru1(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Lei et al. 2017, v1 of the preprint: gates from the input, highway from the input or its projection."""
    W, b = weights
    (c,) = states
    Wf, Wr, Wh, *Ws = columns(W, W.shape[1] // c.shape[1])
    bf, br = columns(b, 2)
    f = base.sigmoid(x @ Wf + bf)
    r = base.sigmoid(x @ Wr + br)
    skipped = x @ Ws[0] if Ws else x
    c = f * c + (1 - f) * (x @ Wh)
    return r * np.tanh(c) + (1 - r) * skipped, [c]


def sru(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Lei et al. 2018 and the authors' code: both gates see the old state, the highway is scaled, r's bias -2."""
    W, v, b = weights
    (c,) = states
    Wf, Wr, Wh, *Ws = columns(W, W.shape[1] // c.shape[1])
    (vf, vr), (bf, br) = columns(v, 2), columns(b, 2)
    f = base.sigmoid(x @ Wf + vf * c + bf)
    r = base.sigmoid(x @ Wr + vr * c + br - 2)
    skipped = x @ Ws[0] if Ws else np.sqrt(1 + 2 * np.exp(-2)) * x
    c = f * c + (1 - f) * (x @ Wh)
    return r * c + (1 - r) * skipped, [c]


def qrnn(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Bradbury et al. 2017, fo-pooling; the convolution's newest input first, its past inputs are states."""
    W, b = weights
    h, *past = states
    window = [x, *past]
    z, f, o = columns(np.concatenate(window, axis=-1) @ W + b, 3)
    f, o = base.sigmoid(f), base.sigmoid(o)
    h = f * h + (1 - f) * np.tanh(z)
    return o * h, [h, *window[:-1]]


ELEMENTWISE = {
    "mingru": Reference(mingru(linear), lambda d, n: 2 * (d * n + n), {}),
    "mingru, tanh": Reference(
        mingru(tanh), lambda d, n: 2 * (d * n + n), {"variant": "mingru", "activation": "tanh"}
    ),
    "mingru, g": Reference(
        mingru(positive), lambda d, n: 2 * (d * n + n), {"variant": "mingru", "activation": "log_space"}
    ),
    "sru1": Reference(sru1, lambda d, n: (3 if d == n else 4) * d * n + 2 * n, {}),
    "sru": Reference(sru, lambda d, n: (3 if d == n else 4) * d * n + 4 * n, {}),
    "qrnn": Reference(qrnn, lambda d, n: 3 * 2 * d * n + 3 * n, {}),
    "qrnn, width 1": Reference(qrnn, lambda d, n: 3 * d * n + 3 * n, {"variant": {"name": "qrnn", "width": 1}}),
    "qrnn, width 3": Reference(qrnn, lambda d, n: 3 * 3 * d * n + 3 * n, {"variant": {"name": "qrnn", "width": 3}}),
}
