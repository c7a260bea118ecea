"""Makes an int8 file int16x8: int16 activations, states and element-wise constants, int64 biases, int8 weights.

The converter refuses 16-bit fake quantization in front of LOGISTIC and TANH, so the graph comes through it with 8
bits. Every grid keeps its range: steps become 256 times as fine; where the 8-bit grid starts at 0 (zero point -128)
128 times, since int16 kernels know no zero point. There the operators that could go below 0 get a fused RELU, for
the clip that int8 had for free. What is constant comes from the model's real values, not from their 8-bit rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, Grid, ModelT, OperatorT, SubGraphT, TensorT
from . import PassError

_ELEMENTWISE = (OP.ADD, OP.SUB, OP.MUL)
#: What has an int16 kernel in all runtimes and means the same there.
_KNOWN = {
    *_ELEMENTWISE,
    OP.FULLY_CONNECTED,
    OP.LOGISTIC,
    OP.TANH,
    OP.SOFTMAX,
    OP.RELU,
    OP.CONCATENATION,
    OP.SPLIT,
    OP.SLICE,
    OP.STRIDED_SLICE,
    OP.RESHAPE,
    OP.TRANSPOSE,
    OP.BROADCAST_TO,
    OP.WHILE,
    OP.READ_VARIABLE,
    OP.ASSIGN_VARIABLE,
}


def widen(model: ModelT, bias: Callable[[TensorT], np.ndarray | None], constants: Sequence[np.ndarray]) -> None:
    """Applies the pass to the whole model.

    Args:
        model: int8 throughout, weights per tensor.
        bias: the real bias of the matmul that writes a tensor.
        constants: real values, among them those of every constant of an element-wise operator.
    """
    for graph in model.subgraphs:
        weights = {op.inputs[1] for op in graph.operators if tflite.op_code(model, op) == OP.FULLY_CONNECTED}
        narrow = {i for i, t in enumerate(graph.tensors) if t.type == TYPE.INT8 and i not in weights}
        for op in graph.operators:
            if not narrow & {*op.inputs, *op.outputs}:
                continue
            if tflite.op_code(model, op) not in _KNOWN:
                raise PassError(f"Expected operators with an int16 kernel, got {tflite.op_name(model, op)}")
            _clip_at_zero(model, graph, op)
            _widen_constants(model, graph, op, narrow, constants)
            if tflite.op_code(model, op) == OP.FULLY_CONNECTED:
                _widen_bias(model, graph, op, bias(graph.tensors[op.outputs[0]]))
        for index in narrow:
            tensor = graph.tensors[index]
            if tflite.is_constant(model, tensor):
                continue  # replaced
            grid = wide_grid(tflite.grid(tensor))
            tensor.type = TYPE.INT16
            tflite.set_grid(tensor, grid.scales, grid.zero_points)


def wide_grid(grid: Grid | None) -> Grid:
    """The int16 grid with the range of an int8 grid of zero point 0 or -128."""
    if grid is None or grid.per_channel or grid.zero_point not in (0, -128):
        raise PassError(f"Expected activations on a grid with zero point 0 or -128, got {grid}")
    return Grid((grid.scale / (128 if grid.zero_point else 256),), (0,))


def _clip_at_zero(model: ModelT, graph: SubGraphT, op: OperatorT) -> None:
    """Gives the operator a fused RELU where its int8 output starts at 0; ADD and SUB any scales."""
    code = tflite.op_code(model, op)
    if code not in (*_ELEMENTWISE, OP.FULLY_CONNECTED):
        return
    kinds = tflite.schema.ActivationFunctionType
    options = copy.copy(op.builtinOptions)  # several operators may share one
    if options is None or options.fusedActivationFunction not in (kinds.NONE, kinds.RELU):
        raise PassError(f"Expected {tflite.op_name(model, op)} with no activation or RELU, got another")
    grid = tflite.grid(graph.tensors[op.outputs[0]])
    if grid is not None and grid.zero_points == (-128,):
        options.fusedActivationFunction = kinds.RELU
    if code in (OP.ADD, OP.SUB):
        options.potScaleInt16 = False
    op.builtinOptions = options


def _widen_constants(
    model: ModelT, graph: SubGraphT, op: OperatorT, narrow: set[int], constants: Sequence[np.ndarray]
) -> None:
    """Puts int16 constants in the place of the operator's int8 ones."""
    for place, index in enumerate(op.inputs):
        tensor = graph.tensors[index]
        if index not in narrow or not tflite.is_constant(model, tensor):
            continue
        grid = tflite.grid(tensor)
        if grid is None:
            raise PassError(f"Expected constants on a grid in {tflite.op_name(model, op)}, got one without")
        values = (tflite.constant(model, tensor).astype(np.float64) - grid.zero_point) * grid.scale
        if tflite.op_code(model, op) in _ELEMENTWISE:
            values = _nearest(values, grid.scale, constants)
            wide = Grid((max(float(np.abs(values).max()), float(np.finfo(np.float32).tiny)) / 32767,), (0,))
        elif values.any():
            raise PassError(f"Expected {tflite.op_name(model, op)} to start from zeros, got {values.ravel()[:3]}")
        else:
            wide = wide_grid(grid)
        new = tflite.add_tensor(graph, tflite.text(tensor.name), tensor.shape, TYPE.INT16, wide)
        integers = np.clip(np.rint(values / wide.scale), -32767, 32767).astype(np.int16)
        tflite.set_constant(model, graph.tensors[new], integers)
        op.inputs = [new if i == place else old for i, old in enumerate(op.inputs)]


def _nearest(values: np.ndarray, step: float, constants: Sequence[np.ndarray]) -> np.ndarray:
    """The model's values that an 8-bit constant was rounded from."""
    same = [array.astype(np.float64).reshape(values.shape) for array in constants if array.size == values.size]
    found = min(same, key=lambda array: float(np.abs(array - values).max()), default=None)
    if found is None or np.abs(found - values).max() > 0.501 * step:
        raise PassError(f"Expected the model's constants, got {values.ravel()[:3]}")
    return found


def _widen_bias(model: ModelT, graph: SubGraphT, op: OperatorT, bias: np.ndarray | None) -> None:
    """Puts an int64 bias on the product of the new scales in the place of the int32 one."""
    index = op.inputs[2] if len(op.inputs) > 2 else -1
    if index < 0:
        return
    if bias is None:
        raise PassError(f"Expected no bias in {tflite.text(graph.tensors[op.outputs[0]].name)!r}, got one")
    source, weights = (tflite.grid(graph.tensors[i]) for i in op.inputs[:2])
    if weights is None or weights.per_channel:
        raise PassError(f"Expected weights per tensor, got {weights}")
    scale = wide_grid(source).scale * weights.scale
    new = tflite.add_tensor(
        graph, tflite.text(graph.tensors[index].name), bias.shape, TYPE.INT64, Grid((scale,), (0,))
    )
    tflite.set_constant(model, graph.tensors[new], np.rint(bias.astype(np.float64) / scale).astype(np.int64))
    op.inputs = [*op.inputs[:2], new]
