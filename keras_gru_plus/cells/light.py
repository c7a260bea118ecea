"""Cells whose candidate, or whose recurrence, is cut down: LightRU, STAR, MinimalRNN, eGRU, IndyGRU."""

from __future__ import annotations

from typing import Any, ClassVar

from .base import Cell


class LightRU(Cell):
    r"""Light recurrent unit: the candidate sees the input alone, `f` writes.

    $$c = \varphi(W x), \quad f = \sigma(W_f x + U_f h + b_f), \quad h' = (1 - f) \odot h + f \odot c$$

    Source: Ye et al. 2024, "Light Recurrent Unit: Towards an Interpretable Recurrent Neural Network for Modeling
    Long-Range Dependency", algorithm 1.
    """

    kernel = ("f", "h")
    recurrent_kernel = bias = ("f",)
    write_gates = ("f",)
    source = "Ye et al. 2024, algorithm 1"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x))
        f = a.gate("f", a.linear("f_pre", ("f",), x, h))
        h = a.interpolate("h", f, h, c)
        return h, (h,)


class STAR(Cell):
    r"""Stackable recurrent cell: `f` writes, and the mixture is squashed once more.

    $$c = \varphi(W x + b), \quad f = \sigma(W_f x + U_f h + b_f), \quad h' = \varphi((1 - f) \odot h + f \odot c)$$

    The authors start all kernels with orthogonal matrices.

    Source: Turkoglu et al. 2021, "Gating Revisited: Deep Multi-layer RNNs That Can Be Trained", eq. 7-9.
    """

    kernel = bias = ("f", "h")
    recurrent_kernel = ("f",)
    write_gates = ("f",)
    source = "Turkoglu et al. 2021, eq. 7-9"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x))
        f = a.gate("f", a.linear("f_pre", ("f",), x, h))
        h = a.candidate("h", a.interpolate("mix", f, h, c))
        return h, (h,)


class MinimalRNN(Cell):
    r"""MinimalRNN: the input is embedded first, and one gate decides between memory and embedding.

    $$c = \varphi(W x + b), \quad z = \sigma(U h + V c + b_z + 1), \quad h' = z \odot h + (1 - z) \odot c$$

    `recurrent_kernel` is U on top of V, `(2 units, units)`.

    Source: Chen 2017, "MinimalRNN: Toward More Interpretable and Trainable Recurrent Neural Networks", eq. 1-4; the
    1 as in public implementations.
    """

    kernel = ("h",)
    recurrent_kernel = ("z",)
    bias = ("z", "h")
    offsets: ClassVar = {"z": 1.0}
    keep_gates = ("z",)
    source = "Chen 2017, eq. 1-4"

    def rows(self, features: int, units: int) -> dict[str, int]:
        return {"kernel": features, "recurrent_kernel": 2 * units}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x))
        z = a.gate("z", a.linear("z_pre", ("z",), h=(h, c)))
        h = a.interpolate("h", z, c, h)
        return h, (h,)


class EGRU(Cell):
    r"""Embedded GRU: softsign everywhere, one gate that writes.

    With $\varsigma(v) = v / (1 + |v|)$ by default:

    $$z = (\varsigma(W_z x + U_z h + b_z) + 1) / 2, \quad c = \varsigma(W x + U h + b), \quad
    h' = (1 - z) \odot h + z \odot c$$

    The authors also quantize weights to powers of two, which is not part of the cell here.

    Source: Amoh & Odame 2019, "An Optimized Recurrent Unit for Ultra-Low-Power Keyword Spotting", eq. 6-8.
    """

    kernel = recurrent_kernel = bias = ("z", "h")
    write_gates = ("z",)
    activation = "softsign"
    recurrent_activation = "softsign_gate"
    source = "Amoh & Odame 2019, eq. 6-8"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        z = a.gate("z", a.linear("z_pre", ("z",), x, h))
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x, h))
        h = a.interpolate("h", z, h, c)
        return h, (h,)


class IndyGRU(Cell):
    r"""GRU whose units are independent of each other; `z` keeps.

    $$z = \sigma(W_z x + u_z \odot h + b_z + 1), \quad r = \sigma(W_r x + u_r \odot h + b_r + 1)$$
    $$c = \varphi(W x + u \odot (r \odot h) + b), \quad h' = z \odot h + (1 - z) \odot c$$

    $u$ starts uniform in [-1, 1].

    Source: P. Gonnet, IndyGRUCell of TensorFlow 1's contrib.rnn; after Li et al. 2018, "Independently Recurrent
    Neural Network".
    """

    kernel = recurrent_vector = bias = ("z", "r", "h")
    offsets: ClassVar = {"z": 1.0, "r": 1.0}
    keep_gates = ("z",)
    source = "Gonnet 2018, tf.contrib.rnn.IndyGRUCell"

    def constants(self, a: Any) -> dict[str, Any]:
        return {f"{gate}_u": a.block("recurrent_vector", (gate,)) for gate in ("z", "r", "h")}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        z, r, pre = a.split(a.settle(a.linear("projected", ("z", "r", "h"), x)), 3)
        z = a.gate("z", a.add("z_pre", z, a.mul("z_h", h, a.constant("z_u"))))
        r = a.gate("r", a.add("r_pre", r, a.mul("r_h", h, a.constant("r_u"))))
        seen = a.mul("h_h", a.gated("r_gated", r, h), a.constant("h_u"))
        c = a.candidate("h_cand", a.add("h_pre", pre, seen))
        h = a.interpolate("h", z, c, h)
        return h, (h,)
