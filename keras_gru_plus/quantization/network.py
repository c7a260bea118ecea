"""A whole model's layers in quantized arithmetic: one function a layer, for training and export alike.

`Network` is the walker with the vocabulary that the layer functions (`layers`) use. Subclasses say what a tap,
a linear operator and a recurrent layer are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import tensorflow as tf

from .. import activations
from ..arithmetic import NEARLY_ONE, Grid
from .input_scaling import Scaling
from .operators import Operator, scaled_bias


@dataclass(frozen=True)
class Value:
    """A tensor that is on a grid.

    Attributes:
        tensor: real value divided by `unit`.
        grid: its grid.
        key: its tap's key.
        unit: real value of tensor value 1; other than 1 only behind an input or an embedding, whose int8 form is
            merely relabelled.
    """

    tensor: Any
    grid: Grid
    key: str
    unit: Any = 1.0

    @property
    def shape(self) -> Any:
        """Static shape of the tensor."""
        return self.tensor.shape


@dataclass(frozen=True)
class Indices:
    """An input of whole numbers that are looked up, such as tokens; on no grid."""

    tensor: Any


@dataclass
class Pending:
    """An operator whose activation is not known yet, so its result is not yet on a grid.

    With several consumers it is computed once for those that read its own value, and once more for
    each that fuses an activation with it: so does the converter.

    Attributes:
        scope: layer that it belongs to.
        after: rearranges the result once it is on its grid.
        shared: has several consumers.
    """

    scope: str
    after: Callable[[Any], Any] | None = field(default=None, kw_only=True)
    shared: bool = field(default=False, kw_only=True)
    settled: Value | None = field(default=None, kw_only=True)

    def compute(self, q: Network, slope: float = 1.0, offset: float = 0.0) -> Any:
        """`slope * result + offset` in real units."""
        raise NotImplementedError


@dataclass
class Linear(Pending):
    """`operator(x, kernel) + bias`, into which linear functions that follow can be folded."""

    x: Value
    operator: Operator
    kernel: Any
    bias: Any

    def compute(self, q: Network, slope: float = 1.0, offset: float = 0.0) -> Any:
        bias = scaled_bias(self.bias, slope, offset, self.operator.channels(self.kernel))
        kernel = self.kernel if slope == 1.0 else self.kernel * slope
        return q.linear(f"{self.scope}/kernel", self.x, self.operator, kernel, bias)

    def scaled(self, factor: Any, shift: Any) -> Linear:
        """`factor * self + shift`, numbers for each channel, in the same operator."""
        bias = shift if self.bias is None else self.bias * factor + shift
        return replace(self, kernel=self.operator.scaled(self.kernel, factor), bias=bias)


@dataclass
class Elementwise(Pending):
    """An operator without weights that can end in a relu, such as ADD."""

    function: Callable[[], Any]

    def compute(self, q: Network, slope: float = 1.0, offset: float = 0.0) -> Any:
        assert slope == 1.0
        assert offset == 0.0
        return self.function()


@dataclass(frozen=True)
class Node:
    """One call of a layer in a model's graph; tensors are named by `id` of the symbolic tensor.

    Attributes:
        scope: what its taps are called by: the layer's name, numbered where it is called again.
        masked: whether Keras hands the mask of the inputs (or the layer's own) on with the outputs.
    """

    layer: Any
    scope: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    masked: bool = False


@dataclass
class Call:
    """What a layer function is called for.

    Attributes:
        mask: of the inputs, `(batch, timesteps)` of 0 and 1, or None; a layer that makes one puts it here.
    """

    layer: Any
    scope: str
    mask: Any = None


class Network:
    """Runs the nodes of a model.

    Args:
        nodes: layer calls in topological order.
        inputs, outputs: `(name, tensor id)` in the model's order.
    """

    def __init__(self, nodes: list[Node], inputs: list[tuple[str, int]], outputs: list[tuple[str, int]]) -> None:
        self.nodes, self.inputs, self.outputs = nodes, inputs, outputs

    # -- what a subclass defines -----------------------------------------------------------------

    def input(self, name: str, tensor: Any, scaling: Scaling | None) -> Value:
        """The model input `name`, scaled, on its grid."""
        raise NotImplementedError

    def tap(self, key: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        """Puts `value` on the grid of tap `key`."""
        raise NotImplementedError

    def join(self, key: str, values: list[Value], axis: int) -> Any:
        """The real `values` side by side, all on the grid of tap `key`."""
        raise NotImplementedError

    def rounded(self, x: Value, tensor: Any) -> Any:
        """`tensor`, in units of `x`, on the grid that x is on."""
        raise NotImplementedError

    def linear(self, key: str, x: Value, operator: Operator, kernel: Any, bias: Any) -> Any:
        """`operator(x, kernel) + bias` in real units, with the kernel on the grid of tap `key`."""
        raise NotImplementedError

    def recurrent(self, call: Call, layer: Any, x: Value, states: list[Value], flip: bool = False) -> list[Value]:
        """A recurrent layer on x, which is on the grid of `Grid.UNIT`, from `states` or zeros.

        `flip` puts the outputs of a layer that reads backwards into the order of time.
        """
        raise NotImplementedError

    def bound(self, value: Value) -> Any:
        """Tensor value at the far end of `value`'s grid, for a grid that is not `Grid.UNIT`."""
        raise NotImplementedError

    def weights(self, make: Callable[[], Any]) -> Any:
        """Weights as `make` computes them from a layer's variables."""
        return make()

    def preceded(self, scope: str, x: Value, steps: int) -> Value:
        """The image x with `steps` time steps in front: zeros, or in a stream those before, which are a state."""
        if not steps:
            return x
        return self.moved(x, tf.pad(x.tensor, [[0, 0], [steps, 0], [0, 0], [0, 0]]))

    def number(self, value: float) -> float:
        """A number that a layer function multiplies or adds to a whole tensor."""
        return value

    def table(self, activation: Callable[..., Any], value: Any) -> Any:
        """Any function of one number."""
        return activation(value)

    #: Whether dropout and noise are in force.
    training = False
    #: Whether the second axis is the model's time; not inside of TimeDistributed.
    over_time = True

    # -- vocabulary of the layer functions -------------------------------------------------------

    def settle(self, value: Value | Pending | Indices) -> Value:
        """`value` on a grid."""
        if isinstance(value, Indices):
            raise ValueError("Expected an input of indices to be read by Embedding layers only, got another layer.")
        if isinstance(value, Value):
            return value
        if value.settled is None:
            key = f"{value.scope}/output"
            value.settled = self._finished(value, self.tap(key, value.compute(self)), Grid.LEARNED, key)
        return value.settled

    def moved(self, x: Value, tensor: Any) -> Value:
        """The values of x in another place or shape."""
        return replace(x, tensor=tensor)

    def then(self, value: Value | Pending, function: Callable[[Any], Any]) -> Value | Pending:
        """`function`, which moves values, on the tensor of `value`; of a pending one, once that is on its grid."""
        if isinstance(value, Value):
            return self.moved(value, function(value.tensor))
        before = value.after
        return replace(value, after=(lambda t: function(before(t))) if before else function)

    def real(self, scope: str, value: Value | Pending | Indices) -> Value:
        """`value` on a grid and with unit 1: its tensor holds real numbers."""
        value = self.settle(value)
        if isinstance(value.unit, float) and value.unit == 1.0:
            return value
        key = f"{scope}/real"
        return Value(self.tap(key, value.tensor * value.unit), Grid.LEARNED, key)

    def output(self, scope: str, tensor: Any) -> Value:
        """Real numbers as the output of the layer called `scope`, on a learned grid."""
        key = f"{scope}/output"
        return Value(self.tap(key, tensor), Grid.LEARNED, key)

    def aligned(self, scope: str, value: Value) -> Value:
        """`value` on `Grid.UNIT`, so that it can be concatenated with a state.

        For a symmetric grid this keeps every integer and only renames what it stands for.
        """
        if value.grid is Grid.UNIT:
            return value
        key = f"{scope}/x"
        bound = self.bound(value)
        return Value(self.tap(key, value.tensor * (1.0 / bound), Grid.UNIT), Grid.UNIT, key, bound * value.unit)

    def on_grid(self, scope: str, value: Value, grid: Grid, key: str) -> Any:
        """The real value on the grid of tap `key`, where it is not on that already."""
        if value.grid is grid and grid is not Grid.LEARNED and isinstance(value.unit, float) and value.unit == 1.0:
            return value.tensor
        return self.tap(f"{scope}/{key}", value.tensor * (value.unit * NEARLY_ONE), grid)

    def activate(self, scope: str, value: Value | Pending, activation: Callable[..., Any]) -> Value | Pending:
        """`activation` of `value`, fused into the operator where that is still pending."""
        name = activations.name_of(activation)
        if name == "linear":
            return value
        key = f"{scope}/output"
        form = activations.layer_form(activation)
        grid = Grid(form.grid)
        pending = value if isinstance(value, Pending) else None
        if form.kind == "relu":
            tensor = pending.compute(self) if pending else self._apart(scope, self.settle(value))
            tensor = tf.nn.relu6(tensor) if name == "relu6" else tf.nn.relu(tensor)
            return self._finished(pending, self.tap(key, tensor, grid), grid, key)
        if form.kind == "clip" and isinstance(value, Linear):
            tensor = value.compute(self, form.slope, form.offset)
            return self._finished(pending, self.tap(key, tensor, grid), grid, key)
        tensor = self._pre(scope, value)
        tensor = activation(tensor) if form.kind == "operator" else self.table(activation, tensor)
        return Value(self.tap(key, tensor, grid), grid, key)

    def _apart(self, scope: str, value: Value) -> Any:
        """Real numbers, as an operator of their own: a RELU alone would go into the one before, past its grid."""
        real = self.real(scope, value)
        return real.tensor * self.number(NEARLY_ONE) if real is value else real.tensor

    def _pre(self, scope: str, value: Value | Pending) -> Any:
        """The input of an activation that is an operator of its own."""
        if isinstance(value, Value):
            return self.real(scope, value).tensor
        if value.shared:
            return self.settle(value).tensor
        key = f"{scope}/pre"
        return self._finished(value, self.tap(key, value.compute(self)), Grid.LEARNED, key).tensor

    def _finished(self, pending: Pending | None, tensor: Any, grid: Grid, key: str) -> Value:
        value = Value(tensor, grid, key)
        return self.moved(value, pending.after(tensor)) if pending and pending.after else value

    # -- walking the graph -----------------------------------------------------------------------

    def run(self, tensors: list[Any]) -> list[Value]:
        """Values of the model's outputs for its input tensors."""
        from .layers import layer_function

        values: dict[int, Any] = {}
        masks: dict[int, Any] = {}
        shared, scalings = self._shared(), self.scalings()
        for (name, identity), tensor in zip(self.inputs, tensors):
            if self.reads_indices(identity):
                values[identity] = Indices(tensor)
            else:
                values[identity] = self.input(name, tensor, scalings.get(identity))
        for node in self.nodes:
            if node.inputs[0] in scalings:  # the input's grid has it
                values[node.outputs[0]] = values[node.inputs[0]]
                continue
            call = Call(node.layer, node.scope, self._mask(node, masks))
            results = layer_function(node.layer)(self, call, *(values[identity] for identity in node.inputs))
            for identity, result in zip(node.outputs, results if isinstance(results, list) else [results]):
                if isinstance(result, Pending):
                    result.shared = identity in shared
                values[identity] = result
                if node.masked and call.mask is not None:
                    masks[identity] = call.mask
        return [self.real(name, self.settle(values[identity])) for name, identity in self.outputs]

    def _mask(self, node: Node, masks: dict[int, Any]) -> Any:
        found = [masks[identity] for identity in node.inputs if identity in masks]
        if any(mask is not found[0] for mask in found):
            raise ValueError(
                f"Expected the inputs of layer {node.layer.name!r} to have one mask, got several; mask after it."
            )
        return found[0] if found else None

    def _shared(self) -> set[int]:
        """Tensors with several consumers."""
        uses: dict[int, int] = {}
        for identity in [*(i for node in self.nodes for i in node.inputs), *(i for _, i in self.outputs)]:
            uses[identity] = uses.get(identity, 0) + 1
        return {identity for identity, count in uses.items() if count > 1}

    def readers(self, identity: int) -> list[Node]:
        """The layer calls that read a tensor."""
        return [node for node in self.nodes if identity in node.inputs]

    def reads_indices(self, identity: int) -> bool:
        """Whether an input is looked up in tables."""
        from .layers import LAYERS

        rows = [LAYERS.get(type(node.layer)) for node in self.readers(identity)]
        return bool(rows) and all(row is not None and row.reads_indices for row in rows)

    def scalings(self) -> dict[int, Scaling]:
        """Inputs whose only reader scales and shifts them, alike or by feature: folded into the input's grid."""
        from .layers import LAYERS

        found = {}
        for _, identity in self.inputs:
            readers = self.readers(identity)
            row = LAYERS.get(type(readers[0].layer)) if len(readers) == 1 else None
            if row is not None and row.scaling is not None and identity not in (i for _, i in self.outputs):
                scale, shift = row.scaling(readers[0].layer)
                alike_in_time = all(np.size(a) in (1, *np.shape(a)[-1:]) for a in (scale, shift))
                if alike_in_time and np.all(np.greater(scale, 0)):
                    found[identity] = Scaling.of(scale, shift)
        return found


__all__ = ["Call", "Elementwise", "Indices", "Linear", "Network", "Node", "Operator", "Pending", "Value"]
