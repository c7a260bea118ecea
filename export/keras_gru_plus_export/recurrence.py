"""Recurrent layers in the exported graph: a loop over a window, or the steps of one hop."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import tensorflow as tf

from keras_gru_plus import activations
from keras_gru_plus.arithmetic import NEARLY_ONE, Grid, Linear, Sum
from keras_gru_plus.layer import GRUPlus
from keras_gru_plus.quantization.cells import FakeQuant
from keras_gru_plus.quantization.network import Call, Value

from .graph import UNIT, GraphNetwork, broken_splat


class GraphCell(FakeQuant):
    """A cell in the exported graph: one matmul on all operands of a linear, constants for ranges."""

    def __init__(self, layer: GRUPlus, network: GraphNetwork, scope: str, unit: float) -> None:
        self.network = network
        self._joint: dict[str, np.ndarray] = {}
        self._uses = 0
        self.affine: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
        super().__init__(layer.cell, network.store, scope, unit=unit, observe=False)
        for linear in self.plan.linears:  # evaluated here, outside any graph
            bias = self.weights[linear.tap][1]
            array = None if bias is None else broken_splat(np.asarray(bias, np.float32))
            self.affine[linear.tap] = (self._joint[f"{scope}/{linear.tap}/kernel"], array)
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
        return 1.0 if grid in (Grid.UNIT, Grid.GATE) else float(self.network.bounds[f"{self.scope}/{source}"])

    def compute(self, pending: Linear | Sum) -> Any:
        if isinstance(pending, Sum):
            return super().compute(pending)
        self.align(pending)
        operands = [value for operand in pending.operands for value in operand.window]
        joined = operands[0] if len(operands) == 1 else tf.concat(operands, axis=1)
        return self.network.affine(f"{self.scope}/{pending.tap}/kernel", joined, *self.affine[pending.tap])

    def apply(self, activation: Any, value: Any) -> Any:
        form = activations.form_of(activation)
        return self.network.table(activation, value) if form and form.kind == "table" else activation(value)

    def split(self, value: Any, parts: int) -> list[Any]:
        return list(tf.split(value, parts, axis=1))

    def tap(self, name: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        return self.network.tap(f"{self.scope}/{name}", value, grid)


class Recurrence:
    """One call of a recurrent layer.

    Args:
        network: the graph that it is in.
        call: its scope and mask.
        layer: the layer.
        unit: real value of x = 1.0.
    """

    def __init__(self, network: GraphNetwork, call: Call, layer: GRUPlus, unit: float) -> None:
        self.network, self.layer, self.scope = network, layer, call.scope
        self.cell = network.cell(layer, call.scope, unit)
        self.variant = self.cell.cell
        self.mask = call.mask
        #: Whether the output is something else than the first state.
        self.output_apart = self.variant.output_tap != self.variant.state_taps[0]

    def run(self, x: Value, states: list[Value], flip: bool) -> list[Any]:
        """Output and, with `return_state`, the states, for x `(1, timesteps, features)`."""
        outside = None
        if self.mask is not None:
            outside = self.network.fake_quant(1.0 - self.mask, (0.0, 1.0))
            self.network.expected.add_factors([1.0])
        if self.network.mode == "sequence":
            output, new = self._loop(x, states, flip, outside)
        else:
            output, new = self._one_hop(x.tensor, outside)
        return [output, *new] if self.layer.return_state else [output]

    def _on_grid(self, name: str, value: Any) -> Any:
        """`value` on the grid of tap `name`; "x" is a delayed input."""
        return (
            self.network.fake_quant(value, UNIT)
            if name == "x"
            else self.network.on_tap(f"{self.scope}/{name}", value)
        )

    def _select(self, name: str, new: Any, old: Any, inside: Any, outside: Any) -> Any:
        """New values at steps inside of the mask, old ones outside; exact, since the mask has 0 and 1 only."""
        kept = [self._on_grid(name, value * factor) for value, factor in ((new, inside), (old, outside))]
        return self._on_grid(name, kept[0] + kept[1])

    def _step(self, x: Any, states: list[Any], before: Any, masks: tuple[Any, Any] | None) -> tuple[Any, list[Any]]:
        """Output and states; at a masked step those of the step before."""
        output, new = self.cell.run(x, states)
        if masks is None:
            return output, new
        taps = self.variant.state_taps
        new = [self._select(tap, value, old, *masks) for tap, value, old in zip(taps, new, states, strict=True)]
        tap = self.variant.output_tap
        if self.layer.zero_output_for_mask:
            return self._on_grid(tap, output * masks[0]), new
        return self._select(tap, output, before, *masks) if self.output_apart else new[0], new

    def _one_hop(self, x: Any, outside: Any) -> tuple[Any, list[Any]]:
        layer, names = self.layer, state_names(self.scope, self.layer)
        _, timesteps, features = x.shape
        sizes = self.variant.state_sizes(features, layer.units)
        states = [
            self._on_grid(tap, self.network.state(name, (1, size)))
            for tap, name, size in zip(self.variant.state_taps, names, sizes, strict=True)
        ]
        masks = None if outside is None else (self.mask, outside)
        if masks and self.output_apart and not layer.zero_output_for_mask:
            raise ValueError(
                f"Expected layer {layer.name!r} without a mask in modes 'step' and 'stateful', got one: the output "
                f"of variant {self.variant.name!r} at a masked step is kept nowhere; use mode 'sequence'."
            )
        outputs = []
        for t in range(timesteps):  # more than one where a layer behind this one takes several steps to one
            inside = masks and tuple(tf.reshape(mask[:, t], (1, 1)) for mask in masks)
            row = x if timesteps == 1 else x[:, t]
            output, states = self._step(tf.reshape(row, (1, features)), states, None, inside)
            outputs.append(output)
        self.network.new_states.update(zip(names, states, strict=True))
        if layer.return_sequences:
            output = outputs[0] if timesteps == 1 else self._on_grid(self.variant.output_tap, tf.concat(outputs, 0))
            output = tf.reshape(output, (1, timesteps, layer.units))
        return output, states

    def _loop(self, x: Value, states: list[Value], flip: bool, outside: Any) -> tuple[Any, list[Any]]:
        layer, variant = self.layer, self.variant
        _, timesteps, features = x.shape
        scope = re.sub(r"\W", "_", f"loop_{self.scope}")  # tells this body's operations from the others'
        wide = self.network.wide
        shape = (timesteps, features) if wide else (timesteps, 1, features)
        rows = self.network.moved(x, tf.reshape(x.tensor, shape)).tensor
        mask_rows = [] if outside is None else [tf.reshape(m, (timesteps, 1, 1)) for m in (self.mask, outside)]

        def row(t: Any) -> Any:
            # A look-up is faster, but on microcontrollers it has no int16 form.
            return tf.slice(rows, tf.stack([t, 0]), (1, features)) if wide else tf.gather(rows, t)

        # Loop variables and their taps: the states, then what the output needs beyond them.
        taps = list(variant.state_taps)
        sizes = variant.state_sizes(features, layer.units)
        carried = self._initial(states, taps) if states else [tf.zeros((1, size)) for size in sizes]
        beyond = layer.return_sequences or self.output_apart or (layer.zero_output_for_mask and outside is not None)
        if beyond:
            taps.append(variant.output_tap)
            carried.append(tf.zeros((timesteps if layer.return_sequences else 1, layer.units)))
        count = len(variant.states)

        # LiteRT copies a body's outputs to its inputs one after the other: a past input is handed on before it is
        # overwritten only if the older ones come first.
        def body(t: Any, backwards: list[Any]) -> tuple[Any, list[Any]]:
            with tf.name_scope(scope):
                carried = backwards[::-1]
                index = np.int32(timesteps - 1) - t if layer.go_backwards else t
                carried = [self._on_grid(tap, value) for tap, value in zip(taps, carried, strict=True)]
                masks = tuple(tf.gather(each, index) for each in mask_rows) or None
                history = carried[-1]
                before = history[:1] if flip else history[-1:]
                output, new = self._step(row(index), carried[:count], before, masks)
                if layer.return_sequences:  # first in, first out: at the end row 0 is the first output, or the last
                    parts = [output, history[:-1]] if flip else [history[1:], output]
                    new = [*new, self._on_grid(variant.output_tap, tf.concat(parts, axis=0))]
                elif beyond:
                    new = [*new, output]
                return t + 1, new[::-1]

        _, carried = tf.while_loop(lambda t, carried: t < np.int32(timesteps), body, [np.int32(0), carried[::-1]])
        carried = carried[::-1]
        carried = [self._on_grid(tap, value) for tap, value in zip(taps, carried, strict=True)]
        output = carried[-1] if beyond else carried[0]
        if layer.return_sequences:
            output = tf.reshape(output, (1, timesteps, layer.units))
        return output, carried[:count]

    def _initial(self, states: list[Value], taps: list[str]) -> list[Any]:
        grids = self.cell.plan.taps
        return [
            self.network.on_grid(self.scope, state, grids.get(tap, Grid.UNIT), tap)
            for state, tap in zip(states, taps)
        ]


def state_names(scope: str, layer: GRUPlus) -> list[str]:
    """Names of a recurrent layer's states in a file: state_<layer>, or state_<layer>_<i> where there are several.

    The states of stacked cells are called state_<layer>_cell_<number>.
    """
    count, scope = len(layer.variant.states), scope.replace("/", "_")
    return [f"state_{scope}"] if count == 1 else [f"state_{scope}_{i}" for i in range(count)]


__all__ = ["GraphCell", "Recurrence", "state_names"]
