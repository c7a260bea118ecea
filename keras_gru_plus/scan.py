"""The whole sequence at once: an associative scan for cells that are linear in their state."""

from __future__ import annotations

from typing import Any

from .arithmetic import Float, Grid


class _Before:
    """The state before each step, not yet known: all that a cell may do with it is to interpolate."""

    def __init__(self, initial: Any) -> None:
        self.initial = initial


class Scanning(Float):
    """Float arithmetic on `(batch, timesteps, features)`; the state's recurrence is an associative scan.

    `h' = h + g (c - h)` and `h' = c + g (h - c)` are both `h' = keep * h + write`, and pairs (keep, write) compose:
    the loop over time becomes about log2(timesteps) rounds on the whole sequence.
    """

    def interpolate(self, tap: str, gate: Any, start: Any, end: Any, grid: Grid | None = None) -> Any:
        if isinstance(start, _Before):
            return linear_recurrence(1.0 - gate, gate * end, start.initial)
        if isinstance(end, _Before):
            return linear_recurrence(gate, start - gate * start, end.initial)
        return super().interpolate(tap, gate, start, end, grid)

    def sequence(self, x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """All outputs `(batch, timesteps, units)` and the states after the last step."""
        past = [state for name, state in zip(self.cell.states, states) if name == "x"]
        delayed = iter(_delayed(x, past[: k + 1]) for k in range(len(past)))
        before = [next(delayed) if name == "x" else _Before(state) for name, state in zip(self.cell.states, states)]
        output, after = self.cell.step(self, x, tuple(before))
        return output, [sequence[:, -1] for sequence in after]


def _delayed(x: Any, past: list[Any]) -> Any:
    """`x` some steps later, `past` (newest first) in front."""
    from keras import ops

    steps = len(past)
    return ops.concatenate([ops.stack(past[::-1], axis=1), x], axis=1)[:, : -steps or None]


def linear_recurrence(keep: Any, write: Any, initial: Any) -> Any:
    """`h[t] = keep[t] * h[t - 1] + write[t]` along axis 1, `h[-1] = initial`.

    Pairs of steps first, then the steps between them, by recursion: twice the work of a loop, in about
    2 log2(timesteps) operations on whole sequences. (`keras.ops.associative_scan` does the same but loses the static
    shape on TensorFlow, and the gradient of its strided slices does not compile under XLA for every length.)
    """
    from keras import ops

    _, timesteps, units = keep.shape
    if timesteps == 1:
        return write + keep * ops.expand_dims(initial, 1)
    pairs = timesteps // 2
    (k0, k1), (w0, w1) = (
        [ops.reshape(values[:, : 2 * pairs], (-1, pairs, 2, units))[:, :, i] for i in (0, 1)]
        for values in (keep, write)
    )
    second = linear_recurrence(k0 * k1, k1 * w0 + w1, initial)
    before = ops.concatenate([ops.expand_dims(initial, 1), second[:, :-1]], axis=1)
    first = w0 + k0 * before
    whole = ops.reshape(ops.stack([first, second], axis=2), (-1, 2 * pairs, units))
    if timesteps % 2 == 0:
        return whole
    return ops.concatenate([whole, write[:, -1:] + keep[:, -1:] * second[:, -1:]], axis=1)
