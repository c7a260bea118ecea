"""One way to drive LiteRT, tflite-runtime and TFLite Micro: arrays in tensor order in, arrays in tensor order out.

The exporter's runner loads this file by its path, in Pythons (from 3.8) that have numpy and one interpreter and
nothing of this project: so it imports nothing of it.
"""

from __future__ import annotations

import importlib
import importlib.util
from importlib import metadata
from typing import Any

import numpy as np

#: In the order in which they are looked for.
PACKAGES = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime", "tflm": "tflite-micro"}
MODULES = {
    "litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tflm": "tflite_micro",
}
EXTRAS = {"litert": "edge", "tflite-runtime": "tflite-runtime", "tflm": "tflm"}
#: The second half with the reference kernels, which are slow and the same on every machine.
RUNTIMES = (*PACKAGES, "litert-reference", "tflite-runtime-reference")
#: Bytes for TFLite Micro: far more than enough, and untouched memory costs nothing.
HUGE_ARENA = 16 * 1024 * 1024


class Lite:
    """LiteRT or tflite-runtime, with XNNPACK or with the reference kernels."""

    def __init__(self, family: str, model: bytes, reference: bool = False, threads: int = 1) -> None:
        self.module = importlib.import_module(MODULES[family])
        self.model = model
        self.reference = reference
        self.threads = threads
        self.fresh()

    def fresh(self) -> None:
        """Start from the initial state: only a new interpreter forgets its resource variables."""
        resolvers = self.module.OpResolverType
        self.interpreter = self.module.Interpreter(
            model_content=self.model,
            num_threads=self.threads,
            experimental_op_resolver_type=resolvers.BUILTIN_REF if self.reference else resolvers.AUTO,
        )
        self.interpreter.allocate_tensors()
        self.inputs = [detail["index"] for detail in self.interpreter.get_input_details()]
        self.outputs = [detail["index"] for detail in self.interpreter.get_output_details()]

    def invoke(self, inputs: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """One inference."""
        for index, value in zip(self.inputs, inputs):
            self.interpreter.set_tensor(index, value)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in self.outputs]


class Micro:
    """TFLite Micro with an arena of a given size."""

    def __init__(self, model: bytes, outputs: int, arena: int = HUGE_ARENA) -> None:
        runtime = importlib.import_module(MODULES["tflm"]).runtime
        self.interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena)
        self.outputs = outputs

    def fresh(self) -> None:
        """Start from the initial state."""
        self.interpreter.reset()

    def invoke(self, inputs: list[np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """One inference."""
        for index, value in enumerate(inputs):
            self.interpreter.set_input(value, index)
        self.interpreter.invoke()
        return [np.array(self.interpreter.get_output(index)) for index in range(self.outputs)]


def make(runtime: str, model: bytes, outputs: int, arena: int = HUGE_ARENA, threads: int = 1) -> Any:
    """An interpreter that holds the model; `outputs` is how many tensors it gives."""
    if runtime == "tflm":
        return Micro(model, outputs, arena)
    return Lite(family_of(runtime), model, runtime != family_of(runtime), threads)


def family_of(runtime: str) -> str:
    """The runtime without its choice of kernels."""
    return runtime[: -len("-reference")] if runtime.endswith("-reference") else runtime


def version_of(runtime: str) -> str:
    """Version of the installed runtime, after importing it."""
    family = family_of(runtime)
    importlib.import_module(MODULES[family])
    return metadata.version(PACKAGES[family])


def unusable(runtime: str) -> str | None:
    """Why a runtime cannot be used here, None where it can."""
    family = family_of(runtime)
    package, extra = PACKAGES[family], f"pip install 'keras-gru-plus[{EXTRAS[family]}]'"
    if importlib.util.find_spec(MODULES[family].split(".")[0]) is None:
        return f"{package} is not installed ({extra})"
    if family == "tflite-runtime" and int(np.__version__.split(".")[0]) > 1:
        # It imports and then fails with a SystemError.
        return f"{package} needs numpy 1, here is {np.__version__} (an environment of its own: {extra})"
    try:
        importlib.import_module(MODULES[family])
    except ImportError as error:
        return f"{package} cannot be imported: {error}"
    return None
