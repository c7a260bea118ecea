"""How much of some data the learned ranges of a quantized model clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from ..arithmetic import Grid
from ..layer import GRUPlus
from .cells import Observing
from .model import ObservingNetwork, QuantizedModel
from .network import Network
from .taps import FROM_ZERO, Tap, TapStore


@dataclass
class Reach:
    """What data did at a learned tap, in float arithmetic.

    Attributes:
        low, high: least and greatest value.
        outside: number of values that the grid clips.
        total: number of values.
    """

    low: float
    high: float
    outside: int
    total: int

    @property
    def share(self) -> float:
        """Clipped values to all."""
        return self.outside / self.total if self.total else 0.0


def reach(model: QuantizedModel, inputs: dict[str, np.ndarray], batch_size: int = 256) -> dict[str, Reach]:
    """What `inputs` do at each learned tap of a model, in the order of the data flow.

    A value is clipped if it is beyond an end of the tap's range by more than half a step, where rounding no longer
    brings it back. Saturating activations clip by design: they have fixed grids, which are not counted.

    Args:
        model: with its ranges set.
        inputs: input name → `(samples, …)`.
        batch_size: samples at a time, for a model that does not fix it.
    """

    def survey(tensors: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        network = ClippingNetwork(model._graph, model.taps)
        network.run(model._flat(tensors))
        return network.extremes, network.counts

    samples = len(next(iter(inputs.values())))
    size = model.inputs[0].shape[0] or batch_size
    if samples > size:  # one batch is done before a graph of it is
        survey = tf.function(survey, reduce_retracing=True, autograph=False)
    found: dict[str, Reach] = {}
    model.reset_states()
    for start in range(0, samples, size):
        last = min(start + size, samples)  # a model that insists on its size of batch sees some samples twice
        rows = slice(last - size if model.inputs[0].shape[0] else start, last)
        extremes, counts = survey([tf.constant(inputs[name][rows]) for name, _ in model._graph.inputs])
        for key, (low, high) in extremes.items():
            outside, total = (int(number) for number in counts[key])
            seen = found.setdefault(key, Reach(0.0, 0.0, 0, 0))
            least, greatest = float(np.min(low)), float(np.max(high))
            seen.low, seen.high = (
                (min(seen.low, least), max(seen.high, greatest)) if seen.total else (least, greatest)
            )
            seen.outside, seen.total = seen.outside + outside, seen.total + total
    model.reset_states()
    return found


def _outside(tap: Tap, value: Any) -> Any:
    """1.0 where `value` is clipped, else 0.0."""
    low, high = tap.range()
    half = (high - low) / (2**tap.bits - 1) / 2
    beyond = value > high + half
    if tap.grid not in FROM_ZERO:  # there the clip at zero is the activation
        beyond |= value < low - half
    return tf.cast(beyond, tf.float32)


class ClippingNetwork(ObservingNetwork):
    """Float arithmetic that also counts, at each learned tap, all values and those that its grid clips."""

    def __init__(self, graph: Network, store: TapStore) -> None:
        super().__init__(graph, store)
        #: Key → (clipped values, all values), both scalars.
        self.counts: dict[str, tuple[Any, Any]] = {}

    def tap(self, key: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        tap = self.store.tap(key, grid)
        if tap.learned:
            outside = tf.reduce_sum(tf.cast(_outside(tap, value), tf.float64))
            self._count(key, outside, tf.size(value, tf.int64))
        return super().tap(key, value, grid)

    def observer(self, layer: GRUPlus, scope: str) -> Counting:
        return Counting(layer.cell, self.store, scope)

    def observed(self, arithmetic: Any) -> None:
        super().observed(arithmetic)
        for key, counts in arithmetic.counts().items():
            self._count(key, *counts)

    def _count(self, key: str, outside: Any, total: Any) -> None:
        outside, total = tf.cast(outside, tf.float64), tf.cast(total, tf.float64)
        if key in self.counts:
            outside, total = outside + self.counts[key][0], total + self.counts[key][1]
        self.counts[key] = outside, total


class Counting(Observing):
    """Float arithmetic of a recurrent cell that carries how many values of each learned tap its grid clips.

    The numbers travel as one more state `(batch, taps + 1)`, the last column of which counts the steps.
    """

    def __init__(self, layer: Any, store: TapStore, scope: str) -> None:
        super().__init__(layer, store, scope)
        self._taps = {name: store.tap(f"{scope}/{name}", self.plan.taps[name]) for name in self.observed}
        self._widths: dict[str, int] = {}
        self._counted: Any = None

    def carried(self, batch: Any) -> list[Any]:
        carried = super().carried(batch)
        return [*carried, tf.zeros((batch, len(self.observed) + 1))] if carried else []

    def run(self, x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        if not self.observed:
            return super().run(x, states)
        output, new = super().run(x, states[:-1])
        step = tf.ones_like(states[-1][:, 0])
        seen = []
        for name in self.observed:
            value = self._seen.get(name)
            self._widths[name] = 0 if value is None else value.shape[-1]
            found = 0.0 if value is None else tf.reduce_sum(_outside(self._taps[name], value), axis=-1)
            seen.append(step * found)
        return output, [*new, states[-1] + tf.stack([*seen, step], axis=-1)]

    def absorb(self, carried: list[Any]) -> None:
        if carried:
            super().absorb(carried[:-1])
            self._counted = tf.reduce_sum(tf.cast(carried[-1], tf.float64), axis=0)

    def counts(self) -> dict[str, tuple[Any, Any]]:
        """Clipped values and all values by tap, after the loop."""
        return {
            f"{self.scope}/{name}": (self._counted[i], self._counted[-1] * self._widths[name])
            for i, name in enumerate(self.observed)
        }


__all__ = ["Reach", "reach"]
