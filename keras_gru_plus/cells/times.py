"""Cells for irregular time: closed-form continuous time, and the GRU with decay for missing values."""

from __future__ import annotations

from typing import Any

from .. import activations
from .base import Cell


class CfC(Cell):
    r"""Closed-form continuous-time cell: a gate that depends on the time since the last step.

    $$c_1, c_2 = \varphi(W x + U h + b), \quad t = \sigma(a s + b), \quad h' = (1 - t) \odot c_1 + t \odot c_2$$

    with s the elapsed time and a, b linear in x and h. With s = 1 always (`elapsed=False`) a and b are one. The
    authors put a dense layer on [x, h] in front of the heads; here there is none.

    Args:
        elapsed: the last column of the input is the time since the previous row.
        zoneout: see `Cell`.

    Source: Hasani et al. 2022, "Closed-form continuous-time neural networks", eq. 10, and the authors' code.
    """

    source = "Hasani et al. 2022, eq. 10"

    def __init__(self, elapsed: bool = False, *, zoneout: float = 0.0) -> None:
        super().__init__(zoneout=zoneout)
        self.elapsed = bool(elapsed)
        gates = ("c1", "c2", "a", "b") if self.elapsed else ("c1", "c2", "t")
        self.kernel = self.recurrent_kernel = self.bias = gates  # type: ignore[misc]

    def check(self, features: int, units: int) -> None:
        if self.elapsed and features < 2:
            raise ValueError(
                f"Expected inputs of 2 columns or more for {self!r}, the last of them times, got {features}."
            )

    def values_of(self, features: int) -> int:
        return features - self.elapsed

    def rows(self, features: int, units: int) -> dict[str, int]:
        return {"kernel": features - self.elapsed, "recurrent_kernel": units}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        (h,) = states
        features = a.columns(x, 0, -1) if self.elapsed else x
        first, second = a.split(a.candidate("c", a.linear("c_pre", ("c1", "c2"), features, h)), 2)
        if self.elapsed:
            rate, shift = a.split(a.settle(a.linear("rate", ("a", "b"), features, h)), 2)
            since = a.mul("rate_elapsed", rate, a.real("elapsed", a.columns(x, -1, None)))
            t = a.gate("t", a.add("t_pre", since, shift))
        else:
            t = a.gate("t", a.linear("t_pre", ("t",), features, h))
        h = a.interpolate("h", t, first, second)
        return h, (h,)


class GRUD(Cell):
    r"""GRU with decay: missing values fade to the mean, and the state fades while nothing is seen; `z` writes.

    The input's columns are v values (anything where missing), v numbers that are 1 where the value was observed and
    0 where not, and the time since the previous row (0 in the first). With $m$ the mask, $\mu$ the training mean,
    $x^\circ$ the last observed value and $\delta$ the time since it was observed:

    $$\delta = gap + (1 - m_{before}) \odot \delta_{before}$$
    $$\gamma_x = e^{-\max(0, w_x \odot \delta + b_x)}, \quad \gamma_h = e^{-\max(0, W_\gamma \delta + b_\gamma)}$$
    $$\hat x = m \odot x + (1 - m) \odot (\gamma_x \odot x^\circ + (1 - \gamma_x) \odot \mu), \quad
    \hat h = \gamma_h \odot h$$
    $$z, r = \sigma(W \hat x + U \hat h + V m + b), \quad c = \varphi(W \hat x + U (r \odot \hat h) + V m + b)$$
    $$h' = (1 - z) \odot \hat h + z \odot c$$

    States: h, then $x^\circ - \mu$ and $(1 - m) \odot \delta$, both `(batch, v)`. The mean is the weight `mean`,
    zeros at first: standardize the inputs, or assign it. The decays start small and positive, since from 0 they
    would never learn.

    Args:
        missing: "mask" (as above), or "nan": no mask columns, NaN where a value is missing; for training in float
            only, since int8 has no NaN.
        gaps: without them the input has no last column, and rows are one unit of time apart.
        zoneout: see `Cell`; of h alone.

    Source: Che et al. 2018, "Recurrent Neural Networks for Multivariate Time Series with Missing Values", eq. 9-16.
    """

    kernel = recurrent_kernel = bias = mask_kernel = ("z", "r", "h")
    write_gates = ("z",)
    states = ("h", "last", "unseen")
    frozen = ("mean",)
    source = "Che et al. 2018, eq. 9-16"

    def __init__(
        self, missing: str = "mask", gaps: bool = True, *, values: int | None = None, zoneout: float = 0.0
    ) -> None:
        super().__init__(zoneout=zoneout)
        if missing not in ("mask", "nan"):
            raise ValueError(f"Expected `missing` to be 'mask' or 'nan', got {missing!r}.")
        self.missing, self.gaps, self.values = missing, bool(gaps), values
        if missing == "nan":
            self.refusal = "int8 has no NaN; use GRUD(missing='mask') and give the mask as columns"

    def check(self, features: int, units: int) -> None:
        rest = features - self.gaps
        if rest < 1 or (self.missing == "mask" and rest % 2):
            columns = "values, as many mask columns" if self.missing == "mask" else "values"
            columns += " and one of time gaps" if self.gaps else ""
            raise ValueError(f"Expected {columns} as the input of {self!r}, got {features} columns.")

    def values_of(self, features: int) -> int:
        return (features - self.gaps) // (2 if self.missing == "mask" else 1)

    def for_sizes(self, features: int, units: int) -> Cell:
        return GRUD(**{**self.options(), "values": self.values_of(features)})

    def rows(self, features: int, units: int) -> dict[str, int]:
        return {"kernel": self.values or features, "recurrent_kernel": units}

    def weights(self, features: int, units: int, use_bias: bool) -> dict[str, tuple[int, ...]]:
        v = self.values or features
        decays = {
            "input_decay": (v,),
            "input_decay_bias": (v,),
            "hidden_decay": (v, units),
            "hidden_decay_bias": (units,),
        }
        kernel = {"mask_kernel": (v, len(self.mask_kernel) * units)}
        return super().weights(features, units, use_bias) | kernel | decays | {"mean": (v,)}

    def initializer(self, weight: str) -> str | float | tuple[float, float] | None:
        if weight in ("input_decay", "hidden_decay"):
            return (0.0, 0.1)
        return 0.0 if weight in ("input_decay_bias", "hidden_decay_bias", "mean") else None

    def state_sizes(self, features: int, units: int) -> tuple[int, ...]:
        v = self.values or features
        return (units, v, v)

    @property
    def state_taps(self) -> tuple[str, ...]:
        return ("h_zoned" if self.zoneout else "h", "last", "unseen")

    def constants(self, a: Any) -> dict[str, Any]:
        from keras import ops

        found = {name: a.weight(name) for name in ("input_decay", "input_decay_bias")}
        found["mean"] = ops.cast(a.weight("mean"), a.layer.compute_dtype)
        return found if self.gaps else found | {"one": a.number(1.0)}

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        h, last, unseen = states
        if self.missing == "nan":
            seen, m = a.without_nan(a.columns(x, 0, self.values))
        else:
            seen = a.real("seen", a.columns(x, 0, self.values))
            m = a.mask("mask", a.columns(x, self.values, 2 * (self.values or 0)))
        gap = a.real("gap", a.columns(x, -1, None)) if self.gaps else a.constant("one")
        delta = a.settle(a.add("delta", unseen, gap))
        pre = a.add(
            "x_decay_pre", a.mul("x_decay_delta", delta, a.constant("input_decay")), a.constant("input_decay_bias")
        )
        x_decay = a.activate("x_decay", pre, activations.decay)
        rate = a.linear("h_decay_pre", (), hidden_decay=delta, bias="hidden_decay_bias")
        h_decay = a.activate("h_decay", rate, activations.decay)
        deviation = a.settle(a.sub("deviation", seen, a.constant("mean")))
        faded = a.mul("faded", x_decay, last)
        filled = a.interpolate("filled", m, faded, deviation, a.unbounded)
        filled = a.settle(a.add("filled_mean", filled, a.constant("mean")))
        h = a.gated("h_faded", h_decay, h)
        z, r = a.split(a.gate("z_r", a.linear("z_r_pre", ("z", "r"), filled, h, mask_kernel=m)), 2)
        c = a.candidate("h_cand", a.linear("h_pre", ("h",), filled, a.gated("r_gated", r, h), mask_kernel=m))
        h = a.interpolate("h", z, h, c)
        last = a.interpolate("last", m, last, deviation, a.unbounded)
        unseen = a.settle(a.sub("unseen", delta, a.mul("delta_seen", m, delta)))
        return h, (h, last, unseen)
