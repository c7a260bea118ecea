"""Bias initialization for long memory."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from .cells import Cell


@keras.saving.register_keras_serializable("keras_gru_plus")
class Chrono(keras.initializers.Initializer):
    r"""Biases that give the units memories of 1 to `timesteps` steps from the start.

    A gate that keeps the state gets $b \sim \log \mathcal{U}(1, T - 1)$, one that writes the
    negative; all other biases are 0. Pass it as `bias_initializer` of `GRUPlus`, which tells it where
    the variant's gates are.

    Args:
        timesteps: T, the longest dependency expected, at least 3.
        seed: of the draws.

    Source: Tallec & Ollivier 2018, "Can recurrent neural networks warp time?", section 2.
    """

    def __init__(self, timesteps: int, seed: int | None = None) -> None:
        if timesteps < 3:
            raise ValueError(f"Expected `timesteps` to be 3 or more, got {timesteps!r}.")
        self.timesteps = timesteps
        self.seed = seed

    def for_cell(self, cell: Cell, units: int) -> _CellChrono:
        """The initializer for one cell's bias weights."""
        return _CellChrono(self, cell, units)

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        raise ValueError("Expected Chrono as `bias_initializer` of GRUPlus, which has gates, got another layer.")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"timesteps": self.timesteps, "seed": self.seed}


class _CellChrono(keras.initializers.Initializer):
    """`Chrono` for one cell: fills the blocks of its gates in the input bias."""

    def __init__(self, chrono: Chrono, cell: Cell, units: int) -> None:
        self.chrono, self.cell, self.units = chrono, cell, units

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        seed = self.chrono.seed
        generator = np.random.default_rng(np.random.randint(2**31) if seed is None else seed)  # noqa: NPY002 (global seed)
        values = np.zeros(shape, np.float32)
        row = values[0] if len(shape) == 2 else values
        if row.size == len(self.cell.bias) * self.units:
            for sign, gates in ((1, self.cell.keep_gates), (-1, self.cell.write_gates)):
                for gate in gates:
                    first = self.cell.bias.index(gate) * self.units
                    draws = generator.uniform(1, self.chrono.timesteps - 1, self.units)
                    row[first : first + self.units] = sign * np.log(draws)
        return keras.ops.convert_to_tensor(values, dtype=dtype)
