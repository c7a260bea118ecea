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

    Args:
        zoneout: probability with which training keeps a unit's old state; inference takes the mean. Source:
            Krueger et al. 2017, "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations", eq. 2.
    """

    #: Gates with a block in `kernel` (features, n * units), `recurrent_kernel` (units, n * units),
    #: `recurrent_vector` (n * units,): element-wise recurrence …
    kernel: ClassVar[tuple[str, ...]] = ()
    recurrent_kernel: ClassVar[tuple[str, ...]] = ()
    recurrent_vector: ClassVar[tuple[str, ...]] = ()
    bias: ClassVar[tuple[str, ...]] = ()
    recurrent_bias: tuple[str, ...] = ()
    #: What is added to a gate's bias, which starts at zero: the value with which the paper starts it.
    offsets: ClassVar[dict[str, float]] = {}
    #: Gates that keep the old state when they are 1, and gates that overwrite it.
    keep_gates: ClassVar[tuple[str, ...]] = ()
    write_gates: ClassVar[tuple[str, ...]] = ()
    #: Tap of each state ("x" for a delayed input) and of the output.
    states: tuple[str, ...] = ("h",)
    output: ClassVar[str] = "h"
    #: The states stay in [-bound, bound] if they start there (with activations bounded by 1); None: no bound.
    bound: float | None = 1.0
    #: Linear in the state, whose coefficients do not depend on it: training can use an associative scan.
    scan: ClassVar[bool] = False
    #: What `activation="auto"` and `recurrent_activation="auto"` mean.
    activation: ClassVar[str] = "tanh"
    recurrent_activation: ClassVar[str] = "sigmoid"
    #: Author, year, equation number.
    source: ClassVar[str] = ""
    #: There is a bias even without `use_bias`: it follows from other weights.
    implicit_bias: ClassVar[bool] = False
    #: Weights that training does not change.
    frozen: ClassVar[tuple[str, ...]] = ()
    #: Keras' `reset_after`: only `gru` has the choice.
    reset_after: bool = True
    #: Why this cell cannot be quantized, "" if it can.
    refusal: str = ""
    #: Ranks of the weights that are products of two factors.
    rank: int | None = None
    recurrent_rank: int | None = None

    def __init__(self, *, zoneout: float = 0.0) -> None:
        if not 0 <= zoneout < 1:
            raise ValueError(f"Expected `zoneout` to be in [0, 1), got {zoneout!r}.")
        self.zoneout = float(zoneout)

    # -- weights -----------------------------------------------------------------------------------

    @property
    def gates(self) -> tuple[str, ...]:
        """All gates in weight order; each has its own dropout mask, as in Keras."""
        return tuple(dict.fromkeys((*self.kernel, *self.recurrent_kernel, *self.recurrent_vector, *self.bias)))

    @property
    def ranks(self) -> dict[str, int]:
        """Weights that are products of two factors, with their rank."""
        both = {"kernel": self.rank, "recurrent_kernel": self.recurrent_rank}
        return {name: rank for name, rank in both.items() if rank is not None}

    def order_of(self, weight: str) -> tuple[str, ...]:
        """Gates whose blocks a weight holds, in order; none for a weight without blocks."""
        order: tuple[str, ...] = getattr(self, weight.removesuffix("_out"), ())
        return order

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

    def check(self, features: int, units: int) -> None:
        """Raises ValueError for sizes that the variant cannot have."""

    def values_of(self, features: int) -> int:
        """How many of the input's columns, the first ones, are values that dropout may drop."""
        return features

    def for_sizes(self, features: int, units: int) -> Cell:
        """This cell for inputs of `features` columns."""
        return self

    def rows(self, features: int, units: int) -> dict[str, int]:
        """Number of rows of `kernel` and `recurrent_kernel`."""
        return {"kernel": features, "recurrent_kernel": units}

    def weights(self, features: int, units: int, use_bias: bool) -> dict[str, tuple[int, ...]]:
        """Name and shape of each weight, in Keras' order.

        Two biases of the same gates are stacked into one `(2, n * units)` weight, as Keras' GRU does.
        """
        shapes: dict[str, tuple[int, ...]] = {}
        for name, rows in self.rows(features, units).items():
            columns = len(self.order_of(name)) * units
            if columns and name in self.ranks:
                shapes[f"{name}_in"] = (rows, self.ranks[name])
                shapes[f"{name}_out"] = (self.ranks[name], columns)
            elif columns:
                shapes[name] = (rows, columns)
        if self.recurrent_vector:
            shapes["recurrent_vector"] = (len(self.recurrent_vector) * units,)
        if use_bias and self.bias:
            if self.recurrent_bias == self.bias:
                shapes["bias"] = (2, len(self.bias) * units)
            else:
                shapes["bias"] = (len(self.bias) * units,)
                if self.recurrent_bias:
                    shapes["recurrent_bias"] = (len(self.recurrent_bias) * units,)
        return shapes

    def initializer(self, weight: str) -> str | float | tuple[float, float] | None:
        """How a weight starts where the layer's arguments do not say: a Keras name, a constant, a range."""
        return (-1.0, 1.0) if weight == "recurrent_vector" else None

    def effective_weight(self, name: str, a: Any) -> Any:
        """A weight as the equations mean it."""
        return a.layer.weight(name)

    def constants(self, a: Any) -> dict[str, Any]:
        """What is the same in every step and no matmul: values by name, from weights that `a` gives."""
        return {}

    # -- states ------------------------------------------------------------------------------------

    @property
    def state_taps(self) -> tuple[str, ...]:
        """Tap of each state as it is carried: after zoneout."""
        return tuple(f"{name}_zoned" if self.zoneout and name != "x" else name for name in self.states)

    @property
    def output_tap(self) -> str:
        """Tap of the output: after zoneout where the output is a state."""
        return dict(zip(self.states, self.state_taps)).get(self.output, self.output)

    def state_sizes(self, features: int, units: int) -> tuple[int, ...]:
        """Sizes of the state tensors, in the order of `states`."""
        return tuple(features if name == "x" else units for name in self.states)

    def begin(self, a: Any, sequences: Any, mask: Any, training: bool) -> bool:
        """Called before a time loop; true if the effective weights are others now."""
        return False

    def step(self, a: Any, x: Any, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        """One time step: returns the output `(batch, units)` and the new states."""
        raise NotImplementedError

    # -- configuration -----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The variant's name in `VARIANTS`."""
        return type(self).__name__.lower()

    def options(self) -> dict[str, Any]:
        """The constructor's arguments that are not at their defaults, for configs; empty for most."""
        parameters = inspect.signature(type(self)).parameters.values()
        found = {p.name: getattr(self, p.name) for p in parameters}
        return {p.name: found[p.name] for p in parameters if found[p.name] != p.default}

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
