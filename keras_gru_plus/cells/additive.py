"""Additive cells, without the usual trade between forgetting and writing: ATR, RAN, CFN."""

from __future__ import annotations

from typing import Any

from .base import Cell


class ATR(Cell):
    r"""Addition-subtraction twin-gated recurrent network: two matmuls and no activation but the gates'.

    $$p = W x, \quad q = U h, \quad h' = \sigma(p + q) \odot p + \sigma(p - q) \odot h$$

    Source: Zhang et al. 2018, "Simplifying Neural Machine Translation with Addition-Subtraction Twin-Gated
    Recurrent Networks", eq. 7-10; without bias, as in the authors' TensorFlow code.
    """

    kernel = ("p",)
    recurrent_kernel = ("q",)
    bound = None
    source = "Zhang et al. 2018, eq. 7-10"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        p = a.settle(a.linear("p", ("p",), x))
        q = a.settle(a.linear("q", ("q",), h=h))
        i = a.gate("i", a.add("i_pre", p, q))
        f = a.gate("f", a.sub("f_pre", p, q))
        h = a.state("h", a.mul("i_p", i, p), a.gated("f_h", f, h))
        return h, (h,)


class RAN(Cell):
    r"""Recurrent additive network: an LSTM whose content does not see the state; the state is s.

    $$h = \varphi(s), \quad i, f = \sigma(W x + U h + b), \quad s' = i \odot W_c x + f \odot s, \quad
    out = \varphi(s')$$

    Source: Lee et al. 2017, "Recurrent Additive Networks", eq. 1.
    """

    kernel = ("c", "i", "f")
    recurrent_kernel = bias = ("i", "f")
    states = ("s",)
    bound = None
    source = "Lee et al. 2017, eq. 1"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (s,) = states
        h = a.candidate("h_before", s)
        i, f = a.split(a.gate("i_f", a.linear("i_f_pre", ("i", "f"), x, h)), 2)
        written = a.mul("i_content", i, a.settle(a.linear("content", ("c",), x)))
        s = a.state("s", written, a.gated("f_s", f, s))
        return a.candidate("h", s), (s,)


class CFN(Cell):
    r"""Chaos-free network: without input every state goes to zero.

    $$\theta, \eta = \sigma(W x + U h + b), \quad h' = \theta \odot \varphi(h) + \eta \odot \varphi(W_h x)$$

    The state stays below the solution of $\tanh(h) + 1 = h$, 1.9612.

    Source: Laurent & von Brecht 2017, "A recurrent neural network without chaos", eq. 1-3.
    """

    kernel = ("t", "e", "h")
    recurrent_kernel = bias = ("t", "e")
    keep_gates = ("t",)
    bound = 1.9612
    source = "Laurent & von Brecht 2017, eq. 1-3"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        t, e = a.split(a.gate("t_e", a.linear("t_e_pre", ("t", "e"), x, h)), 2)
        kept = a.mul("t_h", t, a.candidate("h_squashed", h))
        written = a.mul("e_cand", e, a.candidate("h_cand", a.linear("h_pre", ("h",), x)))
        h = a.state("h", kept, written)
        return h, (h,)
