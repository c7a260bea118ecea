"""What is quantized and how: a recipe is plain data."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

WEIGHTS = ("per_tensor", "per_channel")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is quantized.

    Attributes:
        name: what reports call it.
        bits: of weights in the file; 8 for a quantized model, or for one that stays in floating point 16 (float16) or
            0 (float32).
        weights: "per_tensor" (one scale a matrix, smallest file) or "per_channel" (one scale a
            column: 12 bytes a column in the file, finer where columns differ in size).
        activation_bits: bits of activations, states and element-wise weights, 8 or 16; 16 takes weights per tensor.

    Example:
        >>> Recipe.get("int8").to_json()
        '{"name": "int8", "bits": 8, "weights": "per_tensor", "activation_bits": 8}'
    """

    name: str = "int8"
    bits: int = 8
    weights: str = "per_tensor"
    activation_bits: int = 8

    def __post_init__(self) -> None:
        if self.bits not in (0, 8, 16):
            raise ValueError(f"Expected `bits` to be 8, 16 (float16) or 0 (float32), got {self.bits!r}.")
        if self.weights not in WEIGHTS:
            raise ValueError(f"Expected `weights` to be one of {', '.join(WEIGHTS)}, got {self.weights!r}.")
        if self.activation_bits not in (8, 16):
            raise ValueError(f"Expected `activation_bits` to be 8 or 16, got {self.activation_bits!r}.")
        if self.activation_bits == 16 and (self.bits != 8 or self.weights != "per_tensor"):
            # The kernels of microcontrollers have no other combination.
            raise ValueError(
                "Expected `bits` to be 8 and `weights` to be per_tensor with 16-bit activations, got "
                f"{self.bits} and {self.weights}."
            )

    @property
    def quantized(self) -> bool:
        """Whether anything is rounded in training: without, the model is the float model."""
        return self.bits == 8

    @classmethod
    def get(cls, recipe: str | Recipe | dict[str, Any]) -> Recipe:
        """The recipe for a name, an instance or a config.

        Raises:
            ValueError: unknown name or field; lists the known ones.
        """
        if isinstance(recipe, Recipe):
            return recipe
        if isinstance(recipe, dict):
            known = [field.name for field in dataclasses.fields(cls)]
            unknown = sorted(set(recipe) - set(known))
            if unknown:
                raise ValueError(f"Expected a recipe's fields to be among {', '.join(known)}, got {unknown}.")
            return cls(**recipe)
        if recipe not in RECIPES:
            raise ValueError(f"Expected `recipe` to be one of {', '.join(RECIPES)}, got {recipe!r}.")
        return RECIPES[recipe]

    def get_config(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """The recipe as one line of JSON."""
        return json.dumps(self.get_config())

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Inverse of `to_json`."""
        return cls.get(json.loads(text))


RECIPES = {
    "int8": Recipe("int8"),
    "int8_per_channel": Recipe("int8_per_channel", weights="per_channel"),
    "int16x8": Recipe("int16x8", activation_bits=16),
    "float16": Recipe("float16", bits=16),
    "none": Recipe("none", bits=0),
}
