"""Export of quantized Keras models to int8 `.tflite` files that are checked on real runtimes."""

from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    "convert": "convert",
    "ConversionError": "worker",
    "export": "bundle",
    "Report": "report",
    "analyze": "analyze",
    "Analysis": "analyze",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value  # over the submodule of the same name
    return value
