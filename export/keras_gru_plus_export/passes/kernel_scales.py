"""Quantizes the kernels of single linear operators anew, on scales that the converter does not give them.

It has one switch, per channel or per tensor, for all matmuls; and a kernel, or a channel of one, that is nearly zero
gets a scale on which no bias fits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, ModelT, OperatorT, SubGraphT, TensorT
from . import PassError


class KernelScales(NamedTuple):
    """Scales `(channels,)` or `(1,)`, and real weights `(channels, inputs)` and bias as trained."""

    scales: np.ndarray
    rows: np.ndarray
    bias: np.ndarray | None


def kernel_scales(model: ModelT, find: Callable[[TensorT], KernelScales | None]) -> None:
    """Applies the pass to each linear operator for whose output `find` gives weights; others stay."""
    for graph in model.subgraphs:
        for op in graph.operators:
            if tflite.op_code(model, op) in tflite.LINEAR:
                wanted = find(graph.tensors[op.outputs[0]])
                before = tflite.grid(graph.tensors[op.inputs[1]])
                if wanted is not None and before is not None and not _has(before, wanted.scales):
                    _quantize(model, graph, op, wanted)


def _has(grid: tflite.Grid, scales: np.ndarray) -> bool:
    return len(grid.scales) == len(scales) and bool(np.allclose(grid.scales, scales, rtol=1e-6, atol=0))


def _quantize(model: ModelT, graph: SubGraphT, op: OperatorT, wanted: KernelScales) -> None:
    tensor, source = graph.tensors[op.inputs[1]], tflite.grid(graph.tensors[op.inputs[0]])
    shape, last = list(tensor.shape), tflite.op_code(model, op) == OP.DEPTHWISE_CONV_2D
    channels = shape[-1] if last else shape[0]
    same = (channels, int(np.prod(shape))) == (len(wanted.rows), wanted.rows.size)
    if source is None or tensor.type != TYPE.INT8 or not same:
        raise PassError(
            f"Expected an int8 kernel of {list(wanted.rows.shape)} in {tflite.op_name(model, op)}, got "
            f"{tflite.type_name(tensor)} of {shape}"
        )
    integers = np.clip(np.floor(wanted.rows / wanted.scales[:, None] + 0.5), -127, 127).astype(np.int8)
    integers = integers.T.reshape(shape) if last else integers.reshape(shape)
    op.inputs = list(op.inputs)  # new tensors: others may read the old ones
    op.inputs[1] = tflite.add_tensor(graph, tflite.text(tensor.name), shape, TYPE.INT8)
    tflite.set_constant(model, graph.tensors[op.inputs[1]], integers)
    tflite.set_grid(graph.tensors[op.inputs[1]], wanted.scales.tolist(), axis=len(shape) - 1 if last else 0)
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        old = graph.tensors[op.inputs[2]]
        step = source.scale * wanted.scales
        bias = np.zeros(len(wanted.rows)) if wanted.bias is None else np.rint(wanted.bias / step)
        op.inputs[2] = tflite.add_tensor(graph, tflite.text(old.name), old.shape, TYPE.INT32)
        tflite.set_constant(model, graph.tensors[op.inputs[2]], bias.astype(np.int32).reshape(old.shape))
        tflite.set_grid(graph.tensors[op.inputs[2]], step.tolist())
