"""Reads the graph of a step file as values."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .. import tflite
from ..tflite import OP, TYPE, Grid, ModelT, OperatorT
from . import kernels
from .kernels import Array
from .values import (
    Constant,
    Given,
    Joined,
    Linear,
    Plus,
    Softmax,
    Times,
    Unsupported,
    Value,
    binary,
    broadcast,
    part,
    unary,
)

_ACTIVATIONS = {
    value: name for name, value in vars(tflite.schema.ActivationFunctionType).items() if isinstance(value, int)
}


@dataclasses.dataclass(frozen=True)
class End:
    """An input, output or state of the file."""

    name: str
    size: int
    grid: Grid


@dataclasses.dataclass(frozen=True)
class Graph:
    """Inputs, outputs and states in the order of the signature, and what the last two become."""

    inputs: list[End]
    outputs: list[tuple[End, Value]]
    states: list[tuple[End, Value]]


@dataclasses.dataclass(frozen=True)
class _Index:
    """An int32 tensor that only indexes a table: an int8 value plus an offset."""

    value: Value
    offset: int = 0


def read(data: bytes) -> Graph:
    """The graph of a file with mode `step`.

    Raises:
        Unsupported: an operator, type or shape that there is no C for.
    """
    return _Reader(tflite.load(data)).graph()


class _Reader:
    def __init__(self, model: ModelT) -> None:
        self.model = model
        self.tensors = model.subgraphs[0].tensors
        self.found: dict[int, Value | _Index] = {}

    def graph(self) -> Graph:
        signature = tflite.signature(self.model)
        ends = {name: self._end(name, index) for name, index in signature.inputs.items()}
        for name, index in signature.inputs.items():
            self.found[index] = Given(ends[name].size, name, name.startswith("state_"))
        for op in self.model.subgraphs[0].operators:
            self._operator(op)
        outputs: list[tuple[End, Value]] = []
        states: list[tuple[End, Value]] = []
        for name, index in signature.outputs.items():
            pair = (self._end(name, index), self.value(index))
            (states if name.startswith("state_") else outputs).append(pair)
        inputs = [end for name, end in ends.items() if not name.startswith("state_")]
        if {end.name for end, _ in states} != set(ends) - {end.name for end in inputs} or not states:
            raise Unsupported("Expected a file of mode 'step', whose states are inputs and outputs, got another")
        return Graph(inputs, outputs, states)

    def _end(self, name: str, index: int) -> End:
        tensor = self.tensors[index]
        grid = tflite.grid(tensor)
        if tensor.type != TYPE.INT8 or grid is None:
            raise Unsupported(
                f"Expected int8 inputs and outputs, got {name!r} of type {tflite.type_name(tensor)}; "
                "try recipe int8 and io int8"
            )
        return End(name, self.size(index), grid)

    # -- tensors -----------------------------------------------------------------------------------

    def size(self, index: int) -> int:
        return int(np.prod(self.tensors[index].shape))

    def grid(self, index: int) -> Grid:
        grid = tflite.grid(self.tensors[index])
        if grid is None:
            raise Unsupported(f"Expected int8 inside, got a tensor of type {tflite.type_name(self.tensors[index])}")
        return grid

    def constant(self, index: int) -> Array | None:
        tensor = self.tensors[index]
        return tflite.constant(self.model, tensor) if tflite.is_constant(self.model, tensor) else None

    def value(self, index: int) -> Value:
        if index not in self.found:
            values = self.constant(index)
            if values is None or values.dtype != np.int8:
                raise Unsupported(f"Expected int8 inside, got {tflite.type_name(self.tensors[index])}")
            self.found[index] = Constant(values.size, values.ravel().astype(np.int64))
        found = self.found[index]
        if not isinstance(found, Value):
            raise Unsupported("Expected int32 only as the index of a table, got it elsewhere")
        return found

    # -- operators ---------------------------------------------------------------------------------

    def _operator(self, op: OperatorT) -> None:
        name = tflite.op_name(self.model, op)
        handler = getattr(self, f"_{name.lower()}", None)
        if handler is None:
            known = ", ".join(sorted(n[1:].upper() for n in vars(_Reader) if n[1:].upper() in vars(OP)))
            raise Unsupported(f"Expected operators that standalone C has ({known}), got {name}")
        handler(op)

    def _set(self, op: OperatorT, value: Value | _Index) -> None:
        self.found[op.outputs[0]] = value

    def _activation(self, op: OperatorT) -> str:
        name = _ACTIVATIONS[int(getattr(op.builtinOptions, "fusedActivationFunction", 0) or 0)]
        if name not in kernels.RANGES:
            raise Unsupported(f"Expected a fused activation among {', '.join(kernels.RANGES)}, got {name}")
        return name

    def _reshape(self, op: OperatorT) -> None:
        self._set(op, self.value(op.inputs[0]))

    def _cast(self, op: OperatorT) -> None:
        self._set(op, _Index(self.value(op.inputs[0])))

    def _gather(self, op: OperatorT) -> None:
        table, index = self.constant(op.inputs[0]), self.found.get(op.inputs[1])
        if table is None or not isinstance(index, _Index) or table.shape != (256,) or index.offset != 128:
            raise Unsupported("Expected GATHER to look int8 values up in a table of 256, got another")
        self._set(op, unary(index.value, table.astype(np.int64)))

    def _add(self, op: OperatorT) -> None:
        first = self.found.get(op.inputs[0])
        if isinstance(first, _Index):
            offset = self.constant(op.inputs[1])
            if offset is None or offset.size != 1:
                raise Unsupported("Expected int32 ADD only in front of a table, got another")
            self._set(op, _Index(first.value, first.offset + int(offset.ravel()[0])))
            return
        self._sum(op, subtract=False)

    def _sub(self, op: OperatorT) -> None:
        self._sum(op, subtract=True)

    def _sum(self, op: OperatorT, *, subtract: bool) -> None:
        a, b, y = (self.grid(index) for index in (*op.inputs, op.outputs[0]))
        table = kernels.add(a, b, y, self._activation(op), subtract=subtract)
        exact = kernels.exact_sum(a, b, y, self._activation(op), subtract=subtract)
        kind = Plus(a.scale / y.scale, (-1 if subtract else 1) * b.scale / y.scale, exact)
        self._binary(op, table, kind)

    def _mul(self, op: OperatorT) -> None:
        a, b, y = (self.grid(index) for index in (*op.inputs, op.outputs[0]))
        table = kernels.multiply(a, b, y, self._activation(op))
        real = a.scale * b.scale / y.scale
        self._binary(op, table, Times(a.zero_point, b.zero_point, real, kernels.multiplier(real)))

    def _binary(self, op: OperatorT, table: Array, kind: Plus | Times) -> None:
        size = self.size(op.outputs[0])
        a, b = (broadcast(self.value(index), size) for index in op.inputs)
        self._set(op, binary(a, b, table, kind))

    def _logistic(self, op: OperatorT) -> None:
        self._set(op, unary(self.value(op.inputs[0]), kernels.logistic(self.grid(op.inputs[0]))))

    def _tanh(self, op: OperatorT) -> None:
        self._set(op, unary(self.value(op.inputs[0]), kernels.tanh(self.grid(op.inputs[0]))))

    def _rescaled(self, op: OperatorT, kernel: Any) -> None:
        x, y = self.grid(op.inputs[0]), self.grid(op.outputs[0])
        self._set(op, unary(self.value(op.inputs[0]), kernel(x, y), x.scale / y.scale))

    def _relu(self, op: OperatorT) -> None:
        self._rescaled(op, kernels.relu)

    def _relu6(self, op: OperatorT) -> None:
        self._rescaled(op, kernels.relu6)

    def _quantize(self, op: OperatorT) -> None:
        if self.tensors[op.outputs[0]].type != TYPE.INT8:
            raise Unsupported("Expected QUANTIZE from int8 to int8, got another")
        self._rescaled(op, kernels.requantize)

    def _softmax(self, op: OperatorT) -> None:
        source = self.value(op.inputs[0])
        if self.tensors[op.inputs[0]].shape[-1] != source.size:
            raise Unsupported("Expected SOFTMAX over one row, got several")
        exponentials = kernels.softmax_exponentials(self.grid(op.inputs[0]), float(op.builtinOptions.beta))
        self._set(op, Softmax(source.size, source, exponentials))

    def _fully_connected(self, op: OperatorT) -> None:
        source, weights = self.value(op.inputs[0]), self.constant(op.inputs[1])
        if weights is None or weights.dtype != np.int8 or source.size != weights.shape[1]:
            raise Unsupported("Expected FULLY_CONNECTED of one row with constant int8 weights, got another")
        x, grid, y = (self.grid(index) for index in (*op.inputs[:2], op.outputs[0]))
        weights = weights.astype(np.int64)
        given = self.constant(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] >= 0 else None
        bias = np.zeros(len(weights), np.int64) if given is None else given.astype(np.int64)
        bias = bias - x.zero_point * weights.sum(axis=1)
        largest = (128 * np.abs(weights).sum(axis=1) + np.abs(bias)).max()
        if largest >= 1 << 31 or any(grid.zero_points):
            raise Unsupported("Expected sums of FULLY_CONNECTED within 32 bits and symmetric weights, got others")
        low, high = kernels.clamp_of(self._activation(op), y)
        factors = kernels.linear_factors(x, grid, y)
        self._set(op, Linear(len(weights), source, weights, bias, factors, y.zero_point, low, high))

    def _concatenation(self, op: OperatorT) -> None:
        shape = self.tensors[op.outputs[0]].shape
        axis = int(op.builtinOptions.axis) % len(shape)
        grid = self.grid(op.outputs[0])
        if np.prod(shape[:axis]) != 1 or any(not self.grid(i).same(grid) for i in op.inputs):
            raise Unsupported("Expected CONCATENATION of rows of one grid, got another")
        self._set(op, Joined(self.size(op.outputs[0]), [self.value(index) for index in op.inputs]))

    def _split(self, op: OperatorT) -> None:
        axis = self.constant(op.inputs[0])
        shape = self.tensors[op.inputs[1]].shape
        if axis is None or np.prod(shape[: int(axis.ravel()[0]) % len(shape)]) != 1:
            raise Unsupported("Expected SPLIT of a row, got another")
        start = 0
        for output in op.outputs:
            self.found[output] = part(self.value(op.inputs[1]), start, self.size(output))
            start += self.size(output)

    def _slice(self, op: OperatorT) -> None:
        begin = self.constant(op.inputs[1])
        self._part(op, None if begin is None else [int(i) for i in begin.ravel()])

    def _strided_slice(self, op: OperatorT) -> None:
        shape, options = self.tensors[op.inputs[0]].shape, op.builtinOptions
        begin, _, strides = (self.constant(index) for index in op.inputs[1:4])
        odd = options.ellipsisMask or options.newAxisMask or begin is None or strides is None or (strides != 1).any()
        if odd or begin is None:
            raise Unsupported("Expected STRIDED_SLICE of neighbours, got another")
        starts = [0 if options.beginMask >> axis & 1 else int(i) for axis, i in enumerate(begin.ravel())]
        self._part(op, [i % size if size else i for i, size in zip(starts, shape)])

    def _part(self, op: OperatorT, begin: list[int] | None) -> None:
        shape, size = self.tensors[op.inputs[0]].shape, self.size(op.outputs[0])
        longer = [axis for axis, length in enumerate(shape) if length > 1]
        if begin is None or len(longer) > 1:
            raise Unsupported("Expected slices of a row at a constant place, got another")
        start = begin[longer[0]] if longer else 0
        self._set(op, part(self.value(op.inputs[0]), start, size))
