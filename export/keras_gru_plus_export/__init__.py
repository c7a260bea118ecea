"""Export of quantized Keras models to int8 `.tflite` files that are checked on real runtimes."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analyze import Analysis, analyze
    from .bundle import export
    from .convert import convert
    from .report import Report
    from .worker import ConversionError

_PUBLIC = {
    "convert": "convert",
    "ConversionError": "worker",
    "export": "bundle",
    "Report": "report",
    "analyze": "analyze",
    "Analysis": "analyze",
}

__all__ = ["Analysis", "ConversionError", "Report", "analyze", "convert", "export"]


def _public(name: str) -> property:
    def get(_: ModuleType) -> Any:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)

    def set_(_: ModuleType, value: Any) -> None:
        """Importing the submodule `convert` must not replace the function `convert`."""

    return property(get, set_)


class _Package(ModuleType):
    """This package, with its public names loaded when they are first used."""


for _name in _PUBLIC:
    setattr(_Package, _name, _public(_name))
sys.modules[__name__].__class__ = _Package
