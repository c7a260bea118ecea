"""Bistable cells, which can hold a value for ever."""

from __future__ import annotations

from typing import Any

from .base import Cell


class BRC(Cell):
    r"""Bistable recurrent cell: each unit sees no state but its own.

    $$r = 1 + \varphi(W_r x + u_r \odot h + b_r), \quad z = \sigma(W_z x + u_z \odot h + b_z)$$
    $$h' = z \odot h + (1 - z) \odot \varphi(W x + r \odot h)$$

    $u_r$ and $u_z$ start at 1.

    Source: Vecoven et al. 2021, "A bio-inspired bistable recurrent cell allows for long-lasting memory", eq. 4-6;
    biases from the authors' code.
    """

    kernel = ("z", "r", "h")
    recurrent_vector = bias = ("z", "r")
    keep_gates = ("z",)
    source = "Vecoven et al. 2021, eq. 4-6"

    def initializer(self, weight: str) -> str | float | tuple[float, float] | None:
        return 1.0 if weight == "recurrent_vector" else None

    def constants(self, a: Any) -> dict[str, Any]:
        return {f"{gate}_u": a.block("recurrent_vector", (gate,)) for gate in ("z", "r")} | {"one": a.number(1.0)}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        z, r, pre = a.split(a.settle(a.linear("projected", ("z", "r", "h"), x)), 3)
        z = a.gate("z", a.add("z_pre", z, a.mul("z_h", h, a.constant("z_u"))))
        r = a.candidate("r_cand", a.add("r_pre", r, a.mul("r_h", h, a.constant("r_u"))))
        return _bistable(a, z, r, pre, h)


class NBRC(Cell):
    r"""Bistable recurrent cell whose units modulate each other.

    $$r = 1 + \varphi(W_r x + U_r h + b_r), \quad z = \sigma(W_z x + U_z h + b_z)$$
    $$h' = z \odot h + (1 - z) \odot \varphi(W x + r \odot h)$$

    Source: Vecoven et al. 2021, "A bio-inspired bistable recurrent cell allows for long-lasting memory", eq. 7-8;
    biases from the authors' code, which starts U with Glorot's initializer.
    """

    kernel = ("z", "r", "h")
    recurrent_kernel = bias = ("z", "r")
    keep_gates = ("z",)
    source = "Vecoven et al. 2021, eq. 7-8"

    def constants(self, a: Any) -> dict[str, Any]:
        return {"one": a.number(1.0)}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        z = a.gate("z", a.linear("z_pre", ("z",), x, h))
        r = a.candidate("r_cand", a.linear("r_pre", ("r",), x, h))
        return _bistable(a, z, r, a.linear("h_input", ("h",), x), h)


def _bistable(a: Any, z: Any, r: Any, pre: Any, h: Any) -> tuple[Any, tuple[Any, ...]]:
    fed_back = a.mul("r_gated", a.settle(a.add("r", r, a.constant("one"))), h)
    c = a.candidate("h_cand", a.add("h_pre", pre, fed_back))
    h = a.interpolate("h", z, c, h)
    return h, (h,)
