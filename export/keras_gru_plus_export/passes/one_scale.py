"""Quantizes the kernels of single FULLY_CONNECTED anew, from per channel to one scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, ModelT, TensorT
from . import PassError


class OneScale(NamedTuple):
    """The scale, and real weights `(channels, inputs)` and bias as trained."""

    scale: float
    rows: np.ndarray
    bias: np.ndarray | None


def one_scale(model: ModelT, find: Callable[[TensorT], OneScale | None]) -> None:
    """Applies the pass to each FULLY_CONNECTED for whose output `find` gives weights; others stay."""
    for graph in model.subgraphs:
        for op in graph.operators:
            if tflite.op_code(model, op) != OP.FULLY_CONNECTED:
                continue
            wanted = find(graph.tensors[op.outputs[0]])
            tensor, source = graph.tensors[op.inputs[1]], tflite.grid(graph.tensors[op.inputs[0]])
            before = tflite.grid(tensor)
            if wanted is None or before is None or not before.per_channel:
                continue
            if source is None or tensor.type != TYPE.INT8 or list(tensor.shape) != list(wanted.rows.shape):
                raise PassError(
                    f"Expected an int8 kernel of shape {list(wanted.rows.shape)} in FULLY_CONNECTED, got "
                    f"{tflite.type_name(tensor)} of {list(tensor.shape)}"
                )
            integers = np.clip(np.floor(wanted.rows / wanted.scale + 0.5), -127, 127)
            op.inputs = list(op.inputs)  # new tensors: others may read the old ones
            op.inputs[1] = tflite.add_tensor(graph, tflite.text(tensor.name), tensor.shape, TYPE.INT8)
            tflite.set_constant(model, graph.tensors[op.inputs[1]], integers.astype(np.int8))
            tflite.set_grid(graph.tensors[op.inputs[1]], wanted.scale)
            if len(op.inputs) > 2 and op.inputs[2] >= 0:
                old = graph.tensors[op.inputs[2]]
                step = source.scale * wanted.scale
                bias = np.zeros(len(wanted.rows)) if wanted.bias is None else np.rint(wanted.bias / step)
                op.inputs[2] = tflite.add_tensor(graph, tflite.text(old.name), old.shape, TYPE.INT32)
                tflite.set_constant(model, graph.tensors[op.inputs[2]], bias.astype(np.int32).reshape(old.shape))
                tflite.set_grid(graph.tensors[op.inputs[2]], step)
