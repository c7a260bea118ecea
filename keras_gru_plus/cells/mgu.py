"""The minimal gated unit."""

from __future__ import annotations

from typing import Any

from .base import Cell


class MGU(Cell):
    r"""Minimal gated unit: one gate `f` that writes (and hides the state it is about to overwrite).

    $$f = \sigma(W_f x + U_f h + b_f)$$
    $$c = \varphi(W_h x + U_h (f \odot h) + b_h)$$
    $$h' = (1 - f) \odot h + f \odot c$$

    Source: Zhou et al. 2016, "Minimal Gated Unit for Recurrent Neural Networks", eq. 7-9.
    """

    kernel = recurrent_kernel = bias = ("f", "h")
    write_gates = ("f",)
    source = "Zhou et al. 2016, eq. 7-9"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        f = a.gate("f", a.linear("f_pre", ("f",), x, h))
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x, a.gated("f_gated", f, h)))
        h = a.interpolate("h", f, h, c)
        return h, (h,)
