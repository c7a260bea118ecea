"""References of the GRU and the MGU, and of those that leave out some of their weights."""

from __future__ import annotations

import numpy as np
import references_base as base
from references_base import Array, Reference, columns, low_rank


def gru_reset_after(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Cho et al. 2014, v1 of the preprint, with two biases as in cuDNN. Keras' order is z, r, h."""
    W, U, b = weights
    (h,) = states
    Wz, Wr, Wh = columns(W, 3)
    Uz, Ur, Uh = columns(U, 3)
    (bz, br, bh), (uz, ur, uh) = columns(b[0], 3), columns(b[1], 3)
    z = base.sigmoid(x @ Wz + bz + h @ Uz + uz)
    r = base.sigmoid(x @ Wr + br + h @ Ur + ur)
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
    z = base.sigmoid(x @ Wz + h @ Uz + bz)
    r = base.sigmoid(x @ Wr + h @ Ur + br)
    candidate = np.tanh(x @ Wh + (r * h) @ Uh + bh)
    new = z * h + (1 - z) * candidate
    return new, [new]


def gru1(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Dey & Salem 2017, GRU1: gates from state and bias. Their z writes; here it keeps, as in Keras."""
    W, U, b = weights
    (h,) = states
    (Uz, Ur, Uh), (bz, br, bh) = columns(U, 3), columns(b, 3)
    z = base.sigmoid(h @ Uz + bz)
    r = base.sigmoid(h @ Ur + br)
    new = z * h + (1 - z) * np.tanh(x @ W + (r * h) @ Uh + bh)
    return new, [new]


def gru2(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Dey & Salem 2017, GRU2: gates from the state alone. Their z writes; here it keeps."""
    W, U, bh = weights
    (h,) = states
    Uz, Ur, Uh = columns(U, 3)
    z = base.sigmoid(h @ Uz)
    r = base.sigmoid(h @ Ur)
    new = z * h + (1 - z) * np.tanh(x @ W + (r * h) @ Uh + bh)
    return new, [new]


def gru3(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Dey & Salem 2017, GRU3: gates from the bias alone. Their z writes; here it keeps."""
    W, U, b = weights
    (h,) = states
    bz, br, bh = columns(b, 3)
    z, r = base.sigmoid(bz), base.sigmoid(br)
    new = z * h + (1 - z) * np.tanh(x @ W + (r * h) @ U + bh)
    return new, [new]


def mgu(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Zhou et al. 2016, eq. 7-9: f writes."""
    W, U, b = weights
    (h,) = states
    (Wf, Wh), (Uf, Uh), (bf, bh) = columns(W, 2), columns(U, 2), columns(b, 2)
    f = base.sigmoid(x @ Wf + h @ Uf + bf)
    candidate = np.tanh(x @ Wh + (f * h) @ Uh + bh)
    new = (1 - f) * h + f * candidate
    return new, [new]


def mgu1(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Heck & Salem 2017, MGU1: the gate from state and bias."""
    W, U, b = weights
    (h,) = states
    (Uf, Uh), (bf, bh) = columns(U, 2), columns(b, 2)
    f = base.sigmoid(h @ Uf + bf)
    new = (1 - f) * h + f * np.tanh(x @ W + (f * h) @ Uh + bh)
    return new, [new]


def mgu2(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Heck & Salem 2017, MGU2: the gate from the state alone."""
    W, U, bh = weights
    (h,) = states
    Uf, Uh = columns(U, 2)
    f = base.sigmoid(h @ Uf)
    new = (1 - f) * h + f * np.tanh(x @ W + (f * h) @ Uh + bh)
    return new, [new]


def mgu3(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Heck & Salem 2017, MGU3: the gate from the bias alone."""
    W, U, b = weights
    (h,) = states
    bf, bh = columns(b, 2)
    f = base.sigmoid(bf)
    new = (1 - f) * h + f * np.tanh(x @ W + (f * h) @ U + bh)
    return new, [new]


def coupled(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """z=σ(Wz x+Uz h+bz); c=φ(W x+b+z*(U h+b')); h'=z*h+(1-z)*c. The second bias is the candidate's alone."""
    W, U, b, recurrent_bias = weights
    (h,) = states
    (Wz, Wh), (Uz, Uh), (bz, bh) = columns(W, 2), columns(U, 2), columns(b, 2)
    z = base.sigmoid(x @ Wz + h @ Uz + bz)
    candidate = np.tanh(x @ Wh + bh + z * (h @ Uh + recurrent_bias))
    new = z * h + (1 - z) * candidate
    return new, [new]


def indygru(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Gonnet, IndyGRUCell of TensorFlow 1.15's contrib: vectors for the recurrent matrices. Gate biases of 1."""
    W, u, b = weights
    (h,) = states
    (Wz, Wr, Wh), (uz, ur, uh), (bz, br, bh) = columns(W, 3), columns(u, 3), columns(b, 3)
    z = base.sigmoid(x @ Wz + uz * h + bz + 1)
    r = base.sigmoid(x @ Wr + ur * h + br + 1)
    new = z * h + (1 - z) * np.tanh(x @ Wh + uh * (r * h) + bh)
    return new, [new]


def brc(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Vecoven et al. 2021, BRC, with the two biases of the authors' code: r from 0 to 2, none for the candidate."""
    W, u, b = weights
    (h,) = states
    (Wz, Wr, Wh), (uz, ur), (bz, br) = columns(W, 3), columns(u, 2), columns(b, 2)
    z = base.sigmoid(x @ Wz + uz * h + bz)
    r = 1 + np.tanh(x @ Wr + ur * h + br)
    new = z * h + (1 - z) * np.tanh(x @ Wh + r * h)
    return new, [new]


def nbrc(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
    """Vecoven et al. 2021, nBRC: as BRC, but other units modulate the gates."""
    W, U, b = weights
    (h,) = states
    (Wz, Wr, Wh), (Uz, Ur), (bz, br) = columns(W, 3), columns(U, 2), columns(b, 2)
    z = base.sigmoid(x @ Wz + h @ Uz + bz)
    r = 1 + np.tanh(x @ Wr + h @ Ur + br)
    new = z * h + (1 - z) * np.tanh(x @ Wh + r * h)
    return new, [new]


GRU = {
    "gru": Reference(gru_reset_after, lambda d, n: 3 * (d * n + n * n + 2 * n), {}),
    "gru, reset before": Reference(
        gru_reset_before, lambda d, n: 3 * (d * n + n * n + n), {"variant": "gru", "reset_after": False}
    ),
    "gru, low rank": Reference(
        low_rank(gru_reset_after),
        lambda d, n: 2 * (d + 3 * n) + 3 * (n + 3 * n) + 6 * n,
        {"variant": {"name": "gru", "rank": 2, "recurrent_rank": 3}},
    ),
    "gru1": Reference(gru1, lambda d, n: d * n + 3 * n * n + 3 * n, {}),
    "gru2": Reference(gru2, lambda d, n: d * n + 3 * n * n + n, {}),
    "gru3": Reference(gru3, lambda d, n: d * n + n * n + 3 * n, {}),
    "mgu": Reference(mgu, lambda d, n: 2 * (d * n + n * n + n), {}),
    "mgu, low rank": Reference(
        low_rank(mgu),
        lambda d, n: 2 * (d + 2 * n) + 3 * (n + 2 * n) + 2 * n,
        {"variant": {"name": "mgu", "rank": 2, "recurrent_rank": 3}},
    ),
    "mgu1": Reference(mgu1, lambda d, n: d * n + 2 * n * n + 2 * n, {}),
    "mgu2": Reference(mgu2, lambda d, n: d * n + 2 * n * n + n, {}),
    "mgu3": Reference(mgu3, lambda d, n: d * n + n * n + 2 * n, {}),
    "coupled": Reference(coupled, lambda d, n: 2 * (d * n + n * n) + 3 * n, {}),
    "indygru": Reference(indygru, lambda d, n: 3 * (d * n + 2 * n), {}),
    "brc": Reference(brc, lambda d, n: 3 * d * n + 4 * n, {}),
    "nbrc": Reference(nbrc, lambda d, n: 3 * d * n + 2 * n * n + 2 * n, {}),
}
