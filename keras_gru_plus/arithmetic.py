"""The operations in which cells are written.

A cell says *what* it computes (`cells/`), an arithmetic *how*. Fake quantization, the exported graph and the
associative scan are this arithmetic with few methods overridden, so each equation exists once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from . import activations
from .cells import Cell


class Grid(enum.Enum):
    """Where a tap's int8 scale and zero point come from."""

    LEARNED = "learned"  #: symmetric, zero point 0, range observed
    POSITIVE = "positive"  #: [0, max], zero point -128, range observed
    GATE = "gate"  #: scale 1/256, zero point -128: what LOGISTIC and SOFTMAX kernels write
    UNIT = "unit"  #: scale 1/128, zero point 0: what TANH writes, and states in [-1, 1]
    DOUBLE = "double"  #: scale 1/64, zero point 0: states in [-2, 2]
    MASK = "mask"  #: scale 1/255, zero point -128: both 0 and 1 exactly
    SQUARE = "square"  #: scale 1/128^2, zero point -128: squares of small integers of UNIT


@dataclass
class Operand:
    """What a linear multiplies with a weight; a tuple is concatenated (a window of inputs)."""

    weight: str
    value: Any

    @property
    def window(self) -> tuple[Any, ...]:
        """The values side by side."""
        return self.value if isinstance(self.value, tuple) else (self.value,)


@dataclass
class Linear:
    """Not yet computed sum of `operand @ weight[gates]` and `bias[gates]`; `bias` names another bias."""

    tap: str
    gates: tuple[str, ...]
    operands: tuple[Operand, ...]
    bias: str | None = None


@dataclass
class Sum:
    """Not yet computed `u + v`, or `u - v`."""

    tap: str
    u: Any
    v: Any
    minus: bool = False


class Arithmetic:
    """The vocabulary of cells. Subclasses compute; `tap` sees every named intermediate.

    `linear`, `add` and `sub` are lazy: an activation that saturates (hard_tanh, hard_sigmoid) can then be
    folded into them in quantized arithmetic, where clipping to the output range is free.
    """

    #: Saturating activations become the clip of their tap; the linear carries slope and offset.
    folds_saturation: ClassVar[bool] = False
    #: Grid of a value that nothing bounds.
    unbounded: ClassVar[Grid] = Grid.LEARNED

    def __init__(self, cell: Cell, activation: Callable[..., Any], recurrent_activation: Callable[..., Any]) -> None:
        self.cell = cell
        self.activation = activation
        self.recurrent_activation = recurrent_activation
        self.training = False
        self._low: dict[tuple[str, int], tuple[Any, Any]] = {}

    # -- operations that a cell uses -------------------------------------------------------------

    def linear(
        self, tap: str, gates: tuple[str, ...], x: Any = None, h: Any = None, bias: str | None = None, **others: Any
    ) -> Linear:
        """`x W + h U + b` for the column blocks of `gates`, side by side.

        `x` or `h` may be absent; a tuple (a window of inputs) is concatenated, newest first. `others` are further
        operands by the name of their weight, `bias` the name of a bias that no gate owns.
        """
        given = {"kernel": x, "recurrent_kernel": h, **others}
        operands = tuple(self._operand(weight, value) for weight, value in given.items() if value is not None)
        return Linear(tap, gates, operands, bias)

    def _operand(self, weight: str, value: Any) -> Operand:
        """The operand of a weight; of its second factor where the weight has a low rank."""
        if weight not in self.cell.ranks:
            return Operand(weight, value)
        key = (weight, id(value))
        if key not in self._low:
            count = sum(name == weight for name, _ in self._low)
            tap = f"{'x' if weight == 'kernel' else 'h'}_low{count or ''}"
            low = self.settle(Linear(tap, (), (Operand(f"{weight}_in", value),)))
            self._low[key] = (value, low)  # the value, too: its id is its name as long as it lives
        return Operand(f"{weight}_out", self._low[key][1])

    def constant(self, name: str) -> Any:
        """The value called `name` among the cell's `constants`, `(units,)` or `(1,)`; ask anew for each use."""
        raise NotImplementedError

    def add(self, tap: str, u: Any, v: Any) -> Sum:
        """`u + v`."""
        return Sum(tap, self.settle(u), self.settle(v))

    def sub(self, tap: str, u: Any, v: Any) -> Sum:
        """`u - v`."""
        return Sum(tap, self.settle(u), self.settle(v), minus=True)

    def mul(self, tap: str, u: Any, v: Any) -> Any:
        """`u * v`, element-wise."""
        return self.tap(tap, self.settle(u) * self.settle(v))

    def gated(self, tap: str, gate: Any, h: Any) -> Any:
        """`gate * h` for a gate in [0, 1] and a state: stays on the state's grid."""
        return self.tap(tap, gate * h, self.state_grid)

    def interpolate(self, tap: str, gate: Any, start: Any, end: Any, grid: Grid | None = None) -> Any:
        """`start + gate * (end - start)`: the new state, on the state's grid unless another is given."""
        difference = self.tap(f"{tap}_diff", end - start)
        step = self.tap(f"{tap}_step", gate * difference)
        return self.tap(tap, start + step, grid or self.state_grid)

    def state(self, tap: str, u: Any, v: Any) -> Any:
        """`u + v` as the new state."""
        return self.tap(tap, u + v, self.state_grid)

    def gate(self, tap: str, pre: Any) -> Any:
        """The recurrent activation of `pre`."""
        return self.activate(tap, pre, self.recurrent_activation)

    def candidate(self, tap: str, pre: Any) -> Any:
        """The activation of `pre`."""
        return self.activate(tap, pre, self.activation)

    def activate(self, tap: str, pre: Any, activation: Callable[..., Any]) -> Any:
        """`activation` of `pre`."""
        if not self.folds_saturation:
            return self.tap(tap, activation(self.settle(pre)))
        form, grid = activations.quantized_form(activation), self.grid_of(activation)
        if form.kind == "clip":
            return self.tap(tap, self._clipped(tap, pre, form), grid)
        if form.kind in ("relu", "linear"):
            # Fused into the operator before it; a value that is on a grid already needs one.
            value = self.compute(pre) if isinstance(pre, Linear | Sum) else pre * NEARLY_ONE
            return self.tap(tap, self.apply(activation, value) if form.kind == "relu" else value, grid)
        return self.tap(tap, self.apply(activation, self.settle(pre)), grid)

    def _clipped(self, tap: str, pre: Any, form: activations.QuantizedForm) -> Any:
        """What a saturating activation clips: slope and offset are in a linear's weights, else operators."""
        if isinstance(pre, Linear) or (isinstance(pre, Sum) and (form.slope, form.offset) == (1.0, 0.0)):
            return self.compute(pre)
        value = self.settle(pre)
        if form.slope != 1.0 or not form.offset:
            # A factor of exactly 1 is folded away, and with it the operator that changes the grid.
            factor = form.slope if form.slope != 1.0 else NEARLY_ONE
            value = value * factor
        if form.offset:
            value = self.tap(f"{tap}_slope", value) + form.offset
        return value

    def apply(self, activation: Callable[..., Any], value: Any) -> Any:
        """An activation that is an operator, a table or fused into the operator before it."""
        return activation(value)

    def split(self, value: Any, parts: int) -> list[Any]:
        """Equal parts along the last axis."""
        raise NotImplementedError

    def columns(self, x: Any, first: int, last: int | None) -> Any:
        """Columns `first` to `last` (exclusive) of the input, to be an operand of `linear`."""
        return x[..., first:last]

    def real(self, tap: str, x: Any) -> Any:
        """The input, or columns of it, for element-wise use."""
        return self.tap(tap, x)

    def mask(self, tap: str, x: Any) -> Any:
        """Columns of the input that are 0 or 1, for element-wise use as a gate."""
        return self.tap(tap, x, Grid.GATE)

    def without_nan(self, x: Any) -> tuple[Any, Any]:
        """The input with 0 for NaN, and 1 where it was a number."""
        from keras import ops

        seen = ops.logical_not(ops.isnan(x))
        return ops.where(seen, x, ops.zeros_like(x)), ops.cast(seen, x.dtype)

    # -- what a subclass defines -----------------------------------------------------------------

    def tap(self, name: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        """Called once for every named intermediate with its value; returns the value to go on with."""
        return value

    def compute(self, pending: Linear | Sum) -> Any:
        """The value of a lazy operation, before its tap."""
        raise NotImplementedError

    # -- shared --------------------------------------------------------------------------------

    @property
    def state_grid(self) -> Grid:
        """Grid of the states: fixed where the mathematics bounds them."""
        form = activations.form_of(self.activation)
        if self.cell.bound is None or form is None or not form.bounded:
            return Grid.LEARNED
        return Grid.UNIT if self.cell.bound <= 1 else Grid.DOUBLE

    def grid_of(self, activation: Callable[..., Any]) -> Grid:
        """Grid of an activation's output."""
        return Grid(activations.quantized_form(activation).grid)

    def settle(self, value: Any) -> Any:
        """The tapped value of a lazy operation; any other value as it is."""
        if isinstance(value, Linear | Sum):
            return self.tap(value.tap, self.compute(value))
        return value

    def run(self, x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """One step of the cell, with zoneout."""
        self._low.clear()
        output, new = self.cell.step(self, x, tuple(states))
        self._low.clear()
        zoned = [
            self.zone_out(tap, name, old, value)
            for tap, name, old, value in zip(self.cell.state_taps, self.cell.states, states, new, strict=True)
        ]
        kept = [after for before, after in zip(new, zoned) if before is output]
        return (kept[0] if kept else output), zoned

    def zone_out(self, tap: str, name: str, old: Any, new: Any) -> Any:
        """In inference the mean `new + zoneout * (old - new)`; training keeps `old` at random (see `Float`)."""
        if tap == name:
            return new
        difference = self.tap(f"{tap}_diff", old - new)
        step = self.tap(f"{tap}_step", difference * self.cell.zoneout)
        return self.tap(tap, new + step, self.state_grid)


#: A factor that changes a value's grid and nothing else.
NEARLY_ONE = 0.999999
