"""The whole sequence at once: an associative scan for cells that are linear in their state.

Time is the first axis here, `(timesteps, batch, units)`, so that a step is one piece of memory.
"""

from __future__ import annotations

import math
from typing import Any

from .arithmetic import Grid
from .floating import Float


class _Before:
    """The state before each step, not yet known: all that a cell may do with it is to interpolate."""

    def __init__(self, initial: Any) -> None:
        self.initial = initial


class Scanning(Float):
    """Float arithmetic on a whole sequence; the state's recurrence is an associative scan.

    `h' = h + g (c - h)` and `h' = c + g (h - c)` are both `h' = keep * h + write`, and pairs (keep, write) compose.
    """

    def interpolate(self, tap: str, gate: Any, start: Any, end: Any, grid: Grid | None = None) -> Any:
        if isinstance(start, _Before):
            return self._recurrence(1.0 - gate, gate * end, start.initial)
        if isinstance(end, _Before):
            return self._recurrence(gate, start - gate * start, end.initial)
        return super().interpolate(tap, gate, start, end, grid)

    def _recurrence(self, keep: Any, write: Any, initial: Any) -> Any:
        return _rows(linear_recurrence(self._steps(keep), self._steps(write), initial))

    def _steps(self, rows: Any) -> Any:
        """Rows `(timesteps * batch, n)` as `(timesteps, batch, n)`."""
        from keras import ops

        return ops.reshape(rows, (self.timesteps, -1, rows.shape[-1]))

    def sequence(self, x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """All outputs and the states after the last step, for inputs `(timesteps, batch, features)`."""
        from keras import ops

        self.timesteps = x.shape[0]
        if self.input_masks is not None:
            self.input_masks = {g: ops.tile(mask, (self.timesteps, 1)) for g, mask in self.input_masks.items()}
        states = [ops.add(state, 0) for state in states]  # a stateful layer's are variables
        past = [state for name, state in zip(self.cell.states, states) if name == "x"]
        delayed = iter(_rows(_delayed(x, past[: k + 1])) for k in range(len(past)))
        before = [next(delayed) if name == "x" else _Before(state) for name, state in zip(self.cell.states, states)]
        output, after = self.cell.step(self, _rows(x), tuple(before))
        return self._steps(output), [self._steps(rows)[-1] for rows in after]


def _rows(steps: Any) -> Any:
    """All steps of all samples as rows of one matrix: a matmul with it is one matmul."""
    from keras import ops

    return ops.reshape(steps, (-1, steps.shape[-1]))


def _delayed(x: Any, past: list[Any]) -> Any:
    """`x` some steps later, `past` (newest first) in front."""
    from keras import ops

    return ops.concatenate([ops.stack(past[::-1]), x])[: -len(past)]


def linear_recurrence(keep: Any, write: Any, initial: Any) -> Any:
    """`h[t] = keep[t] * h[t - 1] + write[t]` along the first axis, `h[-1] = initial`.

    Its gradient is the same recurrence backwards. (`keras.ops.associative_scan` would do, but it loses the static
    shape on TensorFlow, does not compile under XLA for every length, and its own gradient doubles the work.)
    """
    from keras import ops

    @ops.custom_gradient
    def recurrence(keep: Any, write: Any, initial: Any) -> Any:
        h = _scan(keep, write, initial)

        def gradient(*arguments: Any, upstream: Any = None) -> tuple[Any, Any, Any]:
            upstream = arguments[0] if upstream is None else upstream
            later = ops.concatenate([keep[1:], ops.zeros_like(keep[:1])])
            d = _scan(later, upstream, ops.zeros_like(initial), backwards=True)
            return d * ops.concatenate([ops.expand_dims(initial, 0), h[:-1]]), d, keep[0] * d[0]

        return h, gradient

    return recurrence(keep, write, initial)


def _scan(keep: Any, write: Any, initial: Any, *, backwards: bool = False) -> Any:
    """The recurrence in chunks: all chunks step by step at once, then what each hands on to the next.

    About 2 sqrt(timesteps) steps one after the other, each on a whole slice of every chunk.
    """
    from keras import ops

    timesteps = keep.shape[0]
    length = math.isqrt(timesteps - 1) + 1
    chunks = -(-timesteps // length)
    missing = length * chunks - timesteps
    if missing:  # steps that keep everything
        padding = [(0, 0)] * (len(keep.shape) - 1)
        side = (missing, 0) if backwards else (0, missing)
        keep = ops.pad(keep, [side, *padding], constant_values=1.0)
        write = ops.pad(write, [side, *padding])
    keeps, writes = (
        ops.unstack(ops.reshape(values, (chunks, length, *ops.shape(values)[1:])), axis=1) for values in (keep, write)
    )
    order = range(length)[:: -1 if backwards else 1]
    first = order[0]
    products, sums = [keeps[first]] * length, [writes[first]] * length
    product, total = keeps[first], writes[first]
    for t in order[1:]:
        product, total = product * keeps[t], keeps[t] * total + writes[t]
        products[t], sums[t] = product, total
    carried, carry = [initial] * chunks, initial
    for chunk in range(chunks)[:: -1 if backwards else 1]:
        carried[chunk] = carry
        carry = product[chunk] * carry + total[chunk]
    start = ops.stack(carried)
    whole = ops.stack([p * start + s for p, s in zip(products, sums)], axis=1)
    whole = ops.reshape(whole, (chunks * length, *ops.shape(keep)[1:]))
    return (whole[missing:] if backwards else whole[:timesteps]) if missing else whole
