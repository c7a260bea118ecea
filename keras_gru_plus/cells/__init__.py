"""All GRU variants: `VARIANTS` maps each name to its cell class."""

from __future__ import annotations

from typing import Any

from .base import Cell
from .gru import GRU, Coupled
from .mgu import MGU

VARIANTS: dict[str, type[Cell]] = {
    "gru": GRU,
    "mgu": MGU,
    "coupled": Coupled,
}

__all__ = ["GRU", "MGU", "VARIANTS", "Cell", "Coupled", "get"]


def get(variant: str | Cell | dict[str, Any]) -> Cell:
    """The cell for a variant's name, instance or config.

    Raises:
        ValueError: for an unknown name; lists the known ones.
        TypeError: for anything that is no variant.
    """
    if isinstance(variant, Cell):
        return variant
    if isinstance(variant, dict):
        options = dict(variant)
        return _class(options.pop("name", None))(**options)
    return _class(variant)()


def _class(name: object) -> type[Cell]:
    if not isinstance(name, str):
        raise TypeError(f"Expected `variant` to be a name or an instance such as variants.MGU(), got {name!r}.")
    if name not in VARIANTS:
        raise ValueError(f"Expected `variant` to be one of {', '.join(VARIANTS)}, got {name!r}.")
    return VARIANTS[name]
