"""The graph of a model that stays in floating point: the same walker, in which taps round nothing.

What fake quantization clips in the 8-bit graph (a saturating activation, a mask) is clipped by an operator here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from keras_gru_plus import activations
from keras_gru_plus.arithmetic import Grid, Linear, Sum
from keras_gru_plus.floating import Float
from keras_gru_plus.layer import GRUPlus
from keras_gru_plus.plan import PlannedLinear, plan_of
from keras_gru_plus.quantization import QuantizedModel
from keras_gru_plus.quantization.input_scaling import Scaling
from keras_gru_plus.quantization.network import Call, Network, Pending, Value
from keras_gru_plus.quantization.network import Linear as LinearLayer
from keras_gru_plus.quantization.operators import MATMUL, Operator, scaled_bias

from .graph import Expected, GraphNetwork, Weights


class FloatNetwork(GraphNetwork):
    """A model's layers in a graph of floats.

    Args:
        model, mode, state: see `GraphNetwork`.
    """

    def __init__(self, model: QuantizedModel, mode: str, state: Callable[[str, tuple[int, ...]], Any]) -> None:
        graph = model._graph
        Network.__init__(self, graph.nodes, graph.inputs, graph.outputs)
        self.mode, self.state, self.wide, self.recipe = mode, state, False, model.recipe
        self.new_states: dict[str, Any] = {}
        self.expected = Expected()
        self.matmuls: dict[str, Weights] = {}
        self._aliases: dict[str, str] = {}

    def input(self, name: str, tensor: Any, scaling: Scaling | None) -> Value:
        if scaling is not None and not scaling.by_feature and not scaling.center:
            tensor = tensor * self.number(float(scaling.scale))
        elif scaling is not None:  # the converter would fold its numbers, or round them to float16
            self.expected.scalings[name] = scaling
        return Value(tensor, Grid.UNIT, f"{name}/input")

    def fake_quant(self, value: Any, bounds: tuple[float, float]) -> Any:
        return value

    def on_tap(self, key: str, value: Any) -> Any:
        return value

    def tap(self, key: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        if grid is Grid.SQUARE:  # of a mask: what is not 0 counts
            return tf.cast(value != 0.0, tf.float32)
        return tf.clip_by_value(value, 0.0, 1.0) if grid is Grid.MASK else value

    def join(self, key: str, values: list[Value], axis: int) -> Any:
        return tf.concat([self.real(key, value).tensor for value in values], axis)

    def rounded(self, x: Value, tensor: Any) -> Any:
        return tensor

    def aligned(self, scope: str, value: Value) -> Value:
        real = self.real(scope, value)
        return Value(real.tensor, Grid.UNIT, real.key)

    def on_grid(self, scope: str, value: Value, grid: Grid, key: str) -> Any:
        return self.real(scope, value).tensor

    def activate(self, scope: str, value: Value | Pending, activation: Callable[..., Any]) -> Value | Pending:
        name = activations.name_of(activation)
        if name == "linear":
            return value
        form = activations.layer_form(activation)
        key, grid = f"{scope}/output", Grid(form.grid)
        if isinstance(value, LinearLayer) and form.kind == "clip":
            return self._finished(value, _clipped(value.compute(self, form.slope, form.offset), form), grid, key)
        if isinstance(value, Pending) and name != "softmax":  # right behind the operator, which may take it in
            return self._finished(value, activation(value.compute(self)), grid, key)
        return Value(activation(self.real(scope, value).tensor), grid, key)

    def affine(self, key: str, x: Any, kernel: Any, bias: Any, operator: Operator = MATMUL) -> Any:
        result = super().affine(key, x, kernel, bias, operator)
        self.expected.kernels[result.op.name] = self.matmuls[result.op.name]
        return result

    def table(self, activation: Any, value: Any) -> Any:
        return activation(value)

    def cell(self, layer: GRUPlus, scope: str, unit: Any) -> Any:
        return FloatCell(layer.cell, self)

    def recurrent(self, call: Call, layer: GRUPlus, x: Value, states: list[Value], flip: bool = False) -> list[Value]:
        return super().recurrent(call, layer, self.aligned(call.scope, x), states, flip)


def _clipped(value: Any, form: activations.QuantizedForm) -> Any:
    """A saturating activation of `value`, which has its slope and offset."""
    return tf.clip_by_value(value, 0.0 if form.grid == "gate" else -1.0, 1.0)


class FloatCell(Float):
    """A cell in the exported graph, with one matmul on all operands of a linear and constants for weights."""

    def __init__(self, layer: Any, network: FloatNetwork) -> None:
        self.network = network
        self.affine: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        self.plan = plan_of(layer, quantized=True)
        super().__init__(layer)

    def prepare_all(self) -> None:
        self.linears = self.plan.linears  # with the slopes of saturating activations, which the converter folds
        super().prepare_all()

    def prepare(self, linear: PlannedLinear) -> tuple[list[Any], Any]:
        kernels, bias = super().prepare(linear)
        joint = np.concatenate([np.asarray(kernel, np.float32) for kernel in kernels])
        bias = None if bias is None else np.asarray(bias, np.float32)
        bias = scaled_bias(bias, linear.slope, linear.offset, joint.shape[1])
        self.affine[linear.tap] = (joint if linear.slope == 1.0 else joint * np.float32(linear.slope)), bias
        return kernels, bias

    def prepare_constant(self, name: str, value: Any) -> Any:
        return np.asarray(value, np.float32).reshape(1, -1)

    def activate(self, tap: str, pre: Any, activation: Any) -> Any:
        form = activations.form_of(activation)
        if form is not None and form.kind == "clip" and isinstance(pre, Linear):
            return _clipped(self.compute(pre), form)
        return super().activate(tap, pre, activation)

    def compute(self, pending: Linear | Sum) -> Any:
        if isinstance(pending, Sum):
            return super().compute(pending)
        operands = [value for operand in pending.operands for value in operand.window]
        joined = operands[0] if len(operands) == 1 else tf.concat(operands, axis=1)
        return self.network.affine(pending.tap, joined, *self.affine[pending.tap])


def network_of(model: QuantizedModel, mode: str, state: Callable[[str, tuple[int, ...]], Any]) -> GraphNetwork:
    """The graph that the model's recipe asks for; arguments as of `GraphNetwork`."""
    return (GraphNetwork if model.recipe.quantized else FloatNetwork)(model, mode, state)


__all__ = ["FloatCell", "FloatNetwork", "network_of"]
