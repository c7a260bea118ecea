"""Activations with an int8 form, and the hard sigmoid with a slope of one's choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class QuantizedForm:
    """How an activation is computed in int8.

    Attributes:
        grid: "gate" (scale 1/256, zero point -128) or "unit" (scale 1/128, zero point 0).
        saturating: if true the activation is `clip(slope * v + offset)` to the grid's range, which a
            FULLY_CONNECTED or ADD does for free; if false it is an operator of its own.
    """

    grid: str
    saturating: bool = False
    slope: float = 1.0
    offset: float = 0.0


_FORMS = {
    "sigmoid": QuantizedForm("gate"),
    "tanh": QuantizedForm("unit"),
    "hard_sigmoid": QuantizedForm("gate", saturating=True, slope=1 / 6, offset=0.5),
    "hard_tanh": QuantizedForm("unit", saturating=True),
}

QUANTIZABLE = tuple(_FORMS)


def name_of(activation: Any) -> str:
    """A readable name for an activation function or object."""
    return getattr(activation, "__name__", None) or type(activation).__name__


def quantized_form(activation: Any) -> QuantizedForm:
    """The int8 form of a recurrent layer's activation.

    Raises:
        ValueError: if there is none; lists those that have one.
    """
    slope = getattr(activation, "hard_sigmoid_slope", None)
    if slope is not None:
        return QuantizedForm("gate", saturating=True, slope=slope, offset=0.5)
    form = _FORMS.get(name_of(activation))
    if form is None:
        raise ValueError(
            f"Expected an activation that can be quantized ({', '.join(QUANTIZABLE)} or "
            f"HardSigmoid(slope)), got {name_of(activation)!r}."
        )
    return form


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
