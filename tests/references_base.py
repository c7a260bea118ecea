"""What the references of all variants share; imports nothing of the package.

The steps call `base.sigmoid` and `np.tanh`, so that a test can put other functions in their places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
Step = Callable[[list[Array], Array, list[Array]], tuple[Array, list[Array]]]


@dataclass(frozen=True)
class Reference:
    """An independent definition of a variant.

    Attributes:
        step: `(weights, x, states) -> output, states`.
        parameters: number of weights, trainable or not, for `d` columns of input and `n` units.
        options: keyword arguments of `GRUPlus` for which it holds.
    """

    step: Step
    parameters: Callable[[int, int], int]
    options: dict[str, Any]


def sigmoid(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def logistic(v: Array) -> Array:
    """The sigmoid where it is not the gate's activation but part of a definition, whatever the gates use."""
    return 1 / (1 + np.exp(-v))


def columns(matrix: Array, gates: int) -> list[Array]:
    """The blocks of `units` columns of a weight, one a gate."""
    return np.split(matrix, gates, axis=-1)


def low_rank(step: Step) -> Step:
    """The step with each of its first two weights given as a product of two."""

    def factored(weights: list[Array], x: Array, states: list[Array]) -> tuple[Array, list[Array]]:
        kernel_in, kernel_out, recurrent_in, recurrent_out, *others = weights
        return step([kernel_in @ kernel_out, recurrent_in @ recurrent_out, *others], x, states)

    return factored


def run(
    step: Step,
    weights: list[Array],
    x: Array,
    states: list[Array],
    *,
    mask: Array | None = None,
    go_backwards: bool = False,
) -> tuple[Array, list[Array]]:
    """All outputs `(batch, timesteps, units)` in the order of computing, and the last states.

    Where the mask `(batch, timesteps)` is false, a row keeps its states and repeats its output
    (zeros if it has none yet).
    """
    weights = [np.asarray(w, np.float64) for w in weights]
    states = [np.asarray(s, np.float64) for s in states]
    outputs: list[Array] = []
    for t in range(x.shape[1])[:: -1 if go_backwards else 1]:
        output, new = step(weights, np.asarray(x[:, t], np.float64), states)
        if mask is not None:
            keep = mask[:, t, None]
            output = np.where(keep, output, outputs[-1] if outputs else 0.0)
            new = [np.where(keep, n, s) for n, s in zip(new, states)]
        outputs.append(output)
        states = new
    return np.stack(outputs, axis=1), states
