"""Compares a converted file with the fake-quant model it came from: grids, weights, biases, operators.

The converter and its kernels have silent errors (a rewritten grid, a bias on the wrong scale, an
operator left in float). A file that differs from the model in any of these is not handed out.
"""

from __future__ import annotations

import numpy as np

from keras_gru_plus.quantization.taps import SMALLEST_RANGE

from . import tflite
from .graph import Expected, Weights
from .multipliers import check_multipliers
from .tflite import OP, TYPE, Grid, ModelT, SubGraphT, TensorT
from .worker import ConversionError

#: Relative difference of scales that float32 arithmetic in two orders explains.
TOLERANCE = 2e-6
#: Steps of an operator's result by which rounding its bias may move it: half a step is what rounding does anyway.
LOST = 1.0
#: A kernel's least size beside its bias, which has to fit into 32 bits on 1/128 of the kernel's scale. Rounding to it
#: moves a sum of 300 products by less than a step of 16 bits.
LEAST_KERNEL = 2.0**-16
#: The converter gives a kernel smaller than half of this another scale.
CONVERTED = 1e-6
_ACTIVATIONS = {8: TYPE.INT8, 16: TYPE.INT16}
_INSIDE = (TYPE.INT32, TYPE.BOOL, TYPE.RESOURCE)


def grid_of_range(low: float, high: float, bits: int = 8) -> Grid:
    """Scale and zero point of a fake-quant with this range."""
    scale = (high - low) / (2**bits - 1)
    return Grid((scale,), (round(-(2 ** (bits - 1)) - low / scale),))


def check(model: ModelT, expected: Expected, *, bits: int = 8) -> None:
    """Checks every operator and tensor of a converted model, before its inputs are relabelled.

    Args:
        model: the file.
        expected: what it must contain.
        bits: of activations; 16 after `widen`.

    Raises:
        ConversionError: names the operator, what was expected and what the file has.
    """
    missing = tflite.without_producer(model)
    if missing:
        raise ConversionError(f"Expected every tensor to be written before it is read, got {missing[0]}.")
    named = {*tflite.signature(model).outputs.values()}
    if named != {*model.subgraphs[0].outputs}:
        raise ConversionError("Expected the signature to name the file's outputs, got other tensors.")
    ranges = expected.ranges if bits == 8 else expected.wide_ranges
    grids = {key: grid_of_range(*bounds, bits) for key, bounds in ranges.items()}
    activations = _ACTIVATIONS[bits]
    found: set[str] = set()
    for graph in model.subgraphs:
        for op in graph.operators:
            name = tflite.op_name(model, op)
            if name in ("QUANTIZE", "DEQUANTIZE"):
                raise ConversionError(f"Expected no {name} in the file, got one that writes {_describe(graph, op)}.")
            matmul = tflite.op_code(model, op) in tflite.LINEAR
            for place, index in enumerate((*op.inputs, *op.outputs)):
                weight = {1: TYPE.INT8, 2: TYPE.INT64}.get(place) if matmul and bits == 16 else None
                if index >= 0 and graph.tensors[index].type not in (activations, weight, *_INSIDE):
                    raise ConversionError(
                        f"Expected int{bits} throughout, got {tflite.type_name(graph.tensors[index])} in {name} "
                        f"that writes {_describe(graph, op)}."
                    )
            for index in op.outputs:
                tensor = graph.tensors[index]
                if tensor.type == activations:
                    key = tap_of(tensor, expected)
                    found |= {key} if key else set()
                    _check_grid(name, tensor, key, grids, bits)
            if tflite.op_code(model, op) in (OP.ADD, OP.SUB, OP.MUL):
                _check_constants(model, graph, op, expected, activations)
            if op.outputs:
                key = tap_of(graph.tensors[op.outputs[0]], expected)
                check_multipliers(model, graph, op, repr(key) if key else f"what {name} writes")
            if matmul:
                _check_weights(model, graph, op, expected)
    lost = sorted({*expected.taps.values(), *expected.kernels} - found)
    if lost:
        raise ConversionError(
            f"Expected an operator for each of the model's taps, found none for {', '.join(lost)}; where kernels are "
            "equal or all zero, the converter merges what they compute: try trained weights."
        )


def check_float(model: ModelT, expected: Expected, bits: int) -> None:
    """Checks that a converted model is in floating point throughout and has the model's kernels.

    Args:
        model: the file.
        expected: what it must contain.
        bits: of weights, 32 or 16; with 16 each is a float16 constant behind a DEQUANTIZE.

    Raises:
        ConversionError: names the operator, what was expected and what the file has.
    """
    missing = tflite.without_producer(model)
    if missing:
        raise ConversionError(f"Expected every tensor to be written before it is read, got {missing[0]}.")
    wanted = np.float16 if bits == 16 else np.float32
    # The converter folds a number that scales a tensor into the operator that reads it.
    numbers = np.array([1.0, *dict.fromkeys(expected.factors)], np.float32)
    kernels = [(w.kernel.T * number).astype(wanted).ravel() for w in expected.kernels.values() for number in numbers]
    for graph in model.subgraphs:
        halves = {
            op.outputs[0]: op.inputs[0]
            for op in graph.operators
            if tflite.op_name(model, op) == "DEQUANTIZE" and graph.tensors[op.inputs[0]].type == TYPE.FLOAT16
        }
        for op in graph.operators:
            name = tflite.op_name(model, op)
            types = {graph.tensors[index].type for index in (*op.inputs, *op.outputs) if index >= 0}
            if not types <= {TYPE.FLOAT32, *_INSIDE} and not set(op.outputs) <= set(halves):
                found = ", ".join(
                    sorted({tflite.type_name(graph.tensors[i]) for i in (*op.inputs, *op.outputs) if i >= 0})
                )
                raise ConversionError(
                    f"Expected float32 throughout, got {found} in {name} at {_describe(graph, op)}."
                )
            if tflite.op_code(model, op) in tflite.LINEAR:
                weights = graph.tensors[halves.get(op.inputs[1], op.inputs[1])]
                if tflite.is_constant(model, weights) and not _among(
                    tflite.constant(model, weights), kernels, op, model
                ):
                    raise ConversionError(
                        f"Expected the weights of {name} that writes {_describe(graph, op)} to be the model's in "
                        f"float{bits}, got others of shape {list(weights.shape)} in {tflite.type_name(weights)}."
                    )


def _among(found: np.ndarray, kernels: list[np.ndarray], op: tflite.OperatorT, model: ModelT) -> bool:
    """Whether a kernel in the file's order is one of `kernels`, channels first."""
    if tflite.op_code(model, op) == OP.DEPTHWISE_CONV_2D:
        found = np.moveaxis(found, -1, 0)
    return any(found.dtype == kernel.dtype and np.array_equal(found.ravel(), kernel) for kernel in kernels)


def tap_of(tensor: TensorT, expected: Expected) -> str | None:
    """Key of the tap that a tensor's operation belongs to; the last of those that were fused into it."""
    order = list(expected.taps)
    names = []
    for part in tflite.text(tensor.name).split(";"):
        pieces = part.split("/")
        tails = ["/".join(pieces[start:]) for start in range(len(pieces))]
        names += [name for tail in tails for name in (tail, tail.rstrip("0123456789")) if name in expected.taps]
    return expected.taps[max(names, key=order.index)] if names else None


def _describe(graph: SubGraphT, op: tflite.OperatorT) -> str:
    return repr(tflite.text(graph.tensors[op.outputs[0]].name))


def _check_grid(name: str, tensor: TensorT, key: str | None, grids: dict[str, Grid], bits: int) -> None:
    grid = tflite.grid(tensor)
    allowed = [grids[key]] if key else [*grids.values(), Grid((2.0 ** (1 - bits),), (0,))]
    if grid is None or not any(grid.same(other, TOLERANCE) for other in allowed):
        wanted = f"scale {allowed[0].scale:g}, zero point {allowed[0].zero_point}" if key else "a grid of the model"
        raise ConversionError(
            f"Expected {wanted} for tap {key or 'of ' + tflite.text(tensor.name)!r}, got {grid} from {name}."
        )


def _check_constants(
    model: ModelT, graph: SubGraphT, op: tflite.OperatorT, expected: Expected, activations: int
) -> None:
    """Element-wise weights on their own scale; single numbers are among those of the arithmetic."""
    for tensor in (graph.tensors[index] for index in op.inputs):
        grid = tflite.grid(tensor)
        if tensor.type != activations or grid is None or not tflite.is_constant(model, tensor):
            continue
        real = (tflite.constant(model, tensor).astype(np.float64).ravel() - grid.zero_point) * grid.scale
        same = [array for array in expected.constants if array.size == real.size]
        wanted = [*same, *(np.array([f]) for f in expected.factors if real.size == 1)]
        # Half a step from rounding where the values are many; a single one is exact but for its scale in float32.
        close = 0.501 * grid.scale if real.size > 1 else 2e-5 * float(np.abs(real).max())
        if not any(np.abs(real - array.ravel()).max() <= close for array in wanted):
            raise ConversionError(
                f"Expected constants of the model in {tflite.op_name(model, op)} that writes {_describe(graph, op)}, "
                f"got {real[:3]} on {grid}."
            )


def weight_scales(weights: Weights) -> np.ndarray:
    """Scales of a kernel: max|w| / 127 of each channel, or of all of it; of small ones what their bias needs."""
    limits, least = _limits(weights)
    return np.asarray(np.maximum(limits, least) / 127)


def is_small(weights: Weights) -> bool:
    """Whether a kernel, or a channel of it, is too small for the converter, or beside its bias."""
    limits, least = _limits(weights)
    return bool((limits < np.maximum(least, CONVERTED)).any())


def _limits(weights: Weights) -> tuple[np.ndarray, np.ndarray]:
    """max|w| of each channel or of all, and the least of it with which the bias fits into 32 bits."""
    sizes = np.abs(weights.kernel)
    bias = np.zeros(sizes.shape[1]) if weights.bias is None else np.abs(weights.bias)
    least = np.maximum(bias, SMALLEST_RANGE) * LEAST_KERNEL
    if weights.per_channel:
        return sizes.max(axis=0), least
    return sizes.max(keepdims=True).ravel(), least.max(keepdims=True)


def _check_weights(model: ModelT, graph: SubGraphT, op: tflite.OperatorT, expected: Expected) -> None:
    output = graph.tensors[op.outputs[0]]
    key = tap_of(output, expected)
    if key is None or key not in expected.kernels:
        raise ConversionError(f"Expected every matmul to belong to a tap, got {_describe(graph, op)}.")
    kernel, bias = expected.kernels[key].kernel, expected.kernels[key].bias
    rows = kernel.T
    weights, grid = graph.tensors[op.inputs[1]], tflite.grid(graph.tensors[op.inputs[1]])
    scales = weight_scales(expected.kernels[key])
    if (
        grid is None
        or len(grid.scales) != len(scales)
        or not np.allclose(grid.scales, scales, rtol=TOLERANCE, atol=0)
    ):
        raise ConversionError(f"Expected the weights of {key!r} on scale max|w| / 127 = {scales[:3]}, got {grid}.")
    integers = tflite.constant(model, weights).astype(np.int32)
    if tflite.op_code(model, op) == OP.DEPTHWISE_CONV_2D:  # (1, height, width, channels); others have channels first
        integers = np.moveaxis(integers, -1, 0)
    integers = integers.reshape(rows.shape)
    if np.abs(integers - rows / scales[:, None]).max() > 0.5 + 1e-3:
        raise ConversionError(f"Expected the weights of {key!r} to be the model's, rounded; got others.")
    source = tflite.grid(graph.tensors[op.inputs[0]])
    assert source is not None
    index = op.inputs[2] if len(op.inputs) > 2 else -1
    wanted = np.zeros(len(rows), np.float32) if bias is None else bias
    stored = np.zeros(len(rows)) if index < 0 else tflite.constant(model, graph.tensors[index]).astype(np.float64)
    step = np.broadcast_to(source.scale * scales, stored.shape)
    lost = np.abs(stored * step - wanted).max() / out.scale if (out := tflite.grid(output)) else 0.0
    if lost > LOST:
        raise ConversionError(
            f"Expected weights of {key!r} that leave its bias its digits, got ones so large that rounding the bias "
            f"moves the result by {lost:.3g} steps; try smaller weights (a constraint or regularizer), or "
            "calibration data that moves every part of the model."
        )
    if np.abs(stored * step - wanted).max() > 0.5001 * step.max() + 1e-6 * np.abs(wanted).max():
        raise ConversionError(
            f"Expected the bias of {key!r} to be the model's, got one that differs by "
            f"{np.abs(stored * step - wanted).max():g} (a step is {step.max():g})."
        )
