"""The operations in which cells are written, in float; `Trace` lists a cell's linears and taps.

A cell says *what* it computes (`cells/`), an arithmetic *how*. Fake quantization and the exported
graph are this arithmetic with `tap` (and little else) overridden, so each equation exists once.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from . import activations
from .cells import Cell


class Grid(enum.Enum):
    """Where a tap's int8 scale and zero point come from."""

    LEARNED = "learned"  #: symmetric, zero point 0, range observed
    POSITIVE = "positive"  #: [0, max], zero point -128, range observed
    GATE = "gate"  #: scale 1/256, zero point -128: what LOGISTIC and SOFTMAX kernels write
    UNIT = "unit"  #: scale 1/128, zero point 0: what TANH writes, and every bounded state


@dataclass
class Linear:
    """Not yet computed `x @ kernel[gates] + h @ recurrent_kernel[gates] + bias[gates]`."""

    tap: str
    gates: tuple[str, ...]
    x: Any = None
    h: Any = None


@dataclass
class Sum:
    """Not yet computed `u + v`."""

    tap: str
    u: Any
    v: Any


class Arithmetic:
    """The vocabulary of cells. Subclasses compute; `tap` sees every named intermediate.

    `linear` and `add` are lazy: an activation that saturates (hard_tanh, hard_sigmoid) can then be
    folded into them in quantized arithmetic, where clipping to the output range is free.
    """

    #: Saturating activations become the clip of their tap; the linear carries slope and offset.
    folds_saturation: ClassVar[bool] = False

    def __init__(self, cell: Cell, activation: Callable[..., Any], recurrent_activation: Callable[..., Any]) -> None:
        self.cell = cell
        self.activation = activation
        self.recurrent_activation = recurrent_activation

    # -- operations that a cell uses -------------------------------------------------------------

    def linear(self, tap: str, gates: tuple[str, ...], x: Any = None, h: Any = None) -> Linear:
        """`x W + h U + b` for the column blocks of `gates`, side by side.

        `x` or `h` may be absent; a tuple `x` (a window of inputs) is concatenated, newest first.
        """
        return Linear(tap, gates, x, h)

    def add(self, tap: str, u: Any, v: Any) -> Sum:
        """`u + v`."""
        return Sum(tap, self.settle(u), self.settle(v))

    def mul(self, tap: str, u: Any, v: Any) -> Any:
        """`u * v`, element-wise."""
        return self.tap(tap, self.settle(u) * self.settle(v))

    def gated(self, tap: str, gate: Any, h: Any) -> Any:
        """`gate * h` for a gate in [0, 1] and a state: stays on the state's grid."""
        return self.tap(tap, gate * h, self.state_grid)

    def interpolate(self, tap: str, gate: Any, start: Any, end: Any) -> Any:
        """`start + gate * (end - start)`: the new state."""
        difference = self.tap(f"{tap}_diff", end - start)
        step = self.tap(f"{tap}_step", gate * difference)
        return self.tap(tap, start + step, self.state_grid)

    def gate(self, tap: str, pre: Any) -> Any:
        """The recurrent activation of `pre`."""
        return self._activate(tap, pre, self.recurrent_activation)

    def candidate(self, tap: str, pre: Any) -> Any:
        """The activation of `pre`."""
        return self._activate(tap, pre, self.activation)

    def split(self, value: Any, parts: int) -> list[Any]:
        """Equal parts along the last axis."""
        raise NotImplementedError

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
        return Grid.UNIT if self.cell.bounded else Grid.LEARNED

    def settle(self, value: Any) -> Any:
        """The tapped value of a lazy operation; any other value as it is."""
        if isinstance(value, Linear | Sum):
            return self.tap(value.tap, self.compute(value))
        return value

    def _activate(self, tap: str, pre: Any, activation: Callable[..., Any]) -> Any:
        if self.folds_saturation:
            form = activations.quantized_form(activation)
            if form.saturating:
                return self.tap(tap, self.compute(pre), Grid(form.grid))
            return self.tap(tap, activation(self.settle(pre)), Grid(form.grid))
        return self.tap(tap, activation(self.settle(pre)))


class Float(Arithmetic):
    """Plain floating point on `keras.ops`, with weights sliced once, outside the time loop.

    Args:
        layer: the `GRUPlusCell` whose weights are used.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__(layer.variant, layer.activation, layer.recurrent_activation)
        self.layer = layer
        self.input_masks: dict[str, Any] | None = None
        self.recurrent_masks: dict[str, Any] | None = None
        self.weights = {linear.tap: self.prepare(linear) for linear in plan_of(layer).linears}

    def prepare(self, linear: PlannedLinear) -> tuple[Any, Any, Any]:
        """Kernel, recurrent kernel and bias for the gates of one linear; None where there is none."""
        kernel = self.block("kernel", self.cell.kernel, linear.gates) if linear.x else None
        recurrent = self.block("recurrent_kernel", self.cell.recurrent_kernel, linear.gates) if linear.h else None
        return kernel, recurrent, self.bias(linear)

    def bias(self, linear: PlannedLinear) -> Any:
        """The sum of the biases that belong to one linear (see `Cell`), or None."""
        if not self.layer.use_bias:
            return None
        parts = []
        gates = linear.gates
        if set(gates) <= set(self.cell.bias) and (linear.x or not set(gates) & set(self.cell.kernel)):
            parts.append(self.block("bias", self.cell.bias, gates))
        if linear.h and set(gates) <= set(self.cell.recurrent_bias):
            parts.append(self.block("recurrent_bias", self.cell.recurrent_bias, gates))
        return sum(parts[1:], parts[0]) if parts else None

    def block(self, weight: str, order: tuple[str, ...], gates: tuple[str, ...]) -> Any:
        """The columns of `gates` out of a weight whose column blocks are `order`."""
        from keras import ops

        value = self.layer.weight(weight)
        units = self.layer.units
        if gates == order:
            return value
        first = order.index(gates[0])
        if order[first : first + len(gates)] == gates:
            return value[..., first * units : (first + len(gates)) * units]
        return ops.concatenate([self.block(weight, order, (gate,)) for gate in gates], axis=-1)

    def compute(self, pending: Linear | Sum) -> Any:
        from keras import ops

        if isinstance(pending, Sum):
            return pending.u + pending.v
        kernel, recurrent, bias = self.weights[pending.tap]
        parts = []
        if pending.x is not None:
            parts.append(self._matmul(pending.x, kernel, pending.gates, self.input_masks))
        if pending.h is not None:
            parts.append(self._matmul(pending.h, recurrent, pending.gates, self.recurrent_masks))
        if bias is not None:
            parts.append(bias)
        return sum(parts[1:], parts[0]) if len(parts) > 1 else ops.convert_to_tensor(parts[0])

    def _matmul(self, value: Any, kernel: Any, gates: tuple[str, ...], masks: dict[str, Any] | None) -> Any:
        from keras import ops

        window = value if isinstance(value, tuple) else (value,)
        if masks is None:
            return ops.matmul(_joined(window), kernel)
        blocks = ops.split(kernel, len(gates), axis=-1)
        parts = [
            ops.matmul(_joined([part * masks[gate] for part in window]), block) for gate, block in zip(gates, blocks)
        ]
        return _joined(parts)

    def split(self, value: Any, parts: int) -> list[Any]:
        from keras import ops

        return list(ops.split(value, parts, axis=-1))

    # -- the time loop ---------------------------------------------------------------------------

    def carried(self, batch: Any) -> list[Any]:
        """Further loop states, each `(batch, n)`; float arithmetic carries none."""
        return []

    def run(self, x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        """One step of the cell on `states` (with what `carried` added at the end)."""
        output, new = self.cell.step(self, x, tuple(states))
        return output, list(new)

    def absorb(self, carried: list[Any]) -> None:
        """Takes what the loop carried, once after it."""


def _joined(parts: Sequence[Any]) -> Any:
    from keras import ops

    return ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class PlannedLinear:
    """One linear of a cell: which gates, which operands, and the saturating activation that follows."""

    tap: str
    gates: tuple[str, ...]
    x: bool
    h: bool
    slope: float = 1.0
    offset: float = 0.0


@dataclass
class Plan:
    """What one step of a cell consists of, in order."""

    linears: list[PlannedLinear] = field(default_factory=list)
    taps: dict[str, Grid] = field(default_factory=dict)
    #: Element-wise operations that each cost one multiply or addition per unit.
    elementwise: int = 0


class Trace(Arithmetic):
    """Runs a cell's step on nothing and records its `Plan`."""

    def __init__(self, cell: Cell, activation: Any, recurrent_activation: Any, quantized: bool) -> None:
        super().__init__(cell, activation, recurrent_activation)
        self.folds_saturation = quantized  # type: ignore[misc]
        self.plan = Plan()

    def tap(self, name: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        if name in self.plan.taps:
            raise ValueError(f"Expected each tap of {self.cell.name!r} once, got {name!r} twice.")
        self.plan.taps[name] = grid
        return value

    def compute(self, pending: Linear | Sum) -> Any:
        if isinstance(pending, Linear):
            has_x, has_h = pending.x is not None, pending.h is not None
            self.plan.linears.append(PlannedLinear(pending.tap, pending.gates, has_x, has_h))
        return _Value(self.plan)

    def split(self, value: Any, parts: int) -> list[Any]:
        return [value] * parts

    def gate(self, tap: str, pre: Any) -> Any:
        activation = self.recurrent_activation
        bounded = self.folds_saturation and self.cell.bounded
        if bounded and activations.quantized_form(activation).grid != Grid.GATE.value:
            raise ValueError(
                f"Expected a `recurrent_activation` with values in [0, 1] for variant {self.cell.name!r}, got "
                f"{activations.name_of(activation)!r}, with which the state leaves [-1, 1]."
            )
        return super().gate(tap, pre)

    def _activate(self, tap: str, pre: Any, activation: Any) -> Any:
        if not self.folds_saturation:  # float: any callable will do, and `_Value` is nothing to call it on
            self.settle(pre)
            return self.tap(tap, _Value(self.plan))
        form = activations.quantized_form(activation)
        if not form.saturating:
            self.settle(pre)
        elif not isinstance(pre, Linear | Sum):
            raise ValueError(
                f"Expected an activation that is an operator of its own for {tap!r} of variant {self.cell.name!r}, "
                f"got {activations.name_of(activation)!r}; use 'tanh' or 'sigmoid' there."
            )
        else:
            value = self.compute(pre)
            if isinstance(pre, Linear):
                planned = self.plan.linears[-1]
                self.plan.linears[-1] = PlannedLinear(
                    planned.tap, planned.gates, planned.x, planned.h, form.slope, form.offset
                )
            elif (form.slope, form.offset) != (1.0, 0.0):
                raise ValueError(
                    f"Expected an activation whose slope is 1 after a sum in variant {self.cell.name!r}, got "
                    f"{activations.name_of(activation)!r}; use 'hard_tanh', 'tanh' or 'sigmoid' there."
                )
            del value
        return self.tap(tap, _Value(self.plan), Grid(form.grid))


class _Value:
    """Stands for any tensor in a `Trace` and counts the element-wise operations on it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def _operate(self, other: object) -> _Value:
        self.plan.elementwise += 1
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _operate


def trace(cell: Cell, activation: Any = None, recurrent_activation: Any = None, *, quantized: bool) -> Plan:
    """The plan of one step of `cell`.

    Raises:
        ValueError: if `quantized` and an activation has no int8 form in its place.
    """
    recorder = Trace(cell, activation, recurrent_activation, quantized)
    states = tuple(_Value(recorder.plan) for _ in cell.state_sizes(1, 1))
    cell.step(recorder, _Value(recorder.plan), states)
    return recorder.plan


def plan_of(layer: Any, *, quantized: bool = False) -> Plan:
    """The plan of a `GRUPlusCell`'s step."""
    return trace(layer.variant, layer.activation, layer.recurrent_activation, quantized=quantized)
