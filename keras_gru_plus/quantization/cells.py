"""The arithmetics of quantization-aware training and calibration for recurrent cells."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ..arithmetic import Float, Grid, Plan, PlannedLinear, plan_of
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

    def carried(self, batch: Any) -> list[Any]:
        if not self.observed:
            return []
        return [tf.zeros((batch, len(self.observed))), tf.zeros((batch, len(self.observed)))]

    def run(self, x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        if not self.observed:
            return super().run(x, states)
        low, high = states[-2:]
        output, new = super().run(x, states[:-2])
        seen = [self._seen[name] for name in self.observed]
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

    `x` arrives divided by `unit`, on the state's grid; `unit` is folded into its kernel rows before
    the kernel is quantized. Saturating activations are the clip of their tap.

    Args:
        unit: real value of x = 1.0.
        observe: carry the ranges (training), or not (inference).
    """

    folds_saturation = True

    def __init__(self, layer: Any, store: TapStore, scope: str, *, unit: Any, observe: bool) -> None:
        self.unit = unit
        self.observe = observe
        super().__init__(layer, store, scope)

    def watches(self, name: str) -> bool:
        return self.observe

    def prepare(self, linear: PlannedLinear) -> tuple[Any, Any, Any]:
        planned = next(p for p in self.plan.linears if p.tap == linear.tap)
        kernel, recurrent, bias = super().prepare(planned)
        rows = []
        if kernel is not None:
            rows.append(kernel * (self.unit * planned.slope))
        if recurrent is not None:
            rows.append(recurrent * planned.slope)
        if rows:
            joint = self.kernel(f"{self.scope}/{linear.tap}/kernel", tf.concat(rows, axis=0))
            features = rows[0].shape[0]
            if kernel is not None:
                kernel = joint[:features]
            if recurrent is not None:
                recurrent = joint[features:] if kernel is not None else joint
        if planned.slope != 1.0 and bias is not None:
            bias = bias * planned.slope
        if planned.offset:
            bias = planned.offset if bias is None else bias + planned.offset
        return kernel, recurrent, bias

    def kernel(self, key: str, joint: Any) -> Any:
        """The joint kernel `[kernel; recurrent_kernel]` of one linear on its grid."""
        return self.store.weight(key, tuple(joint.shape)).fake_quant(joint)

    def tap(self, name: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        value = super().tap(name, value, grid)
        return self.store.tap(f"{self.scope}/{name}", grid).fake_quant(value)
