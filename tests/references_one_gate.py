"""References of the cells without a reset gate."""

from __future__ import annotations

import numpy as np
import references_base as base
from references_base import Array, Reference, columns, logistic, low_rank


def ugrnn(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Collins et al. 2017, UGRNN; the bias of 1 as in TensorFlow 1.15's contrib: g keeps."""
    W, U, b = weights
    (h,) = states
    (Wg, Wh), (Ug, Uh), (bg, bh) = columns(W, 2), columns(U, 2), columns(b, 2)
    g = base.sigmoid(x @ Wg + h @ Ug + bg + 1)
    new = g * h + (1 - g) * np.tanh(x @ Wh + h @ Uh + bh)
    return new, [new]


def cifg(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Greff et al. 2015, CIFG, an LSTM with i = 1 - f, but without their peepholes. Forget bias of 1."""
    W, U, b = weights
    h, s = states
    (Wf, Wo, Wh), (Uf, Uo, Uh), (bf, bo, bh) = columns(W, 3), columns(U, 3), columns(b, 3)
    f = base.sigmoid(x @ Wf + h @ Uf + bf + 1)
    o = base.sigmoid(x @ Wo + h @ Uo + bo)
    s = f * s + (1 - f) * np.tanh(x @ Wh + h @ Uh + bh)
    h = o * np.tanh(s)
    return h, [h, s]


def janet(beta: float) -> base.Step:
    """van der Westhuizen & Lasenby 2018: an LSTM with only its forget gate, beta of 1."""

    def step(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
        W, U, b = weights
        (h,) = states
        (Wf, Wh), (Uf, Uh), (bf, bh) = columns(W, 2), columns(U, 2), columns(b, 2)
        s = x @ Wf + h @ Uf + bf
        new = base.sigmoid(s) * h + (1 - base.sigmoid(s - beta)) * np.tanh(x @ Wh + h @ Uh + bh)
        return new, [new]

    return step


def ligru(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Ravanelli et al. 2018, Li-GRU, at inference: the inputs' share is batch-normalized, the candidate a ReLU."""
    W, U, gamma, beta, mean, variance = weights
    (h,) = states
    normalized = gamma * (x @ W - mean) / np.sqrt(variance + 1e-5) + beta
    (xz, xh), (Uz, Uh) = columns(normalized, 2), columns(U, 2)
    z = base.sigmoid(xz + h @ Uz)
    new = z * h + (1 - z) * np.maximum(xh + h @ Uh, 0)
    return new, [new]


def fastrnn(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Kusupati et al. 2018, eq. 2: two scalars, each the logistic of a weight; bias 1 as in the authors' code."""
    W, U, b, alpha, beta = weights
    (h,) = states
    new = logistic(alpha) * np.tanh(x @ W + h @ U + b + 1) + logistic(beta) * h
    return new, [new]


def fastgrnn(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Kusupati et al. 2018, eq. 6; both biases of 1 and zeta, nu the logistic of a weight as in the authors' code."""
    W, U, b, zeta, nu = weights
    (h,) = states
    bz, bh = columns(b, 2)
    p = x @ W + h @ U
    z = base.sigmoid(p + bz + 1)
    new = (logistic(zeta) * (1 - z) + logistic(nu)) * np.tanh(p + bh + 1) + z * h
    return new, [new]


def fastgrnn0(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Kusupati et al. 2018, eq. 6 with zeta = 1 and nu = 0."""
    W, U, b = weights
    (h,) = states
    bz, bh = columns(b, 2)
    p = x @ W + h @ U
    z = base.sigmoid(p + bz + 1)
    new = (1 - z) * np.tanh(p + bh + 1) + z * h
    return new, [new]


def lightru(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Ye et al. 2024, there LRU: the candidate sees the input only and has no bias; f writes."""
    W, U, b = weights
    (h,) = states
    Wf, Wh = columns(W, 2)
    f = base.sigmoid(x @ Wf + h @ U + b)
    new = (1 - f) * h + f * np.tanh(x @ Wh)
    return new, [new]


def star(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Turkoglu et al. 2021, STAR as in the paper: the gate writes, and the new state passes a tanh."""
    W, U, b = weights
    (h,) = states
    (Wf, Wh), (bf, bh) = columns(W, 2), columns(b, 2)
    f = base.sigmoid(x @ Wf + h @ U + bf)
    new = np.tanh((1 - f) * h + f * np.tanh(x @ Wh + bh))
    return new, [new]


def minimalrnn(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Chen 2017, with one dense layer as Φ: the gate sees the old state and the candidate. Gate bias of 1."""
    W, U, b = weights
    (h,) = states
    bz, bh = columns(b, 2)
    of_h, of_candidate = np.split(U, 2, axis=0)
    candidate = np.tanh(x @ W + bh)
    z = base.sigmoid(h @ of_h + candidate @ of_candidate + bz + 1)
    new = z * h + (1 - z) * candidate
    return new, [new]


def softsign(v: Array) -> Array:
    return v / (1 + np.abs(v))


def egru(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Amoh & Odame 2019, eGRU before its quantization: softsigns, and z writes."""
    W, U, b = weights
    (h,) = states
    (Wz, Wh), (Uz, Uh), (bz, bh) = columns(W, 2), columns(U, 2), columns(b, 2)
    z = (softsign(x @ Wz + h @ Uz + bz) + 1) / 2
    new = (1 - z) * h + z * softsign(x @ Wh + h @ Uh + bh)
    return new, [new]


def atr(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Zhang et al. 2018, ATR: both gates from the same two products."""
    W, U = weights
    (h,) = states
    p, q = x @ W, h @ U
    new = base.sigmoid(p + q) * p + base.sigmoid(p - q) * h
    return new, [new]


def ran(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Lee et al. 2017, eq. 1: the state is the content c, of which h is the tanh."""
    W, U, b = weights
    (c,) = states
    h = np.tanh(c)
    (Wc, Wi, Wf), (Ui, Uf), (bi, bf) = columns(W, 3), columns(U, 2), columns(b, 2)
    i = base.sigmoid(x @ Wi + h @ Ui + bi)
    f = base.sigmoid(x @ Wf + h @ Uf + bf)
    c = i * (x @ Wc) + f * c
    return np.tanh(c), [c]


def cfn(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Laurent & von Brecht 2017, the chaos-free network; the candidate has no bias."""
    W, U, b = weights
    (h,) = states
    (Wt, We, Wh), (Ut, Ue), (bt, be) = columns(W, 3), columns(U, 2), columns(b, 2)
    theta = base.sigmoid(x @ Wt + h @ Ut + bt)
    eta = base.sigmoid(x @ We + h @ Ue + be)
    new = theta * np.tanh(h) + eta * np.tanh(x @ Wh)
    return new, [new]


ONE_GATE = {
    "ugrnn": Reference(ugrnn, lambda d, n: 2 * (d * n + n * n + n), {}),
    "cifg": Reference(cifg, lambda d, n: 3 * (d * n + n * n + n), {}),
    "janet": Reference(janet(1.0), lambda d, n: 2 * (d * n + n * n + n), {}),
    "janet, beta 0": Reference(
        janet(0.0), lambda d, n: 2 * (d * n + n * n + n), {"variant": {"name": "janet", "beta": 0.0}}
    ),
    "ligru": Reference(ligru, lambda d, n: 2 * (d * n + n * n) + 8 * n, {}),
    "fastrnn": Reference(fastrnn, lambda d, n: d * n + n * n + n + 2, {}),
    "fastgrnn": Reference(fastgrnn, lambda d, n: d * n + n * n + 2 * n + 2, {}),
    "fastgrnn, low rank": Reference(
        low_rank(fastgrnn),
        lambda d, n: 2 * (d + n) + 3 * (n + n) + 2 * n + 2,
        {"variant": {"name": "fastgrnn", "rank": 2, "recurrent_rank": 3}},
    ),
    "fastgrnn0": Reference(fastgrnn0, lambda d, n: d * n + n * n + 2 * n, {}),
    "fastgrnn0, low rank": Reference(
        low_rank(fastgrnn0),
        lambda d, n: 2 * (d + n) + 3 * (n + n) + 2 * n,
        {"variant": {"name": "fastgrnn0", "rank": 2, "recurrent_rank": 3}},
    ),
    "lightru": Reference(lightru, lambda d, n: 2 * d * n + n * n + n, {}),
    "star": Reference(star, lambda d, n: 2 * d * n + n * n + 2 * n, {}),
    "minimalrnn": Reference(minimalrnn, lambda d, n: d * n + 2 * n * n + 2 * n, {}),
    "egru": Reference(egru, lambda d, n: 2 * (d * n + n * n + n), {}),
    "atr": Reference(atr, lambda d, n: d * n + n * n, {}),
    "ran": Reference(ran, lambda d, n: 3 * d * n + 2 * n * n + 2 * n, {}),
    "cfn": Reference(cfn, lambda d, n: 3 * d * n + 2 * n * n + 2 * n, {}),
}
