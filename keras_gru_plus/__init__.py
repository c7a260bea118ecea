"""GRU variants for Keras that survive the trip to int8.

Importing this package imports neither Keras nor TensorFlow; each public name loads what it needs
when it is first used. Layers are registered with Keras as soon as both are imported, in either
order, so that saved models load without `custom_objects`. The layers run on Keras' TensorFlow and JAX
backends; quantization needs TensorFlow.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import activations, datasets, distribution, initializers, runtime
    from . import cells as variants
    from .adopt import from_keras
    from .cells import VARIANTS
    from .layer import GRUPlus, GRUPlusCell
    from .quantization.calibrate import FreezeRanges, calibrate
    from .quantization.layers import register_layer
    from .quantization.model import QuantizedModel, quantize_aware
    from .quantization.recipe import Recipe

_PUBLIC = {
    "GRUPlus": "layer",
    "GRUPlusCell": "layer",
    "VARIANTS": "cells",
    "from_keras": "adopt",
    "quantize_aware": "quantization",
    "calibrate": "quantization",
    "FreezeRanges": "quantization",
    "QuantizedModel": "quantization",
    "register_layer": "quantization",
    "Recipe": "quantization.recipe",
}
_MODULES = {name: name for name in ("activations", "datasets", "distribution", "initializers", "runtime")} | {
    "variants": "cells"
}
_REGISTERED = ("layer", "quantization")

__all__ = [
    "VARIANTS",
    "FreezeRanges",
    "GRUPlus",
    "GRUPlusCell",
    "QuantizedModel",
    "Recipe",
    "activations",
    "calibrate",
    "datasets",
    "distribution",
    "from_keras",
    "initializers",
    "quantize_aware",
    "register_layer",
    "runtime",
    "variants",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("keras-gru-plus")
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        if _PUBLIC[name].startswith((*_REGISTERED, "adopt")):
            importlib.import_module("keras")  # first, so that registering meets no half-imported module of ours
        module = importlib.import_module(f"{__name__}.{_PUBLIC[name]}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing in ("keras", "tensorflow", "tensorflow_model_optimization"):
            raise ImportError(f"{name} needs {missing}: pip install 'keras-gru-plus[train]'") from None
        raise
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def _register_layers() -> None:
    registered = _REGISTERED if sys.modules["keras"].backend.backend() == "tensorflow" else _REGISTERED[:1]
    modules = [f"{__name__}.{module}" for module in registered]
    if any(getattr(sys.modules[name].__spec__, "_initializing", False) for name in modules if name in sys.modules):
        return  # one of them is importing Keras just now and registers its classes itself
    for name in modules:
        importlib.import_module(name)


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Registers the layers right after Keras was imported, whoever imports it."""

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> Any:
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _register_layers()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "keras" in sys.modules:
    _register_layers()
else:
    sys.meta_path.insert(0, _AfterKeras())
