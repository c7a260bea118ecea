"""A whole model's layers in quantized arithmetic: one function a layer, for training and export alike.

`Network` is the walker with the vocabulary that the layer functions use; `LAYERS` is the table of
layers that can be quantized. Subclasses say what a tap, a matmul and a recurrent layer are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from .. import activations
from ..arithmetic import Grid
from ..layer import GRUPlus
from .recipe import Recipe


@dataclass
class Value:
    """A tensor that is on a grid.

    Attributes:
        tensor: real value divided by `unit`.
        grid: its grid.
        key: its tap's key; None for a structural copy of nothing.
        unit: real value of tensor value 1; other than 1 only behind an input, whose int8 form is
            merely relabelled.
    """

    tensor: Any
    grid: Grid
    key: str
    unit: Any = 1.0


@dataclass
class Pending:
    """A matmul whose activation is not known yet, so not yet on a grid.

    With several consumers it is computed once for those that read its own value, and once more for
    each that fuses an activation with it: so does the converter.
    """

    scope: str
    x: Value
    kernel: Any
    bias: Any
    shared: bool = False
    settled: Value | None = None


@dataclass(frozen=True)
class Node:
    """One call of a layer in a model's graph; tensors are named by `id` of the symbolic tensor."""

    layer: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Network:
    """Runs the nodes of a model.

    Args:
        nodes: layer calls in topological order.
        inputs, outputs: `(name, tensor id)` in the model's order.
    """

    def __init__(self, nodes: list[Node], inputs: list[tuple[str, int]], outputs: list[tuple[str, int]]) -> None:
        self.nodes, self.inputs, self.outputs = nodes, inputs, outputs

    # -- what a subclass defines -----------------------------------------------------------------

    def input(self, name: str, tensor: Any) -> Value:
        """The model input `name` on its grid."""
        raise NotImplementedError

    def tap(self, key: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        """Puts `value` on the grid of tap `key`."""
        raise NotImplementedError

    def matmul(self, key: str, x: Value, kernel: Any, bias: Any, slope: float, offset: float) -> Any:
        """`slope * (x @ kernel + bias) + offset` in real units, with the kernel on the grid of tap `key`."""
        raise NotImplementedError

    def recurrent(self, layer: GRUPlus, x: Value) -> list[Value]:
        """A recurrent layer on x, which is on the grid of `Grid.UNIT`."""
        raise NotImplementedError

    def bound(self, value: Value) -> Any:
        """Real value of the far end of `value`'s grid, for a grid that is not `Grid.UNIT`."""
        raise NotImplementedError

    def structural(self, layer: Any, tensor: Any) -> Any:
        """A layer that moves values without changing them."""
        return layer(tensor)

    # -- vocabulary of the layer functions -------------------------------------------------------

    def settle(self, value: Value | Pending) -> Value:
        """`value` on a grid."""
        if isinstance(value, Value):
            return value
        if value.settled is None:
            key = f"{value.scope}/output"
            value.settled = Value(self.tap(key, self._compute(value)), Grid.LEARNED, key)
        return value.settled

    def _compute(self, pending: Pending, slope: float = 1.0, offset: float = 0.0) -> Any:
        return self.matmul(f"{pending.scope}/kernel", pending.x, pending.kernel, pending.bias, slope, offset)

    def real(self, scope: str, value: Value) -> Value:
        """`value` with unit 1, for what is not linear in it."""
        if isinstance(value.unit, float) and value.unit == 1.0:
            return value
        key = f"{scope}/real"
        return Value(self.tap(key, value.tensor * value.unit), Grid.LEARNED, key)

    def aligned(self, scope: str, value: Value) -> Value:
        """`value` on `Grid.UNIT`, so that it can be concatenated with a state.

        For a symmetric grid this keeps every integer and only renames what it stands for.
        """
        if value.grid is Grid.UNIT:
            return value
        key = f"{scope}/x"
        unit = self.bound(value)
        return Value(self.tap(key, value.tensor * (1.0 / unit), Grid.UNIT), Grid.UNIT, key, unit)

    def activate(self, scope: str, value: Value | Pending, activation: Callable[..., Any]) -> Value | Pending:
        """`activation` of `value`, fused into the matmul where that is still pending."""
        name = activations.name_of(activation)
        if name == "linear":
            return value
        key = f"{scope}/output"
        if name == "softmax":
            value = self._pre(scope, value)
            return Value(self.tap(key, self.apply(activation, value.tensor), Grid.GATE), Grid.GATE, key)
        form = activations.quantized_form(activation)
        grid = Grid(form.grid)
        if form.kind == "relu":
            tensor = self._compute(value) if isinstance(value, Pending) else self.real(scope, value).tensor
            return Value(self.tap(key, tf.nn.relu(tensor), grid), grid, key)
        if form.kind != "clip":
            value = self._pre(scope, value)
            return Value(self.tap(key, self.apply(activation, value.tensor), grid), grid, key)
        if not isinstance(value, Pending):
            raise ValueError(
                f"Expected {name!r} of layer {scope!r} right behind a Dense layer, got it elsewhere; "
                f"pass it as that layer's `activation`."
            )
        return Value(self.tap(key, self._compute(value, form.slope, form.offset), grid), grid, key)

    def apply(self, activation: Callable[..., Any], value: Any) -> Any:
        """An activation that is an operator or a table."""
        return activation(value)

    def _pre(self, scope: str, value: Value | Pending) -> Value:
        """The input of an activation that is an operator of its own."""
        if isinstance(value, Value) or value.shared:
            return self.real(scope, self.settle(value))
        key = f"{scope}/pre"
        return Value(self.tap(key, self._compute(value)), Grid.LEARNED, key)

    # -- walking the graph -----------------------------------------------------------------------

    def run(self, tensors: list[Any]) -> list[Value]:
        """Values of the model's outputs for its input tensors."""
        values: dict[int, Value | Pending] = {}
        for (name, identity), tensor in zip(self.inputs, tensors):
            values[identity] = self.input(name, tensor)
        shared = self._shared()
        for node in self.nodes:
            compute = layer_function(node.layer)
            results = compute(self, node.layer, values[node.inputs[0]])
            for identity, result in zip(node.outputs, results if isinstance(results, list) else [results]):
                if isinstance(result, Pending):
                    result.shared = identity in shared
                values[identity] = result
        return [self.real(name, self.settle(values[identity])) for name, identity in self.outputs]

    def _shared(self) -> set[int]:
        """Tensors with several consumers."""
        uses: dict[int, int] = {}
        for identity in [*(i for node in self.nodes for i in node.inputs), *(i for _, i in self.outputs)]:
            uses[identity] = uses.get(identity, 0) + 1
        return {identity for identity, count in uses.items() if count > 1}


LayerFunction = Callable[[Network, Any, "Value | Pending"], "Value | Pending | list[Value]"]


def _dense(q: Network, layer: keras.layers.Dense, x: Value | Pending) -> Value | Pending:
    pending = Pending(layer.name, q.settle(x), layer.kernel, layer.bias)
    return q.activate(layer.name, pending, layer.activation)


def _time_distributed(q: Network, layer: keras.layers.TimeDistributed, x: Value | Pending) -> Value | Pending:
    inner = layer.layer  # Dense acts on the last axis, so over time it is the same matmul
    pending = Pending(layer.name, q.settle(x), inner.kernel, inner.bias)
    return q.activate(layer.name, pending, inner.activation)


def _activation(q: Network, layer: keras.layers.Activation, x: Value | Pending) -> Value | Pending:
    return q.activate(layer.name, x, layer.activation)


def _relu(q: Network, layer: keras.layers.ReLU, x: Value | Pending) -> Value | Pending:
    return q.activate(layer.name, x, keras.activations.relu)


def _softmax(q: Network, layer: keras.layers.Softmax, x: Value | Pending) -> Value | Pending:
    return q.activate(layer.name, x, keras.activations.softmax)


def _dropout(q: Network, layer: keras.layers.Dropout, x: Value | Pending) -> Value | Pending:
    value = q.settle(x)
    return Value(q.structural(layer, value.tensor), value.grid, value.key, value.unit)


def _recurrent(q: Network, layer: GRUPlus, x: Value | Pending) -> list[Value]:
    return q.recurrent(layer, q.aligned(layer.name, q.settle(x)))


#: Layers that can be quantized, and how.
LAYERS: dict[type, LayerFunction] = {
    GRUPlus: _recurrent,
    keras.layers.Dense: _dense,
    keras.layers.TimeDistributed: _time_distributed,
    keras.layers.Activation: _activation,
    keras.layers.ReLU: _relu,
    keras.layers.Softmax: _softmax,
    keras.layers.Dropout: _dropout,
    keras.layers.Flatten: _dropout,
    keras.layers.Reshape: _dropout,
}


def layer_function(layer: Any) -> LayerFunction:
    """The row of `LAYERS` for a layer."""
    return LAYERS[type(layer)]


def check_layer(layer: Any, recipe: Recipe) -> None:
    """Refuses a layer that cannot be quantized by `recipe`.

    Raises:
        ValueError: names the layer and its class, says why, and lists what is taken.
    """
    listing = ", ".join(sorted(cls.__name__ for cls in LAYERS))
    if type(layer) not in LAYERS:
        advice = {
            keras.layers.GRU: "call keras_gru_plus.from_keras(model) first",
            keras.layers.LSTM: "use GRUPlus, whose closest relative is GRUPlus(variant='cifg')",
            keras.layers.SimpleRNN: "use GRUPlus, whose closest relative is GRUPlus(variant='ugrnn')",
        }.get(type(layer), "remove or replace it")
        raise ValueError(
            f"Expected layers that can be quantized ({listing}), got {type(layer).__name__} {layer.name!r}; {advice}."
        )
    reason = _refusal(layer)
    if recipe.activation_bits == 16:
        reason = reason or _table(layer)
    if layer.compute_dtype != "float32":
        reason = f"computing in {layer.compute_dtype}; use dtype='float32'"
    if reason:
        raise ValueError(
            f"Expected layer {layer.name!r} ({type(layer).__name__}) in a form that can be quantized, got {reason}."
        )


def _refusal(layer: Any) -> str | None:
    if isinstance(layer, GRUPlus):
        from ..plan import plan_of

        plan_of(layer.cell, quantized=True)
        return None
    if isinstance(layer, keras.layers.TimeDistributed):
        if type(layer.layer) is not keras.layers.Dense:
            return f"TimeDistributed({type(layer.layer).__name__}); only Dense is taken inside"
        layer = layer.layer
    if isinstance(layer, keras.layers.ReLU):
        if layer.max_value is not None or layer.negative_slope or layer.threshold:
            return "a ReLU with max_value, negative_slope or threshold"
        return None
    if isinstance(layer, keras.layers.Softmax) and layer.axis != -1:
        return f"axis={layer.axis}; only the last axis is taken"
    activation = getattr(layer, "activation", None)
    if activation is not None and activations.name_of(activation) != "softmax":
        activations.quantized_form(activation)
    return None


#: What can stand in for an activation that is a table.
_SMOOTH = {"softsign": "tanh or hard_tanh", "softsign_gate": "sigmoid or hard_sigmoid", "log_space": "linear or relu"}


def _table(layer: Any) -> str | None:
    """Why a layer has no 16-bit form: a look-up table has an entry for each of 256 integers."""
    layer = getattr(layer, "layer", layer)
    used: list[Any] = [getattr(layer, "activation", None)]
    if isinstance(layer, GRUPlus):
        from ..plan import plan_of

        used = [*plan_of(layer.cell, quantized=True).activations]
    for activation in used:
        form, name = activations.form_of(activation), activations.name_of(activation)
        if form is not None and form.kind == "table":
            instead = f"{_SMOOTH[name]}, or recipe 'int8'" if name in _SMOOTH else "recipe 'int8'"
            return f"activation {name!r}, a look-up table, which 16-bit activations do not have; use {instead}"
    return None
