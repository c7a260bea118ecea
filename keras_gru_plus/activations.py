"""Activations with an int8 form, and those that Keras does not have: some variants need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["operator", "table", "clip", "relu", "linear"]


@dataclass(frozen=True)
class QuantizedForm:
    """How an activation is computed in int8.

    Attributes:
        kind: "operator" (LOGISTIC, TANH or SOFTMAX, whose kernels fix the output's grid), "table" (any function
            of one number: a look-up of 256 entries), "clip" (`clip(slope * v + offset)` to the grid's range, which
            a FULLY_CONNECTED or ADD does for free), "relu" (fused into the operator before it) or "linear".
        grid: name of the output's `Grid`: "gate" (scale 1/256, zero point -128), "unit" (scale 1/128, zero point
            0), "positive" or "learned".
        slope, offset: of kind "clip".
    """

    kind: Kind
    grid: str
    slope: float = 1.0
    offset: float = 0.0

    @property
    def bounded(self) -> bool:
        """Whether the values stay in [-1, 1]."""
        return self.grid in ("gate", "unit")


_FORMS = {
    "sigmoid": QuantizedForm("operator", "gate"),
    "tanh": QuantizedForm("operator", "unit"),
    "hard_sigmoid": QuantizedForm("clip", "gate", slope=1 / 6, offset=0.5),
    "hard_tanh": QuantizedForm("clip", "unit"),
    "relu": QuantizedForm("relu", "positive"),
    "linear": QuantizedForm("linear", "learned"),
    "softsign": QuantizedForm("table", "unit"),
    "softsign_gate": QuantizedForm("table", "gate"),
    "log_space": QuantizedForm("table", "positive"),
    "decay": QuantizedForm("table", "gate"),
}

QUANTIZABLE = tuple(_FORMS)

_TABLE = QuantizedForm("table", "learned")
#: Further ones that a layer, but no recurrent one, may have; the classes are Keras layers.
_LAYER_FORMS = {
    "softmax": QuantizedForm("operator", "gate"),
    "relu6": QuantizedForm("relu", "positive"),
    "exponential": QuantizedForm("table", "positive"),
    "softplus": QuantizedForm("table", "positive"),
    **dict.fromkeys(("celu", "elu", "gelu", "hard_shrink", "hard_silu", "leaky_relu", "log_sigmoid", "mish"), _TABLE),
    **dict.fromkeys(("selu", "silu", "soft_shrink", "sparse_plus", "squareplus", "tanh_shrink"), _TABLE),
    **dict.fromkeys(("ELU", "LeakyReLU", "ReLU"), _TABLE),
}


def name_of(activation: Any) -> str:
    """A readable name for an activation function or object."""
    return getattr(activation, "__name__", None) or type(activation).__name__


def form_of(activation: Any) -> QuantizedForm | None:
    """The int8 form of an activation or of one's name, None if it has none."""
    if isinstance(activation, str):
        return _FORMS.get(activation)
    slope = getattr(activation, "hard_sigmoid_slope", None)
    if slope is not None:
        return QuantizedForm("clip", "gate", slope=slope, offset=0.5)
    return _FORMS.get(name_of(activation))


def quantized_form(activation: Any) -> QuantizedForm:
    """The int8 form of a recurrent layer's activation.

    Raises:
        ValueError: if there is none; lists those that have one.
    """
    form = form_of(activation)
    if form is None:
        raise ValueError(
            f"Expected an activation that can be quantized ({', '.join(QUANTIZABLE)} or "
            f"HardSigmoid(slope)), got {name_of(activation)!r}."
        )
    return form


def layer_form(activation: Any) -> QuantizedForm:
    """The int8 form of the activation of a layer that is not recurrent.

    Raises:
        ValueError: if there is none; lists those that have one.
    """
    form = form_of(activation) or _LAYER_FORMS.get(name_of(activation))
    if form is None:
        known = sorted(name for name in (*_FORMS, *_LAYER_FORMS) if name.islower())
        raise ValueError(
            f"Expected an activation that can be quantized ({', '.join(known)} or HardSigmoid(slope)), got "
            f"{name_of(activation)!r}."
        )
    return form


def softsign_gate(value: Any) -> Any:
    r"""Softsign as a gate, $(1 + v / (1 + |v|)) / 2$.

    Source: Amoh & Odame 2019, "An Optimized Recurrent Unit for Ultra-Low-Power Keyword Spotting".
    """
    from keras import ops

    return 0.5 * ops.softsign(value) + 0.5


def log_space(value: Any) -> Any:
    r"""Positive and nearly linear: $v + 1/2$ where $v \ge 0$, $\sigma(v)$ elsewhere.

    Source: Feng et al. 2024, "Were RNNs All We Needed?", the function g of appendix B.
    """
    from keras import ops

    return ops.where(value >= 0, value + 0.5, ops.sigmoid(value))


def decay(value: Any) -> Any:
    r"""$\exp(-\max(0, v))$: 1 down to 0.

    Source: Che et al. 2018, "Recurrent Neural Networks for Multivariate Time Series with Missing Values", eq. 10.
    """
    from keras import ops

    return ops.exp(-ops.relu(value))


class HardSigmoid:
    r"""Piecewise linear sigmoid, $\min(1, \max(0, s v + 1/2))$.

    Keras' `hard_sigmoid` is `HardSigmoid(1 / 6)`; 1/4 has the slope of the logistic function at 0.

    Args:
        slope: s, above 0.

    Example:
        >>> GRUPlus(32, recurrent_activation=HardSigmoid(0.25))  # doctest: +SKIP
    """

    def __init__(self, slope: float = 0.25) -> None:
        if not slope > 0:
            raise ValueError(f"Expected `slope` to be above 0, got {slope!r}.")
        self.hard_sigmoid_slope = float(slope)

    @property
    def slope(self) -> float:
        """Slope at 0."""
        return self.hard_sigmoid_slope

    def __call__(self, value: Any) -> Any:
        from keras import ops

        return ops.clip(value * self.slope + 0.5, 0.0, 1.0)

    def get_config(self) -> dict[str, float]:
        """The constructor's argument."""
        return {"slope": self.slope}

    @classmethod
    def from_config(cls, config: dict[str, float]) -> HardSigmoid:
        """Inverse of `get_config`."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HardSigmoid) and self.slope == other.slope

    def __hash__(self) -> int:
        return hash(("HardSigmoid", self.slope))


#: What is registered with Keras, beside `HardSigmoid`, and can be named as a string.
FUNCTIONS = {function.__name__: function for function in (softsign_gate, log_space, decay)}
