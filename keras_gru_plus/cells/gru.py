"""The gated recurrent unit and its one-gate relative with coupled gates."""

from __future__ import annotations

from typing import Any

from .base import Cell


class GRU(Cell):
    r"""Gated recurrent unit, as `keras.layers.GRU` computes it; `z` keeps the old state.

    With $\sigma$ the recurrent activation and $\varphi$ the activation:

    $$z = \sigma(W_z x + b_z + U_z h + b'_z), \quad r = \sigma(W_r x + b_r + U_r h + b'_r)$$
    $$c = \varphi(W_h x + b_h + r \odot (U_h h + b'_h)) \quad \text{(reset\_after)}$$
    $$c = \varphi(W_h x + U_h (r \odot h) + b_h) \quad \text{(else, and without } b')$$
    $$h' = z \odot h + (1 - z) \odot c$$

    Args:
        reset_after: apply the reset gate after the recurrent matmul (cuDNN's form) or before it.

    Source: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", eq. 5-8
    (v3 of the preprint is `reset_after=False`, v1 `True`); biases as in Keras.
    """

    kernel = recurrent_kernel = bias = ("z", "r", "h")
    keep_gates = ("z",)
    source = "Cho et al. 2014, eq. 5-8"

    def __init__(self, reset_after: bool = True) -> None:
        self.reset_after = bool(reset_after)
        self.recurrent_bias = self.bias if self.reset_after else ()

    def with_reset_after(self, reset_after: bool) -> GRU:
        return GRU(reset_after=self.reset_after and reset_after)

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        z, r = a.split(a.gate("z_r", a.linear("z_r_pre", ("z", "r"), x, h)), 2)
        if self.reset_after:
            gated = a.mul("r_gated", r, a.linear("h_recurrent", ("h",), h=h))
            pre = a.add("h_pre", a.linear("h_input", ("h",), x), gated)
        else:
            pre = a.linear("h_pre", ("h",), x, a.gated("r_gated", r, h))
        c = a.candidate("h_cand", pre)
        h = a.interpolate("h", z, c, h)
        return h, (h,)


class Coupled(Cell):
    r"""GRU whose one gate both keeps the state and lets the candidate see it (r = z).

    $$z = \sigma(W_z x + U_z h + b_z)$$
    $$c = \varphi(W_h x + b_h + z \odot (U_h h + b'_h))$$
    $$h' = z \odot h + (1 - z) \odot c$$

    What is forgotten is also hidden from the candidate; `mgu` is the opposite coupling (r = 1 - z).

    Source: defined here.
    """

    kernel = recurrent_kernel = bias = ("z", "h")
    recurrent_bias = ("h",)
    keep_gates = ("z",)
    source = "defined here"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        z = a.gate("z", a.linear("z_pre", ("z",), x, h))
        gated = a.mul("z_gated", z, a.linear("h_recurrent", ("h",), h=h))
        c = a.candidate("h_cand", a.add("h_pre", a.linear("h_input", ("h",), x), gated))
        h = a.interpolate("h", z, c, h)
        return h, (h,)
