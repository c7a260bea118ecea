"""Cells whose gates do not see the state, so that training needs no loop over time; and SRU, close to them."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from .base import Cell


class MinGRU(Cell):
    r"""Minimal GRU: linear in the state; `z` writes.

    $$z = \sigma(W_z x + b_z), \quad c = g(W x + b), \quad h' = (1 - z) \odot h + z \odot c$$

    g is `activation`: "linear" by default; "tanh" bounds the state; "log_space" (`activations.log_space`) is the
    authors' choice for training in log space.

    Source: Feng et al. 2024, "Were RNNs All We Needed?", section 3.1; g of appendix B.
    """

    kernel = bias = ("z", "h")
    write_gates = ("z",)
    activation = "linear"
    scan = True
    source = "Feng et al. 2024, section 3.1"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        z = a.gate("z", a.linear("z_pre", ("z",), x))
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), x))
        h = a.interpolate("h", z, h, c)
        return h, (h,)


class _Highway(Cell):
    """What both SRUs share: where features and units differ, a projection of the input takes the highway."""

    bias = ("f", "r")
    keep_gates = ("f",)
    bound = None
    output = "output"

    def __init__(self, projected: bool = False, *, zoneout: float = 0.0) -> None:
        super().__init__(zoneout=zoneout)
        self.projected = bool(projected)
        self.kernel = ("f", "r", "h", "s") if self.projected else ("f", "r", "h")  # type: ignore[misc]

    def for_sizes(self, features: int, units: int) -> Cell:
        return type(self)(**{**self.options(), "projected": True}) if features != units else self


class SRU1(_Highway):
    r"""Simple recurrent unit, first form: linear in the state, with a highway around it.

    $$f = \sigma(W_f x + b_f), \quad r = \sigma(W_r x + b_r), \quad s' = f \odot s + (1 - f) \odot W x$$
    $$out = r \odot \varphi(s') + (1 - r) \odot x$$

    Args:
        projected: the highway carries $W_s x$ instead of x; always so where features and units differ.
        zoneout: see `Cell`.

    Source: Lei & Zhang 2017, "Training RNNs as Fast as CNNs" (v1 of the preprint of "Simple Recurrent Units"),
    eq. 3-7.
    """

    scan = True
    source = "Lei & Zhang 2017, eq. 3-7"

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        f, r = a.split(a.gate("f_r", a.linear("f_r_pre", ("f", "r"), x)), 2)
        h = a.interpolate("h", f, a.settle(a.linear("content", ("h",), x)), h, a.unbounded)
        skipped = a.settle(a.linear("skipped", ("s",), x)) if self.projected else a.real("skipped", x)
        output = a.interpolate("output", r, skipped, a.candidate("h_squashed", h), a.unbounded)
        return output, (h,)


class SRU(_Highway):
    r"""Simple recurrent unit: gates see their own unit's state; the highway is scaled.

    $$f = \sigma(W_f x + v_f \odot s + b_f), \quad r = \sigma(W_r x + v_r \odot s + b_r - 2)$$
    $$s' = f \odot s + (1 - f) \odot W x, \quad out = r \odot s' + (1 - r) \odot a x, \quad
    a = \sqrt{1 + 2 e^{-2}}$$

    Args:
        projected: the highway carries $W_s x$ instead of a x; always so where features and units differ.
        zoneout: see `Cell`.

    Source: Lei et al. 2018, "Simple Recurrent Units for Highly Parallelizable Recurrence", eq. 1-4 and section 3.2;
    -2 is the highway bias of their language models. They draw W from $U(\pm\sqrt{3/d})$ and, as here, v from
    $U(\pm\sqrt{1.5})$.
    """

    recurrent_vector = ("f", "r")
    offsets: ClassVar = {"r": -2.0}
    source = "Lei et al. 2018, eq. 1-4"

    def initializer(self, weight: str) -> str | float | tuple[float, float] | None:
        return (-math.sqrt(1.5), math.sqrt(1.5)) if weight == "recurrent_vector" else None

    def constants(self, a: Any) -> dict[str, Any]:
        found = {f"{gate}_v": a.block("recurrent_vector", (gate,)) for gate in ("f", "r")}
        return found if self.projected else found | {"scale": a.number(math.sqrt(1 + 2 * math.exp(-2)))}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        f, r, content, *rest = a.split(a.settle(a.linear("projected", self.kernel, x)), len(self.kernel))
        f = a.gate("f", a.add("f_pre", f, a.mul("f_h", h, a.constant("f_v"))))
        r = a.gate("r", a.add("r_pre", r, a.mul("r_h", h, a.constant("r_v"))))
        h = a.interpolate("h", f, content, h, a.unbounded)
        skipped = rest[0] if rest else a.mul("skipped", a.real("x_real", x), a.constant("scale"))
        output = a.interpolate("output", r, skipped, h, a.unbounded)
        return output, (h,)


class QRNN(Cell):
    r"""Quasi-recurrent network: gates from a causal convolution over the last `width` inputs (fo-pooling).

    With $X = [x_t, x_{t-1}, \ldots]$:

    $$z = \varphi(W_z X + b_z), \quad f = \sigma(W_f X + b_f), \quad o = \sigma(W_o X + b_o)$$
    $$s' = f \odot s + (1 - f) \odot z, \quad out = o \odot s'$$

    States: s, then the past inputs, newest first.

    Args:
        width: of the convolution, at least 1.
        zoneout: see `Cell`.

    Source: Bradbury et al. 2017, "Quasi-Recurrent Neural Networks", eq. 1 and 4; biases from the authors' code.
    """

    kernel = bias = ("z", "f", "o")
    keep_gates = ("f",)
    output = "o_h"
    scan = True
    source = "Bradbury et al. 2017, eq. 1 and 4"

    def __init__(self, width: int = 2, *, zoneout: float = 0.0) -> None:
        super().__init__(zoneout=zoneout)
        if width < 1:
            raise ValueError(f"Expected `width` to be 1 or more, got {width!r}.")
        self.width = int(width)
        self.states = ("h", *["x"] * (self.width - 1))

    def rows(self, features: int, units: int) -> dict[str, int]:
        return {"kernel": self.width * features, "recurrent_kernel": units}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        h, *past = states
        window = (x, *past)
        f, o = a.split(a.gate("f_o", a.linear("f_o_pre", ("f", "o"), window)), 2)
        z = a.candidate("z", a.linear("z_pre", ("z",), window))
        h = a.interpolate("h", f, z, h)
        return a.gated("o_h", o, h), (h, *window[:-1])
