"""The 8-bit graph as a TensorFlow function: the same layers and cells, with constants for weights and ranges.

Kernels are left as trained (the converter's own scale is max|w| / 127, which is what training used);
every activation gets a fake-quant with its tap's range. The order of operations is one that the
converter turns into pure int8.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_gru_plus.arithmetic import NEARLY_ONE, Grid
from keras_gru_plus.layer import GRUPlus
from keras_gru_plus.quantization import QuantizedModel
from keras_gru_plus.quantization.input_scaling import Scaling
from keras_gru_plus.quantization.model import state_values
from keras_gru_plus.quantization.network import Call, Network, Value
from keras_gru_plus.quantization.operators import MATMUL, Operator

MODES = ("sequence", "step", "stateful")
#: Range of `Grid.UNIT`.
UNIT = (-1.0, 127 / 128)


@dataclasses.dataclass
class Expected:
    """What the file must contain, by the names that the graph's operations have.

    Attributes:
        taps: operation name → tap key.
        ranges: tap key → (low, high) in the 8-bit graph.
        wide_ranges: tap key → (low, high) in the file, for a recipe with 16-bit activations.
        kernels: tap key of a linear operator's output → its weights, folded as trained.
        units: input name → (real value of int8 128 (int16 32768) of the scaled input, what scales it).
        scalings: input name → what scales it, in front of a graph of floats.
        constants: element-wise weights.
        factors: numbers that scale or shift a whole tensor.
        tables: operation name → activation that becomes a look-up table.
    """

    taps: dict[str, str] = dataclasses.field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    wide_ranges: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    kernels: dict[str, Weights] = dataclasses.field(default_factory=dict)
    units: dict[str, tuple[float, Scaling | None]] = dataclasses.field(default_factory=dict)
    scalings: dict[str, Scaling] = dataclasses.field(default_factory=dict)
    constants: list[np.ndarray] = dataclasses.field(default_factory=list)
    factors: list[float] = dataclasses.field(default_factory=list)
    tables: dict[str, Any] = dataclasses.field(default_factory=dict)

    def add_factors(self, values: list[float]) -> None:
        """Adds to `factors`."""
        self.factors += [float(value) for value in values if value]


def _numbers(bounds: tuple[Any, Any]) -> tuple[float, float]:
    return float(bounds[0]), float(bounds[1])


class Weights(NamedTuple):
    """Kernel `(inputs of a channel, channels)`, input's unit folded in, bias, operator, scales by channel or one."""

    kernel: np.ndarray
    bias: np.ndarray | None
    kind: str
    per_channel: bool = False


def broken_splat(bias: np.ndarray) -> np.ndarray:
    """`bias` with its first entry moved by one ulp where all are equal.

    The converter stores a constant of equal entries once and then quantizes it with channel 0's scale.
    """
    if bias.size > 1 and bias[0] != 0 and np.all(bias == bias[0]):
        bias = bias.copy()
        bias[0] = np.nextafter(bias[0], np.float32(np.inf))
    return bias


class GraphNetwork(Network):
    """A model's layers in the exported graph.

    Args:
        model: quantized, with its ranges set.
        mode: "sequence", "step" or "stateful".
        state: (name, shape) → tensor that holds a state's present value (not for "sequence").
    """

    def __init__(self, model: QuantizedModel, mode: str, state: Callable[[str, tuple[int, ...]], Any]) -> None:
        graph = model._graph
        super().__init__(graph.nodes, graph.inputs, graph.outputs)
        self.store, self.recipe = model.taps, model.recipe
        self.mode = mode
        self.wide = model.recipe.activation_bits == 16
        self.state = state
        self.new_states: dict[str, Any] = {}
        self.expected = Expected()
        #: Operation name of a matmul's result → its constants.
        self.matmuls: dict[str, Weights] = {}
        self._aliases: dict[str, str] = {}
        with tf.init_scope():  # ranges must be read outside of the graph
            taps = self.store.all()
            self.expected.ranges = {key: _numbers(tap.int8_range()) for key, tap in taps.items()}
            if self.wide:
                self.expected.wide_ranges = {key: _numbers(tap.range()) for key, tap in taps.items()}
            # No Python floats: where one means a unit that is 1, these may be 1 by chance.
            self.bounds = {key: np.float32(tap.bound()) for key, tap in taps.items()}
        for bound in self.bounds.values():
            self.expected.add_factors([float(bound), 1 / float(bound)])

    def input(self, name: str, tensor: Any, scaling: Scaling | None) -> Value:
        """The input as it is scaled: the file's scales and zero points say what it was before."""
        key = f"{name}/input"
        self.expected.units[name] = (float(self.bounds[key]), scaling)
        return Value(self.fake_quant(tensor, UNIT), Grid.UNIT, key, self.bounds[key])

    def fake_quant(self, value: Any, bounds: tuple[float, float]) -> Any:
        """`value` on the 8-bit grid with this range."""
        return tf.quantization.fake_quant_with_min_max_vars(value, *bounds, num_bits=8)

    def on_tap(self, key: str, value: Any) -> Any:
        """`value`, which no operator made anew, on the grid of tap `key`."""
        return self.fake_quant(value, self.expected.ranges[key])

    def tap(self, key: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        name = value.op.name
        if name in self.matmuls:
            self.expected.kernels[key] = self.matmuls[name]
        elif value.op.type in ("Relu", "Relu6") and value.op.inputs[0].op.name in self.matmuls:
            self.expected.kernels[key] = self.matmuls[value.op.inputs[0].op.name]
        self.expected.taps[name] = key
        if name in self._aliases:
            self.expected.taps[self._aliases[name]] = key
        return self.on_tap(key, value)

    def join(self, key: str, values: list[Value], axis: int) -> Any:
        bounds = self.expected.ranges[key]
        factors = [self.number(float(value.unit) * NEARLY_ONE) for value in values]
        parts = [self.fake_quant(value.tensor * factor, bounds) for value, factor in zip(values, factors)]
        return self.tap(key, tf.concat(parts, axis))

    def rounded(self, x: Value, tensor: Any) -> Any:
        return self.fake_quant(tensor, UNIT) if x.grid is Grid.UNIT else self.on_tap(x.key, tensor)

    def moved(self, x: Value, tensor: Any) -> Value:
        # The converter may move a RESHAPE into the operator before it, whose result then has this name.
        if tensor.op.type == "Reshape" and isinstance(x.unit, float) and x.key in self.expected.taps.values():
            self.expected.taps.setdefault(tensor.op.name, x.key)
        return super().moved(x, tensor)

    def preceded(self, scope: str, x: Value, steps: int) -> Value:
        if not steps or not self.over_time or self.mode == "sequence":
            return super().preceded(scope, x, steps)
        name = f"state_{scope}"
        before = self.rounded(x, self.state(name, (1, steps, *x.shape[2:])))
        both = tf.concat([before, x.tensor], axis=1)
        self.new_states[name] = self.rounded(x, both[:, -steps:])
        return self.moved(x, both)

    def weights(self, make: Any) -> Any:
        with tf.init_scope():
            return tf.nest.map_structure(lambda t: None if t is None else np.asarray(t, np.float32), make())

    def linear(self, key: str, x: Value, operator: Operator, kernel: Any, bias: Any) -> Any:
        if isinstance(x.unit, np.floating):
            self.expected.add_factors([float(x.unit)])
        return self.affine(key, x.tensor, kernel * np.float32(x.unit), bias, operator)

    def affine(
        self, key: str, x: Any, kernel: np.ndarray, bias: np.ndarray | None, operator: Operator = MATMUL
    ) -> Any:
        """`operator(x, kernel) + bias`; remembers what went in, under the names it can have in the file.

        `key` is the kernel's tap.
        """
        if not np.isfinite(kernel).all():
            raise ValueError(
                f"Expected a kernel of finite numbers at {key!r} once its input's range is in it, got infinity or "
                "NaN; try smaller weights or scaled data (keras.layers.Normalization)."
            )
        bias = None if bias is None else broken_splat(np.asarray(bias, np.float32))
        # The converter appends digits to names it uses twice: end in a letter, so that they come off.
        name, shape = f"linear{len(self.matmuls)}_x", None
        if operator.kind == "matmul" and len(x.shape) > 2 and (kernel.shape[0] == 1 or self.recipe.per_channel(key)):
            # Of a single input the converter makes a multiplication, whose grid is none of the model's; of more than
            # two dimensions tflite-runtime 2.14's reference kernel for channels computes only a part.
            shape = [*x.shape[:-1], kernel.shape[1]]
            x = tf.reshape(x, (-1, kernel.shape[0]))
        product = operator.function(x, kernel, name)
        result = product if bias is None else product + bias
        # Of convolutions each channel has its scale, whatever the recipe says of matmuls.
        per_channel = operator.kind != "matmul" or self.recipe.per_channel(key)
        self.matmuls[result.op.name] = Weights(operator.by_channel(kernel), bias, operator.kind, per_channel)
        if bias is not None and not bias.any():
            self._aliases[result.op.name] = product.op.name  # the converter drops a bias of zeros
        if shape is None:
            return result
        whole = tf.reshape(result, shape)
        self.matmuls[whole.op.name] = self.matmuls[result.op.name]
        self._aliases[whole.op.name] = self._aliases.get(result.op.name, result.op.name)
        return whole

    def bound(self, value: Value) -> Any:
        return self.bounds[value.key]

    def number(self, value: float) -> float:
        self.expected.add_factors([value])
        return value

    def table(self, activation: Any, value: Any) -> Any:
        """A sine or cosine, which have no int8 kernel, marks the place of a look-up table.

        Two activations of equal values (kernels of zeros) have two marks, or the converter would make one of them.
        """
        kinds = list(dict.fromkeys([*self.expected.tables.values(), activation]))
        mark = (tf.math.sin, tf.math.cos)[kinds.index(activation) % 2]
        marked = mark(value, name=f"table{len(self.expected.tables)}_x")
        self.expected.tables[marked.op.name] = activation
        return marked

    def cell(self, layer: GRUPlus, scope: str, unit: Any) -> Any:
        """The arithmetic of a recurrent layer's cell."""
        from .recurrence import GraphCell

        return GraphCell(layer, self, scope, unit)

    def recurrent(self, call: Call, layer: GRUPlus, x: Value, states: list[Value], flip: bool = False) -> list[Value]:
        from .recurrence import Recurrence

        with tf.init_scope():
            recurrence = Recurrence(self, call, layer, x.unit)
        outputs = recurrence.run(x, states, flip)
        return state_values(call.scope, layer, outputs, x)


__all__ = ["MODES", "Expected", "GraphNetwork"]
