"""The minimal gated unit and its reduced forms."""

from __future__ import annotations

from typing import Any, ClassVar

from .base import Cell
from .gru import checked_rank


class MGU(Cell):
    r"""Minimal gated unit: one gate `f` that writes (and hides the state it is about to overwrite).

    $$f = \sigma(W_f x + U_f h + b_f)$$
    $$c = \varphi(W_h x + U_h (f \odot h) + b_h)$$
    $$h' = (1 - f) \odot h + f \odot c$$

    Args:
        rank, recurrent_rank: make W, U products of two factors, $W = W_1 W_2$ with `rank` columns in $W_1$.
        zoneout: see `Cell`.

    Source: Zhou et al. 2016, "Minimal Gated Unit for Recurrent Neural Networks", eq. 7-9.
    """

    kernel = recurrent_kernel = bias = ("f", "h")
    write_gates = ("f",)
    source = "Zhou et al. 2016, eq. 7-9"

    def __init__(self, *, rank: int | None = None, recurrent_rank: int | None = None, zoneout: float = 0.0) -> None:
        super().__init__(zoneout=zoneout)
        self.rank, self.recurrent_rank = checked_rank("rank", rank), checked_rank("recurrent_rank", recurrent_rank)

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        f = a.gate("f", a.linear("f_pre", ("f",), x, h))
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x, a.gated("f_gated", f, h)))
        h = a.interpolate("h", f, h, c)
        return h, (h,)


class MGU1(Cell):
    r"""MGU whose gate sees the state and a bias, not the input.

    $$f = \sigma(U_f h + b_f), \quad c = \varphi(W x + U (f \odot h) + b), \quad h' = (1 - f) \odot h + f \odot c$$

    Source: Heck & Salem 2017, "Simplified Minimal Gated Unit Variations for Recurrent Neural Networks", "MGU1".
    """

    kernel = ("h",)
    recurrent_kernel = ("f", "h")
    bias: ClassVar[tuple[str, ...]] = ("f", "h")
    write_gates: ClassVar[tuple[str, ...]] = ("f",)
    source = "Heck & Salem 2017, MGU1"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        f = a.gate("f", a.linear("f_pre", ("f",), h=h))
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x, a.gated("f_gated", f, h)))
        h = a.interpolate("h", f, h, c)
        return h, (h,)


class MGU2(MGU1):
    r"""MGU whose gate sees the state alone.

    $$f = \sigma(U_f h), \quad c = \varphi(W x + U (f \odot h) + b), \quad h' = (1 - f) \odot h + f \odot c$$

    Source: Heck & Salem 2017, "Simplified Minimal Gated Unit Variations for Recurrent Neural Networks", "MGU2".
    """

    bias = ("h",)
    write_gates = ()
    source = "Heck & Salem 2017, MGU2"


class MGU3(Cell):
    r"""MGU whose gate is a learned constant.

    $$f = \sigma(b_f), \quad c = \varphi(W x + U (f \odot h) + b), \quad h' = (1 - f) \odot h + f \odot c$$

    Source: Heck & Salem 2017, "Simplified Minimal Gated Unit Variations for Recurrent Neural Networks", "MGU3".
    """

    kernel = recurrent_kernel = ("h",)
    bias = ("f", "h")
    write_gates = ("f",)
    source = "Heck & Salem 2017, MGU3"

    def constants(self, a: Any) -> dict[str, Any]:
        return {"f": a.constant_gate("f")}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        gated = a.gated("f_gated", a.constant("f"), h)
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x, gated))
        h = a.interpolate("h", a.constant("f"), h, c)
        return h, (h,)
