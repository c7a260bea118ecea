"""The 8-bit graph as a TensorFlow function: the same layers and cells, with constants for weights and ranges.

Kernels are left as trained (the converter's own scale is max|w| / 127, which is what training used);
every activation gets a fake-quant with its tap's range. The order of operations is one that the
converter turns into pure int8.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_gru_plus import activations
from keras_gru_plus.arithmetic import NEARLY_ONE, Grid, Linear, Sum
from keras_gru_plus.layer import GRUPlus
from keras_gru_plus.quantization import QuantizedModel
from keras_gru_plus.quantization.cells import FakeQuant
from keras_gru_plus.quantization.model import state_values
from keras_gru_plus.quantization.network import Network, Value

MODES = ("sequence", "step", "stateful")


@dataclasses.dataclass
class Expected:
    """What the file must contain, by the names that the graph's operations have.

    Attributes:
        taps: operation name → tap key.
        ranges: tap key → (low, high) in the 8-bit graph.
        wide_ranges: tap key → (low, high) in the file, for a recipe with 16-bit activations.
        kernels: tap key of a matmul's output → (kernel, bias or None), folded as trained.
        units: input name → real value of int8 128 (int16 32768).
        constants: element-wise weights.
        factors: numbers that scale or shift a whole tensor.
        tables: operation name → activation that becomes a look-up table.
    """

    taps: dict[str, str] = dataclasses.field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    wide_ranges: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    kernels: dict[str, tuple[np.ndarray, np.ndarray | None]] = dataclasses.field(default_factory=dict)
    units: dict[str, float] = dataclasses.field(default_factory=dict)
    constants: list[np.ndarray] = dataclasses.field(default_factory=list)
    factors: list[float] = dataclasses.field(default_factory=list)
    tables: dict[str, Any] = dataclasses.field(default_factory=dict)

    def add_factors(self, values: list[float]) -> None:
        """Adds to `factors`."""
        self.factors += [float(value) for value in values if value]


def _fake_quant(value: Any, bounds: tuple[float, float]) -> Any:
    return tf.quantization.fake_quant_with_min_max_vars(value, *bounds, num_bits=8)


def _numbers(bounds: tuple[Any, Any]) -> tuple[float, float]:
    return float(bounds[0]), float(bounds[1])


def _broken_splat(bias: np.ndarray) -> np.ndarray:
    """`bias` with its first entry moved by one ulp where all are equal.

    The converter stores a constant of equal entries once and then quantizes it with channel 0's scale.
    """
    if bias.size > 1 and bias[0] != 0 and np.all(bias == bias[0]):
        bias = bias.copy()
        bias[0] = np.nextafter(bias[0], np.float32(np.inf))
    return bias


class GraphCell(FakeQuant):
    """A cell in the exported graph: one matmul on all operands of a linear, constants for ranges."""

    def __init__(self, layer: GRUPlus, network: GraphNetwork, unit: float) -> None:
        self.network = network
        self._joint: dict[str, np.ndarray] = {}
        self._uses = 0
        self.affine: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        super().__init__(layer.cell, network.store, layer.name, unit=unit, observe=False)
        for linear in self.plan.linears:  # evaluated here, outside any graph
            bias = self.weights[linear.tap][1]
            array = None if bias is None else _broken_splat(np.asarray(bias, np.float32))
            self.affine[linear.tap] = (self._joint[f"{layer.name}/{linear.tap}/kernel"], array)
        network.expected.add_factors(self._factors())

    def _factors(self) -> list[float]:
        """Every number by which the arithmetic scales or shifts a tensor."""
        forms = [activations.form_of(function) for function in (self.activation, self.recurrent_activation)]
        clips = [value for form in forms if form for value in (form.slope, form.offset)]
        units = [self.unit_of(name) for name in self.plan.taps]
        return [*clips, self.cell.zoneout, NEARLY_ONE, self.unit, 1.5 * self.unit, *(1 / unit for unit in units)]

    def kernel(self, key: str, joint: Any) -> Any:
        self._joint[key] = np.asarray(joint, np.float32)
        return joint

    def prepare_constant(self, name: str, value: Any) -> Any:
        array = np.asarray(value, np.float32)
        self.network.expected.constants.append(array)
        return array

    def constant(self, name: str) -> Any:
        # The converter folds constants of zeros and ones, merges equal ones, and quantizes anew what several
        # operators share: each use is made a little different, far below the weight's step.
        values = self.constants[name].reshape(1, -1).copy()
        bound = np.abs(values).max() or np.float32(1)
        self._uses += 1
        values[0, 0] += bound * np.float32(1e-6) * self._uses
        bound *= np.float32(1 + 1.2e-7 * self._uses)
        return tf.quantization.fake_quant_with_min_max_vars(values, -bound, bound, num_bits=8, narrow_range=True)

    def unit_of(self, source: str) -> float:
        if source == "x":
            return float(self.unit)
        grid = self.plan.taps[source]
        return 1.0 if grid in (Grid.UNIT, Grid.GATE) else self.network.bounds[f"{self.scope}/{source}"]

    def compute(self, pending: Linear | Sum) -> Any:
        if isinstance(pending, Sum):
            return super().compute(pending)
        self.align(pending)
        operands = [value for operand in pending.operands for value in operand.window]
        joined = operands[0] if len(operands) == 1 else tf.concat(operands, axis=1)
        return self.network.affine(joined, *self.affine[pending.tap])

    def apply(self, activation: Any, value: Any) -> Any:
        return self.network.apply(activation, value)

    def split(self, value: Any, parts: int) -> list[Any]:
        return list(tf.split(value, parts, axis=1))

    def tap(self, name: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        return self.network.tap(f"{self.scope}/{name}", value, grid)


class GraphNetwork(Network):
    """A model's layers in the exported graph.

    Args:
        model: quantized, with its ranges set.
        mode: "sequence", "step" or "stateful".
        states: state name → tensor that holds its present value (not for "sequence").
    """

    def __init__(self, model: QuantizedModel, mode: str, states: dict[str, Any]) -> None:
        graph = model._graph
        super().__init__(graph.nodes, graph.inputs, graph.outputs)
        self.store = model.taps
        self.mode = mode
        self.wide = model.recipe.activation_bits == 16
        self.states = states
        self.new_states: dict[str, Any] = {}
        self.expected = Expected()
        #: Operation name of a matmul's result → its constants.
        self.matmuls: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        self._aliases: dict[str, str] = {}
        with tf.init_scope():
            taps = self.store.all()
            self.expected.ranges = {key: _numbers(tap.int8_range()) for key, tap in taps.items()}
            if self.wide:
                self.expected.wide_ranges = {key: _numbers(tap.range()) for key, tap in taps.items()}
            self.kernels = {
                layer.name: _dense_weights(layer) for layer in model.layers if not isinstance(layer, GRUPlus)
            }
            # Built here, since their constants must be evaluated outside the graph.
            self.bounds = {key: float(tap.bound()) for key, tap in taps.items()}
        for bound in self.bounds.values():
            self.expected.add_factors([bound, 1 / bound])

    def input(self, name: str, tensor: Any) -> Value:
        key = f"{name}/input"
        self.expected.units[name] = self.bounds[key]
        return Value(_fake_quant(tensor, (-1.0, 127 / 128)), Grid.UNIT, key, self.bounds[key])

    def tap(self, key: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        name = value.op.name
        if name in self.matmuls:
            self.expected.kernels[key] = self.matmuls[name]
        elif value.op.type in ("Relu", "Relu6") and value.op.inputs[0].op.name in self.matmuls:
            self.expected.kernels[key] = self.matmuls[value.op.inputs[0].op.name]
        self.expected.taps[name] = key
        if name in self._aliases:
            self.expected.taps[self._aliases[name]] = key
        return _fake_quant(value, self.expected.ranges[key])

    def matmul(self, key: str, x: Value, kernel: Any, bias: Any, slope: float, offset: float) -> Any:
        constants = self.kernels[key.split("/")[0]]
        assert constants is not None
        weights, biases = constants
        weights = weights * np.float32(x.unit * slope)
        total = None if biases is None else biases * np.float32(slope)
        if offset:
            total = np.full(weights.shape[1], offset, np.float32) if total is None else total + np.float32(offset)
        total = None if total is None else _broken_splat(total)
        return self.affine(x.tensor, weights, total)

    def affine(self, x: Any, kernel: np.ndarray, bias: np.ndarray | None) -> Any:
        """`x @ kernel + bias`; remembers what went in, under the names it can have in the file."""
        # The converter appends digits to names it uses twice: end in a letter, so that they come off.
        product = tf.matmul(x, kernel, name=f"linear{len(self.matmuls)}_x")
        result = product if bias is None else product + bias
        self.matmuls[result.op.name] = (kernel, bias)
        if bias is not None and not bias.any():
            self._aliases[result.op.name] = product.op.name  # the converter drops a bias of zeros
        return result

    def bound(self, value: Value) -> Any:
        return self.bounds[value.key]

    def apply(self, activation: Any, value: Any) -> Any:
        """An activation as an operator; a sine, which has no int8 kernel, marks the place of a look-up table."""
        form = activations.form_of(activation)
        if form is None or form.kind != "table":
            return activation(value)
        marked = tf.math.sin(value, name=f"table{len(self.expected.tables)}_x")
        self.expected.tables[marked.op.name] = activation
        return marked

    # -- recurrent layers ------------------------------------------------------------------------

    def recurrent(self, layer: GRUPlus, x: Value) -> list[Value]:
        with tf.init_scope():
            cell = GraphCell(layer, self, x.unit)
        if self.mode == "sequence":
            output, states = self._loop(layer, cell, x.tensor)
        else:
            output, states = self._one_step(layer, cell, x.tensor)
        return state_values(layer, [output, *states] if layer.return_state else [output], x)

    def _on_grid(self, cell: GraphCell, name: str, value: Any) -> Any:
        """`value` on the grid of tap `name`; "x" is a delayed input."""
        unit = (-1.0, 127 / 128)
        return _fake_quant(value, unit if name == "x" else self.expected.ranges[f"{cell.scope}/{name}"])

    def _one_step(self, layer: GRUPlus, cell: GraphCell, x: Any) -> tuple[Any, list[Any]]:
        names = state_names(layer)
        states = [
            self._on_grid(cell, tap, self.states[name]) for tap, name in zip(cell.cell.state_taps, names, strict=True)
        ]
        output, new = cell.run(tf.reshape(x, (1, x.shape[-1])), states)
        self.new_states.update(zip(names, new, strict=True))
        if layer.return_sequences:
            output = tf.reshape(output, (1, 1, layer.units))
        return output, new

    def _loop(self, layer: GRUPlus, cell: GraphCell, x: Any) -> tuple[Any, list[Any]]:
        _, timesteps, features = x.shape
        scope = re.sub(r"\W", "_", f"loop_{layer.name}")  # tells this body's operations from the others'
        rows = tf.reshape(x, (timesteps, features) if self.wide else (timesteps, 1, features))

        def row(t: Any) -> Any:
            # A look-up is faster, but on microcontrollers it has no int16 form.
            return tf.slice(rows, tf.stack([t, 0]), (1, features)) if self.wide else tf.gather(rows, t)

        # Loop variables and their taps: the states, then what the output needs beyond them.
        taps = list(cell.cell.state_taps)
        carried = [tf.zeros((1, size)) for size in cell.cell.state_sizes(features, layer.units)]
        beyond = layer.return_sequences or cell.cell.output_tap != cell.cell.state_taps[0]
        if beyond:
            taps.append(cell.cell.output_tap)
            carried.append(tf.zeros((timesteps if layer.return_sequences else 1, layer.units)))
        count = len(cell.cell.states)

        # LiteRT copies a body's outputs to its inputs one after the other: a past input is handed on before it is
        # overwritten only if the older ones come first.
        def body(t: Any, backwards: list[Any]) -> tuple[Any, list[Any]]:
            with tf.name_scope(scope):
                carried = backwards[::-1]
                index = np.int32(timesteps - 1) - t if layer.go_backwards else t
                carried = [self._on_grid(cell, tap, value) for tap, value in zip(taps, carried, strict=True)]
                output, new = cell.run(row(index), carried[:count])
                if layer.return_sequences:  # first in, first out: at the end row 0 is the first output
                    history = tf.concat([carried[-1][1:], output], axis=0)
                    new = [*new, self._on_grid(cell, cell.cell.output_tap, history)]
                elif beyond:
                    new = [*new, output]
                return t + 1, new[::-1]

        _, carried = tf.while_loop(lambda t, carried: t < np.int32(timesteps), body, [np.int32(0), carried[::-1]])
        carried = carried[::-1]
        carried = [self._on_grid(cell, tap, value) for tap, value in zip(taps, carried, strict=True)]
        output = carried[-1] if beyond else carried[0]
        if layer.return_sequences:
            output = tf.reshape(output, (1, timesteps, layer.units))
        return output, carried[:count]


def _dense_weights(layer: Any) -> tuple[np.ndarray, np.ndarray | None] | None:
    layer = getattr(layer, "layer", layer)
    if not isinstance(layer, keras.layers.Dense):
        return None
    bias = None if layer.bias is None else np.asarray(layer.bias, np.float32)
    return np.asarray(layer.kernel, np.float32), bias


def state_names(layer: GRUPlus) -> list[str]:
    """Names of a recurrent layer's states in a file: state_<layer>, or state_<layer>_<i> where there are several."""
    count = len(layer.variant.states)
    return [f"state_{layer.name}"] if count == 1 else [f"state_{layer.name}_{i}" for i in range(count)]


__all__ = ["MODES", "Expected", "GraphNetwork", "state_names"]
