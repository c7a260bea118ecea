"""What is quantized and how: a recipe is plain data."""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import sys
from collections.abc import Mapping
from typing import Any

WEIGHTS = ("per_tensor", "per_channel")
#: What can be set for single taps or layers.
SETTINGS = ("weights", "percentile", "range")


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

        overrides: layer name or tap key, or a pattern of them ("gru", "classes/kernel", "*/h_pre") → settings for it:
            `weights` of a matmul's kernel, `percentile` of calibration, or `range` (low, high) of a learned tap,
            given instead of calibrated and not moved by training (a symmetric grid is made to cover it). Of several
            that match the last one counts. Takes a mapping, keeps pairs.

    Example:
        >>> Recipe.get("int8").to_json()
        '{"name": "int8", "bits": 8, "weights": "per_tensor", "activation_bits": 8}'
    """

    name: str = "int8"
    bits: int = 8
    weights: str = "per_tensor"
    activation_bits: int = 8
    overrides: Any = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ValueError(f"Expected `name` to be text, got {self.name!r}.")
        if self.bits not in (0, 8, 16) or type(self.bits) is not int:
            raise ValueError(f"Expected `bits` to be 8, 16 (float16) or 0 (float32), got {self.bits!r}.")
        if self.weights not in WEIGHTS:
            raise ValueError(f"Expected `weights` to be one of {', '.join(WEIGHTS)}, got {self.weights!r}.")
        if self.activation_bits not in (8, 16) or type(self.activation_bits) is not int:
            raise ValueError(f"Expected `activation_bits` to be 8 or 16, got {self.activation_bits!r}.")
        if self.activation_bits == 16 and (self.bits != 8 or self.weights != "per_tensor"):
            # The kernels of microcontrollers have no other combination.
            raise ValueError(
                "Expected `bits` to be 8 and `weights` to be per_tensor with 16-bit activations, got "
                f"{self.bits} and {self.weights}."
            )

        object.__setattr__(self, "overrides", _frozen(self.overrides))
        if self.overrides and not self.quantized:
            raise ValueError(f"Expected no `overrides` for recipe {self.name!r}, which quantizes nothing, got some.")
        wide = self.activation_bits == 16
        if wide and any(settings.get("weights") == "per_channel" for _, settings in self._overrides()):
            raise ValueError(
                "Expected `weights` to be per_tensor with 16-bit activations, got per_channel overrides."
            )

    def _overrides(self) -> list[tuple[str, dict[str, Any]]]:
        return [(pattern, dict(settings)) for pattern, settings in self.overrides]

    def setting(self, key: str, name: str) -> Any:
        """What `overrides` say of `name` for the tap called `key`, or None."""
        found = [
            settings[name] for pattern, settings in self._overrides() if name in settings and matches(pattern, key)
        ]
        return found[-1] if found else None

    def per_channel(self, key: str) -> bool:
        """Whether a matmul's kernel has a scale for each channel."""
        return (self.setting(key, "weights") or self.weights) == "per_channel"

    def check_overrides(self, kernels: list[str], learned: list[str]) -> None:
        """Refuses overrides that match nothing.

        Args:
            kernels: taps of the model's matmul kernels.
            learned: taps whose range comes from data.

        Raises:
            ValueError: names the override and the taps that there are.
        """
        for pattern, settings in self._overrides():
            for name in settings:
                known = kernels if name == "weights" else learned
                if not any(matches(pattern, key) for key in known):
                    what = "a layer or a matmul's kernel" if name == "weights" else "a layer or a learned tap"
                    raise ValueError(
                        f"Expected the override of `{name}` to name {what} ({', '.join(known)}), got {pattern!r}."
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
        config = dataclasses.asdict(self)
        del config["overrides"]
        if self.overrides:
            config["overrides"] = {
                pattern: {name: list(value) if name == "range" else value for name, value in settings.items()}
                for pattern, settings in self._overrides()
            }
        return config

    def to_json(self) -> str:
        """The recipe as one line of JSON."""
        return json.dumps(self.get_config())

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Inverse of `to_json`.

        Raises:
            ValueError: no JSON object, or not of a recipe's fields.
        """
        try:
            config = json.loads(text)
        except (ValueError, RecursionError) as error:  # of digits without an end, of lists inside of lists
            raise ValueError(f"Expected a recipe in JSON, got what is none: {error}.") from None
        if not isinstance(config, dict):
            raise ValueError(f"Expected a recipe as a JSON object, got {type(config).__name__}.")
        return cls.get(config)


def matches(pattern: str, key: str) -> bool:
    """Whether a pattern names the tap `key`, its layer, or what its layer is in."""
    parts = key.split("/")
    return any(fnmatch.fnmatchcase("/".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


def _frozen(overrides: Any) -> tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]:
    """Checked overrides as pairs."""
    try:
        given = {str(pattern): dict(settings) for pattern, settings in dict(overrides).items()}
    except (TypeError, ValueError):
        raise ValueError(f"Expected `overrides` to map layers or taps to settings, got {overrides!r}.") from None
    return tuple((pattern, _settings(pattern, settings)) for pattern, settings in given.items())


def _settings(pattern: str, settings: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    if not settings or set(settings) - set(SETTINGS):
        raise ValueError(
            f"Expected the override of {pattern!r} to set one of {', '.join(SETTINGS)}, got {dict(settings)!r}."
        )
    values = dict(settings)
    if values.get("weights", WEIGHTS[0]) not in WEIGHTS:
        raise ValueError(
            f"Expected `weights` of {pattern!r} to be one of {', '.join(WEIGHTS)}, got {values['weights']!r}."
        )
    percentile = values.get("percentile", 100)
    if not _is_number(percentile) or not 50 < percentile <= 100:
        raise ValueError(f"Expected `percentile` of {pattern!r} to be in (50, 100], got {percentile!r}.")
    if "range" in values:
        ends = values["range"]
        pair = isinstance(ends, list | tuple) and len(ends) == 2 and all(map(_is_number, ends))
        if not pair or not ends[0] <= 0 <= ends[1] or ends[0] == ends[1]:
            raise ValueError(f"Expected `range` of {pattern!r} to be (low, high) around 0, got {ends!r}.")
        values["range"] = (float(ends[0]), float(ends[1]))
        if "percentile" in values:
            raise ValueError(f"Expected `range` or `percentile` for {pattern!r}, got both.")
    return tuple(values.items())


def _is_number(value: Any) -> bool:
    # Compared, since an integer may be too large for a float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


RECIPES = {
    "int8": Recipe("int8"),
    "int8_per_channel": Recipe("int8_per_channel", weights="per_channel"),
    "int16x8": Recipe("int16x8", activation_bits=16),
    "float16": Recipe("float16", bits=16),
    "none": Recipe("none", bits=0),
}
