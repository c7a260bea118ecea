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
    """`h[t] = keep[t] * h[t - 1] + write[t]` along axis 1, `h[-1] = initial`."""
    from keras import ops

    first = write[:, :1] + keep[:, :1] * ops.expand_dims(initial, 1)
    return _prefixes(keep, ops.concatenate([first, write[:, 1:]], axis=1))


def _prefixes(keep: Any, write: Any) -> Any:
    """The recurrence from `h[-1] = 0`: pairs of steps first, then the steps between them, by recursion.

    Twice the work of a loop in about 2 log2(timesteps) operations on whole sequences. (`keras.ops.associative_scan`
    does the same but loses the static shape on TensorFlow.)
    """
    from keras import ops

    timesteps = keep.shape[1]
    if timesteps == 1:
        return write
    pairs = timesteps // 2
    first, second = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
    odd = _prefixes(keep[:, first] * keep[:, second], keep[:, second] * write[:, first] + write[:, second])
    even = write[:, 2::2] + keep[:, 2::2] * odd[:, : (timesteps - 1) // 2]
    even = ops.concatenate([write[:, :1], even], axis=1)
    both = ops.stack([even[:, :pairs], odd], axis=2)
    whole = ops.reshape(both, (-1, 2 * pairs, keep.shape[2]))
    return ops.concatenate([whole, even[:, pairs:]], axis=1) if timesteps % 2 else whole
