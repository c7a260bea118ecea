"""The gated recurrent unit, its reduced forms, and its one-gate relative with coupled gates."""

from __future__ import annotations

from typing import Any, ClassVar

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
        rank, recurrent_rank: make W, U products of two factors, $W = W_1 W_2$ with `rank` columns in $W_1$.
        zoneout: see `Cell`.

    Source: Cho et al. 2014, "Learning Phrase Representations using RNN Encoder-Decoder", eq. 5-8
    (v3 of the preprint is `reset_after=False`, v1 `True`); biases as in Keras.
    """

    kernel = recurrent_kernel = bias = ("z", "r", "h")
    keep_gates = ("z",)
    source = "Cho et al. 2014, eq. 5-8"

    def __init__(
        self,
        reset_after: bool = True,
        *,
        rank: int | None = None,
        recurrent_rank: int | None = None,
        zoneout: float = 0.0,
    ) -> None:
        super().__init__(zoneout=zoneout)
        self.reset_after = bool(reset_after)
        self.recurrent_bias = self.bias if self.reset_after else ()
        self.rank, self.recurrent_rank = checked_rank("rank", rank), checked_rank("recurrent_rank", recurrent_rank)

    def with_reset_after(self, reset_after: bool) -> GRU:
        return GRU(**{**self.options(), "reset_after": self.reset_after and reset_after})

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


def checked_rank(name: str, rank: int | None) -> int | None:
    """The rank of a product of two factors; raises ValueError if it is none."""
    if rank is not None and rank < 1:
        raise ValueError(f"Expected `{name}` to be 1 or more, got {rank!r}.")
    return rank


class GRU1(Cell):
    r"""GRU whose gates see the state and a bias, not the input.

    $$z = \sigma(U_z h + b_z), \quad r = \sigma(U_r h + b_r)$$
    $$c = \varphi(W x + U (r \odot h) + b), \quad h' = z \odot h + (1 - z) \odot c$$

    Source: Dey & Salem 2017, "Gate-Variants of Gated Recurrent Unit (GRU) Neural Networks", eq. 6 ("GRU1"); their
    z writes, here it keeps as in Keras.
    """

    kernel = ("h",)
    recurrent_kernel = ("z", "r", "h")
    bias: ClassVar[tuple[str, ...]] = ("z", "r", "h")
    keep_gates: ClassVar[tuple[str, ...]] = ("z",)
    source = "Dey & Salem 2017, eq. 6"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        z, r = a.split(a.gate("z_r", a.linear("z_r_pre", ("z", "r"), h=h)), 2)
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x, a.gated("r_gated", r, h)))
        h = a.interpolate("h", z, c, h)
        return h, (h,)


class GRU2(GRU1):
    r"""GRU whose gates see the state alone.

    $$z = \sigma(U_z h), \quad r = \sigma(U_r h)$$
    $$c = \varphi(W x + U (r \odot h) + b), \quad h' = z \odot h + (1 - z) \odot c$$

    Source: Dey & Salem 2017, "Gate-Variants of Gated Recurrent Unit (GRU) Neural Networks", eq. 7 ("GRU2"); their
    z writes, here it keeps as in Keras.
    """

    bias = ("h",)
    keep_gates = ()
    source = "Dey & Salem 2017, eq. 7"


class GRU3(Cell):
    r"""GRU whose gates are learned constants.

    $$z = \sigma(b_z), \quad r = \sigma(b_r)$$
    $$c = \varphi(W x + U (r \odot h) + b), \quad h' = z \odot h + (1 - z) \odot c$$

    It has little to remember with: the authors report 59.6 % on MNIST read pixel by pixel after 100 epochs, where
    the other forms learn, and parity on IMDB.

    Source: Dey & Salem 2017, "Gate-Variants of Gated Recurrent Unit (GRU) Neural Networks", eq. 8 ("GRU3"); their
    z writes, here it keeps as in Keras.
    """

    kernel = recurrent_kernel = ("h",)
    bias = ("z", "r", "h")
    keep_gates = ("z",)
    source = "Dey & Salem 2017, eq. 8"

    def constants(self, a: Any) -> dict[str, Any]:
        return {name: a.constant_gate(name) for name in ("z", "r")}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        gated = a.gated("r_gated", a.constant("r"), h)
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x, gated))
        h = a.interpolate("h", a.constant("z"), c, h)
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
