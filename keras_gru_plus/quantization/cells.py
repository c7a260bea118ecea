"""The arithmetics of quantization-aware training and calibration for recurrent cells."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from .. import activations
from ..arithmetic import NEARLY_ONE, Grid, Linear, Sum
from ..floating import Float
from ..plan import Plan, PlannedLinear, aligned_tap, plan_of
from .taps import TapStore


class Observing(Float):
    """Float arithmetic that carries the least and greatest value of each learned tap through the loop.

    They travel as two more states `(batch, taps)`, so masked steps leave them alone.

    Args:
        layer: the cell.
        store, scope: where the taps live; their keys are "<scope>/<tap>".
    """

    def __init__(self, layer: Any, store: TapStore, scope: str) -> None:
        self.store = store
        self.scope = scope
        self.plan: Plan = plan_of(layer, quantized=True)
        self.observed = [
            name
            for name, grid in self.plan.taps.items()
            if store.tap(f"{scope}/{name}", grid).learned and self.watches(name)
        ]
        self._seen: dict[str, Any] = {}
        self.low: Any = None
        self.high: Any = None
        super().__init__(layer)

    def watches(self, name: str) -> bool:
        """Whether this tap's values are carried."""
        return True

    def tap(self, name: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        if name in self.observed:
            self._seen[name] = tf.stop_gradient(value)
        return value

    def activate(self, tap: str, pre: Any, activation: Any) -> Any:
        if not self.folds_saturation:
            pre = self.settle(pre)
            form = activations.quantized_form(activation)
            self.tap(f"{tap}_slope", pre * form.slope)  # quantization has it where it cannot be folded
        return super().activate(tap, pre, activation)

    def carried(self, batch: Any) -> list[Any]:
        if not self.observed:
            return []
        return [tf.zeros((batch, len(self.observed))), tf.zeros((batch, len(self.observed)))]

    def run(self, x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        if not self.observed:
            return super().run(x, states)
        low, high = states[-2:]
        self._seen.clear()
        output, new = super().run(x, states[:-2])
        nothing = tf.zeros_like(low[:, :1])  # of a tap that only inference has
        seen = [self._seen.get(name, nothing) for name in self.observed]
        low = tf.minimum(low, tf.stack([tf.reduce_min(value, axis=-1) for value in seen], axis=-1))
        high = tf.maximum(high, tf.stack([tf.reduce_max(value, axis=-1) for value in seen], axis=-1))
        return output, [*new, low, high]

    def absorb(self, carried: list[Any]) -> None:
        if carried:
            self.low, self.high = carried

    def extremes(self) -> dict[str, tuple[Any, Any]]:
        """Least and greatest value of each sample `(batch,)` by tap, after the loop."""
        return {f"{self.scope}/{name}": (self.low[:, i], self.high[:, i]) for i, name in enumerate(self.observed)}


class FakeQuant(Observing):
    """The int8 arithmetic in float: every tap is rounded to its grid, every kernel once per batch.

    `x` arrives divided by `unit`, on the grid of a state in [-1, 1]; other operands of a linear are brought there by
    their tap's own bound. These units are folded into the kernel's rows before it is quantized. Saturating
    activations are the clip of their tap.

    Args:
        unit: real value of x = 1.0.
        observe: carry the ranges (training), or not (inference).
    """

    folds_saturation = True

    def __init__(self, layer: Any, store: TapStore, scope: str, *, unit: Any, observe: bool) -> None:
        self.unit = unit
        self.observe = observe
        self._aligned: dict[str, Any] = {}
        super().__init__(layer, store, scope)
        self.planned = {linear.tap: linear for linear in self.plan.linears}

    def watches(self, name: str) -> bool:
        return self.observe

    # -- weights, once per batch -----------------------------------------------------------------

    def prepare_all(self) -> None:
        self.linears = self.plan.linears
        taps = {name: self.store.tap(f"{self.scope}/{name}", grid) for name, grid in self.plan.taps.items()}
        self.bounds = {name: tap.range() for name, tap in taps.items() if tap.learned}
        super().prepare_all()

    def prepare(self, linear: PlannedLinear) -> tuple[list[Any], Any]:
        kernels, bias = super().prepare(linear)
        rows = []
        for kernel, operand in zip(kernels, linear.operands):
            units = [self.unit_of(source) * linear.slope for source in operand.sources]
            parts = tf.split(kernel, len(units), axis=0) if len(units) > 1 else [kernel]
            rows += [part * unit for part, unit in zip(parts, units)]
        sizes = [kernel.shape[0] for kernel in kernels]
        joint = self.kernel(f"{self.scope}/{linear.tap}/kernel", tf.concat(rows, axis=0))
        if linear.slope != 1.0 and bias is not None:
            bias = bias * linear.slope
        if linear.offset:
            bias = tf.fill(joint.shape[1:], linear.offset) if bias is None else bias + linear.offset
        return tf.split(joint, sizes, axis=0), bias

    def kernel(self, key: str, joint: Any) -> Any:
        """The joint kernel of all operands of one linear on its grid."""
        return self.store.weight(key, tuple(joint.shape)).fake_quant(joint)

    def prepare_constant(self, name: str, value: Any) -> Any:
        return self.store.constant(f"{self.scope}/{name}", tuple(value.shape)).fake_quant(value)

    def unit_of(self, source: str) -> Any:
        """Real value of an operand's 1.0."""
        if source == "x":
            return self.unit
        grid = self.plan.taps[source]
        return 1.0 if grid in (Grid.UNIT, Grid.GATE) else self.store.tap(f"{self.scope}/{source}", grid).bound()

    # -- one step --------------------------------------------------------------------------------

    def tap(self, name: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        value = super().tap(name, value, grid)
        return self.store.tap(f"{self.scope}/{name}", grid).fake_quant(value, self.bounds.get(name))

    def run(self, x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        self._aligned.clear()
        return super().run(x, states)

    def compute(self, pending: Linear | Sum) -> Any:
        if isinstance(pending, Linear):
            self.align(pending)
        return super().compute(pending)

    def align(self, pending: Linear) -> None:
        """Brings all operands to `Grid.UNIT`, so that they can be one row of integers."""
        for operand, planned in zip(pending.operands, self.planned[pending.tap].operands):
            values = tuple(self.aligned(v, s) for v, s in zip(operand.window, planned.sources))
            operand.value = values if len(values) > 1 else values[0]

    def aligned(self, value: Any, source: str) -> Any:
        """`value` on `Grid.UNIT`; from a symmetric grid that keeps every integer and only renames it."""
        grid = Grid.UNIT if source == "x" else self.plan.taps[source]
        if grid is Grid.UNIT:
            return value
        if source not in self._aligned:
            factor = NEARLY_ONE if grid is Grid.GATE else 1.0 / self.unit_of(source)
            self._aligned[source] = self.tap(aligned_tap(source), value * factor, Grid.UNIT)
        return self._aligned[source]

    def real(self, tap: str, x: Any) -> Any:
        # A factor of exactly 1 is folded away, and with it the operator that changes the grid.
        unit = NEARLY_ONE if isinstance(self.unit, float) and self.unit == 1.0 else self.unit
        return super().real(tap, x * unit)

    def mask(self, tap: str, x: Any) -> Any:
        """0 or 1, whatever the input's grid made of the 1: the clip to the grid of a gate does it."""
        return super().mask(tap, x * (1.5 * self.unit))
