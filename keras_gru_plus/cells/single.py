"""Cells whose one gate couples forgetting and writing: UGRNN, Janet and the LSTM with coupled gates."""

from __future__ import annotations

from typing import Any, ClassVar

from .base import Cell


class UGRNN(Cell):
    r"""Update gate RNN: a plain RNN behind one gate that keeps the state.

    $$g = \sigma(W_g x + U_g h + b_g + 1), \quad c = \varphi(W x + U h + b), \quad h' = g \odot h + (1 - g) \odot c$$

    Source: Collins et al. 2016, "Capacity and Trainability in Recurrent Neural Networks", eq. 7-9; the 1 as in
    TensorFlow's UGRNNCell.
    """

    kernel = recurrent_kernel = bias = ("g", "h")
    offsets: ClassVar = {"g": 1.0}
    keep_gates = ("g",)
    source = "Collins et al. 2016, eq. 7-9"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        g = a.gate("g", a.linear("g_pre", ("g",), x, h))
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x, h))
        h = a.interpolate("h", g, c, h)
        return h, (h,)


class Janet(Cell):
    r"""Just another network: the forget gate of an LSTM and nothing else.

    $$s = W_f x + U_f h + b_f, \quad c = \varphi(W x + U h + b)$$
    $$h' = \sigma(s) \odot h + (1 - \sigma(s - \beta)) \odot c$$

    $1 - \sigma(s - \beta)$ is computed as $\sigma(\beta - s)$. The authors start it as `initializers.Chrono` does.

    Args:
        beta: writes more than was forgotten; 0 is `ugrnn` without its offset.
        zoneout: see `Cell`.

    Source: van der Westhuizen & Lasenby 2018, "The unreasonable effectiveness of the forget gate", eq. 7-10.
    """

    kernel = recurrent_kernel = bias = ("f", "h")
    keep_gates = ("f",)
    bound = None  # e^beta
    source = "van der Westhuizen & Lasenby 2018, eq. 7-10"

    def __init__(self, beta: float = 1.0, *, zoneout: float = 0.0) -> None:
        super().__init__(zoneout=zoneout)
        self.beta = float(beta)

    def constants(self, a: Any) -> dict[str, Any]:
        return {"beta": a.number(self.beta)} if self.beta else {}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        s = a.settle(a.linear("f_pre", ("f",), x, h))
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x, h))
        f = a.gate("f", s)
        if not self.beta:
            h = a.interpolate("h", f, c, h)
            return h, (h,)
        w = a.gate("w", a.sub("w_pre", a.constant("beta"), s))
        h = a.state("h", a.mul("f_h", f, h), a.mul("w_h", w, c))
        return h, (h,)


class CIFG(Cell):
    r"""LSTM with coupled input and forget gates: the smallest LSTM whose cell state is bounded.

    $$f = \sigma(W_f x + U_f h + b_f + 1), \quad o = \sigma(W_o x + U_o h + b_o)$$
    $$s' = f \odot s + (1 - f) \odot \varphi(W x + U h + b), \quad h' = o \odot \varphi(s')$$

    States: h, s.

    Source: Greff et al. 2015, "LSTM: A Search Space Odyssey", variant CIFG, without peepholes.
    """

    kernel = recurrent_kernel = bias = ("f", "o", "h")
    offsets: ClassVar = {"f": 1.0}
    keep_gates = ("f",)
    states = ("h", "s")
    source = "Greff et al. 2015, CIFG"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        h, s = states
        f, o = a.split(a.gate("f_o", a.linear("f_o_pre", ("f", "o"), x, h)), 2)
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x, h))
        s = a.interpolate("s", f, c, s)
        h = a.gated("h", o, a.candidate("s_squashed", s))
        return h, (h, s)
