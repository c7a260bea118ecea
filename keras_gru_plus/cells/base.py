"""What every recurrent cell declares, and how its options travel through a Keras config."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar


class Cell:
    """One GRU variant: its weights by gate and its step, written once against an arithmetic.

    A subclass lists the gates that own a column block of `units` in each weight and writes
    `step` with the operations of `keras_gru_plus.arithmetic.Float`. Everything else (training,
    fake quantization, the exported graph, tap names, multiply counts) comes from that.

    Conventions: `x` is the input `(batch, features)`, `h` the previous state `(batch, units)`.
    The bias block of a gate is added by the linear that reads `x` (or, for a gate without kernel,
    by the one that reads `h`); its recurrent bias by the linear that reads `h`.
    """

    #: Gates with a block in `kernel` (features, n * units), `recurrent_kernel` (units, n * units) …
    kernel: ClassVar[tuple[str, ...]] = ()
    recurrent_kernel: ClassVar[tuple[str, ...]] = ()
    bias: ClassVar[tuple[str, ...]] = ()
    recurrent_bias: tuple[str, ...] = ()
    #: Gates that keep the old state when they are 1, and gates that overwrite it.
    keep_gates: ClassVar[tuple[str, ...]] = ()
    write_gates: ClassVar[tuple[str, ...]] = ()
    #: Tap of each state ("x" for a delayed input) and of the output.
    states: ClassVar[tuple[str, ...]] = ("h",)
    output: ClassVar[str] = "h"
    #: The state stays in [-1, 1] if it starts there (with activations bounded by 1).
    bounded: ClassVar[bool] = True
    #: What `activation="auto"` and `recurrent_activation="auto"` mean.
    activation: ClassVar[str] = "tanh"
    recurrent_activation: ClassVar[str] = "sigmoid"
    #: Author, year, equation number.
    source: ClassVar[str] = ""
    #: Keras' `reset_after`: only `gru` has the choice.
    reset_after: bool = True

    @property
    def gates(self) -> tuple[str, ...]:
        """All gates in weight order; each has its own dropout mask, as in Keras."""
        return tuple(dict.fromkeys((*self.kernel, *self.recurrent_kernel, *self.bias)))

    def with_reset_after(self, reset_after: bool) -> Cell:
        """This cell with Keras' `reset_after` argument applied.

        Raises:
            ValueError: if the variant has no such choice and the value is not the default.
        """
        if not reset_after:
            raise ValueError(
                f"Expected `reset_after` to be left at True for variant {self.name!r}, got "
                f"{reset_after!r}; only variant='gru' can apply its reset gate before the matmul."
            )
        return self

    def state_sizes(self, features: int, units: int) -> tuple[int, ...]:
        """Sizes of the state tensors, in the order of `states`."""
        return tuple(features if name == "x" else units for name in self.states)

    def weights(self, features: int, units: int, use_bias: bool) -> dict[str, tuple[int, ...]]:
        """Name and shape of each weight, in Keras' order.

        Two biases of the same gates are stacked into one `(2, n * units)` weight, as Keras' GRU does.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        if self.kernel:
            shapes["kernel"] = (features, len(self.kernel) * units)
        if self.recurrent_kernel:
            shapes["recurrent_kernel"] = (units, len(self.recurrent_kernel) * units)
        if use_bias and self.bias:
            if self.recurrent_bias == self.bias:
                shapes["bias"] = (2, len(self.bias) * units)
            else:
                shapes["bias"] = (len(self.bias) * units,)
                if self.recurrent_bias:
                    shapes["recurrent_bias"] = (len(self.recurrent_bias) * units,)
        return shapes

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """One time step: returns the output `(batch, units)` and the new states."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """The variant's name in `VARIANTS`."""
        return type(self).__name__.lower()

    def options(self) -> dict[str, Any]:
        """The constructor's arguments, for configs; empty for most variants."""
        names = list(inspect.signature(type(self)).parameters)
        return {name: getattr(self, name) for name in names}

    def get_config(self) -> dict[str, Any]:
        """Name and options as plain JSON values."""
        return {"name": self.name, **self.options()}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cell) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash((self.name, *sorted(self.options().items())))

    def __repr__(self) -> str:
        inner = ", ".join(f"{key}={value!r}" for key, value in self.options().items())
        return f"{type(self).__name__}({inner})"
