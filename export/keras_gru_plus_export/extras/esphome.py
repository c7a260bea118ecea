"""Extra `esphome`: a microWakeWord v2 manifest with the model in the form that ESPHome runs.

Source of the rules: ESPHome's component micro_wake_word (its operators, int8 features of 40 channels in, one uint8
probability out, state in variables).
"""

from __future__ import annotations

import json

import numpy as np

from .. import tflite
from ..analyze import analyze
from ..tflite import OP, TYPE, Grid
from .context import Context

#: What stock ESPHome registers.
OPERATORS = {
    "ADD",
    "ASSIGN_VARIABLE",
    "AVERAGE_POOL_2D",
    "CALL_ONCE",
    "CONCATENATION",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "LOGISTIC",
    "MAX_POOL_2D",
    "MEAN",
    "MUL",
    "PACK",
    "PAD",
    "QUANTIZE",
    "READ_VARIABLE",
    "RESHAPE",
    "SPLIT_V",
    "STRIDED_SLICE",
    "VAR_HANDLE",
}
CHANNELS = 40


def files(context: Context) -> dict[str, str | bytes]:
    """`esphome/manifest.json` and `esphome/model.tflite`, whose output is uint8.

    Raises:
        ValueError: the model breaks a rule; all broken ones are named.
    """
    broken = broken_rules(context.data, context.mode)
    if broken:
        raise ValueError("Expected a model that fits microWakeWord v2, got one that does not: " + "; ".join(broken))
    words = context.labels or [context.title]
    manifest = {
        "type": "micro",
        "wake_word": words[-1],
        "author": "",
        "website": "",
        "model": "model.tflite",
        "trained_languages": [],
        "version": 2,
        "micro": {
            "probability_cutoff": 0.5,
            "sliding_window_size": 5,
            "feature_step_size": 10,
            "tensor_arena_size": 32768 if context.arena is None else context.arena + 1024,
            "minimum_esphome_version": "2024.7.0",
        },
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    return {"esphome/manifest.json": text, "esphome/model.tflite": unsigned(context.data)}


def broken_rules(data: bytes, mode: str) -> list[str]:
    """What keeps a file from running there, in words; none if it can."""
    analysis = analyze(data)
    found = []
    if mode != "stateful":
        found.append(f"the state must be in variables (--mode stateful), not mode {mode!r}")
    foreign = sorted({row.name for row in analysis.operators} - OPERATORS)
    if foreign:
        found.append(f"stock ESPHome has no {', '.join(foreign)} (saturating gates need fewer operators)")
    if len(analysis.inputs) != 1 or analysis.inputs[0].type != "int8" or analysis.inputs[0].shape[-1] != CHANNELS:
        inputs = ", ".join(map(str, analysis.inputs))
        found.append(f"the input must be int8 of {CHANNELS} channels, not {inputs}")
    elif analysis.inputs[0].grid is not None and analysis.inputs[0].grid.per_channel:
        found.append("the input must have one scale, which its own features come in, not one for each channel")
    if len(analysis.outputs) != 1 or int(np.prod(analysis.outputs[0].shape)) != 1:
        found.append(f"the output must be one probability, not {', '.join(map(str, analysis.outputs))}")
    elif analysis.outputs[0].grid is None or not analysis.outputs[0].grid.same(Grid((1 / 256,), (-128,))):
        found.append("the output must be a probability on the grid of a sigmoid (1/256, -128)")
    return found


def unsigned(data: bytes) -> bytes:
    """The file with a QUANTIZE from int8 to uint8 at its end: the same values."""
    model = tflite.load(data)
    graph = model.subgraphs[0]
    (old,) = graph.outputs
    tensor = graph.tensors[old]
    grid = tflite.grid(tensor)
    assert grid is not None
    shifted = Grid(grid.scales, (grid.zero_point + 128,))
    new = tflite.add_tensor(graph, "unsigned", tensor.shape, TYPE.UINT8, shifted)
    tflite.replace_tensor(model, graph, old, new)
    graph.operators.append(tflite.new_operator(model, OP.QUANTIZE, [old], [new]))
    return tflite.dump(model)
