"""All GRU variants: `VARIANTS` maps each name to its cell class."""

from __future__ import annotations

from typing import Any

from .additive import ATR, CFN, RAN
from .base import Cell
from .bistable import BRC, NBRC
from .fast import FastGRNN, FastGRNN0, FastRNN
from .gru import GRU, GRU1, GRU2, GRU3, Coupled
from .light import EGRU, STAR, IndyGRU, LightRU, MinimalRNN
from .ligru import LiGRU
from .mgu import MGU, MGU1, MGU2, MGU3
from .parallel import QRNN, SRU, SRU1, MinGRU
from .single import CIFG, UGRNN, Janet
from .times import GRUD, CfC

VARIANTS: dict[str, type[Cell]] = {
    "gru": GRU,
    "gru1": GRU1,
    "gru2": GRU2,
    "gru3": GRU3,
    "mgu": MGU,
    "mgu1": MGU1,
    "mgu2": MGU2,
    "mgu3": MGU3,
    "coupled": Coupled,
    "ugrnn": UGRNN,
    "cifg": CIFG,
    "janet": Janet,
    "ligru": LiGRU,
    "fastrnn": FastRNN,
    "fastgrnn": FastGRNN,
    "fastgrnn0": FastGRNN0,
    "brc": BRC,
    "nbrc": NBRC,
    "lightru": LightRU,
    "star": STAR,
    "minimalrnn": MinimalRNN,
    "egru": EGRU,
    "indygru": IndyGRU,
    "mingru": MinGRU,
    "sru1": SRU1,
    "sru": SRU,
    "qrnn": QRNN,
    "atr": ATR,
    "ran": RAN,
    "cfn": CFN,
    "cfc": CfC,
    "grud": GRUD,
}

__all__ = [
    "ATR",
    "BRC",
    "CFN",
    "CIFG",
    "EGRU",
    "GRU",
    "GRU1",
    "GRU2",
    "GRU3",
    "GRUD",
    "MGU",
    "MGU1",
    "MGU2",
    "MGU3",
    "NBRC",
    "QRNN",
    "RAN",
    "SRU",
    "SRU1",
    "STAR",
    "UGRNN",
    "VARIANTS",
    "Cell",
    "CfC",
    "Coupled",
    "FastGRNN",
    "FastGRNN0",
    "FastRNN",
    "IndyGRU",
    "Janet",
    "LiGRU",
    "LightRU",
    "MinGRU",
    "MinimalRNN",
    "get",
]


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
