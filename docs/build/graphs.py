"""Records the graph before and after each pass, in real conversions of small models: python graphs.py OUT.json."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_gru_plus as kgp
from keras_gru_plus_export import tflite

STEPS, FEATURES, UNITS = 8, 3, 4
#: What is converted, and how; for each pass the first in which it changes something is shown.
CONVERSIONS: tuple[dict[str, Any], ...] = (
    {"mode": "sequence"},
    {"mode": "sequence", "target": "tflm"},
    {"mode": "sequence", "steps_per_iteration": 2},
    {"mode": "sequence", "target": "tflm", "steps_per_iteration": 2},
    {"mode": "sequence", "layers": 2},
    {"mode": "step", "io": "float"},
    {"mode": "step", "variant": "egru"},
    {"mode": "step", "recipe": "int16x8"},
    {"mode": "sequence", "recipe": "none"},
)


def snapshot(model: Any) -> list[dict[str, Any]]:
    """The subgraphs with their operators and tensors, as plain values."""
    graphs = []
    for graph in model.subgraphs:
        tensors = [
            {
                "type": tflite.type_name(tensor),
                "shape": [int(size) for size in (tensor.shape if tensor.shape is not None else [])],
                "constant": tflite.is_constant(model, tensor),
                "name": tflite.text(tensor.name),
            }
            for tensor in graph.tensors
        ]
        operators = [
            {
                "name": tflite.op_name(model, op),
                "inputs": [int(i) for i in op.inputs if i >= 0],
                "outputs": [int(i) for i in op.outputs],
                "calls": {
                    role: index
                    for role in ("condSubgraphIndex", "bodySubgraphIndex", "thenSubgraphIndex", "elseSubgraphIndex")
                    if (index := getattr(op.builtinOptions, role, None)) is not None
                },
            }
            for op in graph.operators
        ]
        ends = {"inputs": [int(i) for i in graph.inputs], "outputs": [int(i) for i in graph.outputs]}
        graphs.append({**ends, "tensors": tensors, "operators": operators})
    return graphs


def shape_of(graphs: list[dict[str, Any]]) -> list[Any]:
    """What makes a picture another one: operators, types and shapes, not names."""
    return [
        [
            (
                op["name"],
                [
                    (graph["tensors"][i]["type"], graph["tensors"][i]["shape"])
                    for i in [*op["inputs"], *op["outputs"]]
                ],
            )
            for op in graph["operators"]
        ]
        for graph in graphs
    ]


def record() -> dict[str, Any]:
    """By pass: how the model was converted, the graphs before and after."""
    module = importlib.import_module("keras_gru_plus_export.convert")
    found: dict[str, Any] = {}
    current: dict[str, Any] = {}

    def recording(name: str, work: Any) -> Any:
        def run(model: Any, *arguments: Any, **options: Any) -> Any:
            before = snapshot(model)
            result = work(model, *arguments, **options)
            after = snapshot(model)
            if name not in found and shape_of(before) != shape_of(after):
                found[name] = {"conversion": dict(current), "before": before, "after": after}
            return result

        return run

    for name, value in list(vars(module).items()):
        if inspect.isfunction(value) and value.__module__.startswith("keras_gru_plus_export.passes."):
            setattr(module, name, recording(value.__module__.rpartition(".")[2], value))
    x = np.random.default_rng(0).normal(0, 1, (32, STEPS, FEATURES)).astype(np.float32)
    for conversion in CONVERSIONS:
        keras.utils.set_random_seed(0)
        current.clear()
        current.update(conversion)
        options = dict(conversion)
        variant, recipe = options.pop("variant", "mgu"), options.pop("recipe", "int8")
        signal = hidden = keras.Input((STEPS, FEATURES), name="x")
        for left in reversed(range(options.pop("layers", 1))):
            hidden = kgp.GRUPlus(UNITS, variant=variant, return_sequences=left > 0)(hidden)
        model = kgp.quantize_aware(keras.Model(signal, hidden), recipe)
        module.convert(kgp.calibrate(model, x), **options)
    return found


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(record()), encoding="utf-8")
