"""What is to be compared: runs by their parameters, and the limits of a device; no Keras here."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from keras_gru_plus import cells

#: Keras' own layers, trained in float; what their stock export does is tried as well.
BASELINES = ("keras.GRU", "keras.LSTM", "keras.SimpleRNN")
ACTIVATIONS = ("smooth", "saturating")
#: The seed of a run that trains nothing but tries the stock export of a baseline.
STOCK = -1
#: In the winner's directory: which run it is.
WINNER = "winner.json"
#: Costs that a budget may limit, and the units that each takes.
_THOUSANDS = {"": 1, "k": 1e3, "M": 1e6}
_BYTES = {**_THOUSANDS, "B": 1, "kB": 1e3, "MB": 1e6, "KiB": 1024, "MiB": 1024**2}
UNITS: dict[str, Mapping[str, float]] = {"flash": _BYTES, "ram": _BYTES, "insns": _THOUSANDS}


@dataclasses.dataclass(frozen=True, order=True)
class Configuration:
    """A model without its seed.

    Attributes:
        variant: of GRUPlus, or one of `BASELINES`.
        units: of the layer.
        activation: "smooth" (the variant's own) or "saturating" (hard_tanh and HardSigmoid(1/4)).
        rank: of the recurrent kernel as a product of two factors; 0 for a full one.
    """

    variant: str
    units: int
    activation: str = "smooth"
    rank: int = 0

    def __str__(self) -> str:
        text = f"{self.variant}({self.units})"
        if self.activation != "smooth":
            text += f" {self.activation}"
        return text + (f" rank {self.rank}" if self.rank else "")

    @property
    def is_baseline(self) -> bool:
        """Whether it is a layer of Keras'."""
        return self.variant in BASELINES


@dataclasses.dataclass(frozen=True, order=True)
class Run:
    """One model to train and measure; everything in its result follows from this and the settings."""

    configuration: Configuration
    seed: int

    def __str__(self) -> str:
        return f"{self.configuration}, " + ("stock export" if self.seed == STOCK else f"seed {self.seed}")

    @property
    def parameters(self) -> dict[str, Any]:
        """As Optuna's trials have them."""
        return {**dataclasses.asdict(self.configuration), "seed": self.seed}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Run:
        """Inverse of `parameters`."""
        own = dict(parameters)
        seed = int(own.pop("seed"))
        return cls(Configuration(**own), seed)


@dataclasses.dataclass(frozen=True)
class Space:
    """The axes of a comparison."""

    variants: tuple[str, ...]
    units: tuple[int, ...]
    activations: tuple[str, ...] = ("smooth",)
    ranks: tuple[int, ...] = (0,)
    seeds: int = 3

    def configurations(self) -> list[Configuration]:
        """Every model, without repeats: a variant that takes no rank has rank 0 only."""
        every = itertools.product(self.variants, self.units, self.activations, self.ranks)
        return list(dict.fromkeys(effective(*parts) for parts in every))

    def runs(self) -> list[Run]:
        """Every model with every seed; seeds outermost, so that a stopped comparison has something of each."""
        models = self.configurations()
        stock = [Run(model, STOCK) for model in models if model.is_baseline]
        return [Run(model, seed) for seed in range(self.seeds) for model in models] + stock


def effective(variant: str, units: int, activation: str, rank: int) -> Configuration:
    """The model for a point of the space: what does not apply to a variant is left away."""
    if variant in BASELINES:
        return Configuration(variant, units)
    return Configuration(variant, units, activation, rank if takes_rank(variant) and rank < units else 0)


def takes_rank(variant: str) -> bool:
    """Whether a variant can have a recurrent kernel of low rank."""
    return "recurrent_rank" in inspect.signature(cells.VARIANTS[variant]).parameters


def cell_of(configuration: Configuration) -> cells.Cell:
    """The variant, with its rank."""
    options = {"recurrent_rank": configuration.rank} if configuration.rank else {}
    return cells.VARIANTS[configuration.variant](**options)


def variants_of(text: str, features: int, units: Iterable[int]) -> tuple[tuple[str, ...], list[str]]:
    """Variants by name, comma separated, or "all" of those that the data suits; and notes on those left out.

    Raises:
        ValueError: an unknown name, or a variant that the data does not suit.
    """
    names = list(cells.VARIANTS) if text == "all" else _words(text)
    known = (*cells.VARIANTS, *BASELINES)
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        got = ", ".join(unknown) or "none"
        raise ValueError(f"Expected `--variants` to be all or some of {', '.join(known)}, got {got}.")
    kept, notes = [], []
    for name in dict.fromkeys(names):
        try:
            for size in units:
                if name not in BASELINES:
                    cells.VARIANTS[name]().check(features, size)
        except ValueError as error:
            if text != "all":
                raise
            notes.append(f"{name} is left out: {error}")
            continue
        kept.append(name)
    return tuple(kept), notes


def numbers(option: str, text: str, least: int) -> tuple[int, ...]:
    """Whole numbers: comma separated, and ranges with a step, such as 8..64:8.

    Raises:
        ValueError: what is no such list, or a number below `least`.
    """
    found: list[int] = []
    for word in _words(text):
        match = re.fullmatch(r"(\d+)(?:\.\.(\d+)(?::(\d+))?)?", word)
        if match is None or match[3] == "0":
            raise ValueError(f"Expected `{option}` to be numbers such as 16,32 or 8..64:8, got {text!r}.")
        last = int(match[2] or match[1])
        found += range(int(match[1]), last + 1, int(match[3] or 1))
    if not found or min(found) < least:
        raise ValueError(f"Expected `{option}` to be numbers of {least} or more, got {text!r}.")
    return tuple(dict.fromkeys(found))


def activations_of(text: str) -> tuple[str, ...]:
    """smooth, saturating or both.

    Raises:
        ValueError: anything else.
    """
    words = tuple(dict.fromkeys(_words(text)))
    if not words or set(words) - set(ACTIVATIONS):
        raise ValueError(f"Expected `--activations` to be some of {', '.join(ACTIVATIONS)}, got {text!r}.")
    return words


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a device has room for: bytes of file and arena, instructions a time step; None is no limit."""

    flash: float | None = None
    ram: float | None = None
    insns: float | None = None

    @classmethod
    def parse(cls, text: str) -> Limits:
        """Such as flash=16k,ram=4k,insns=20k; k is 1000, KiB 1024.

        Raises:
            ValueError: an unknown cost or unit, or no positive number.
        """
        found: dict[str, float] = {}
        for word in _words(text):
            name, _, value = word.partition("=")
            if name not in UNITS or name in found:
                raise ValueError(
                    f"Expected `--budget` to limit flash, ram or insns once each, such as flash=16k,ram=4k, "
                    f"got {text!r}."
                )
            match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", value.strip())
            if match is None or match[2] not in UNITS[name] or not float(match[1]):
                choices = ", ".join(unit for unit in UNITS[name] if unit)
                raise ValueError(f"Expected a number with unit {choices} or none for {name}, got {value!r}.")
            found[name] = float(match[1]) * UNITS[name][match[2]]
        if not found:
            raise ValueError(f"Expected `--budget` such as flash=16k,ram=4k,insns=20k, got {text!r}.")
        return cls(**found)

    def given(self) -> dict[str, float]:
        """The limits there are."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    def excess(self, costs: Mapping[str, Any]) -> dict[str, float]:
        """By how many times its limit each known cost is above it: 0 at the limit, below 0 inside."""
        known = {name: limit for name, limit in self.given().items() if costs.get(name) is not None}
        return {name: costs[name] / limit - 1 for name, limit in known.items()}

    def fit(self, costs: Mapping[str, Any]) -> bool:
        """Whether every limited cost is known and within its limit."""
        found = self.excess(costs)
        return len(found) == len(self.given()) and max(found.values(), default=-math.inf) <= 0
