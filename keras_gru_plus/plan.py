"""What one step of a cell consists of: `Trace` runs a cell on nothing and lists its linears and taps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from . import activations
from .arithmetic import Arithmetic, Grid, Linear, Operand, Sum
from .cells import Cell


@dataclass(frozen=True)
class PlannedOperand:
    """One operand of a linear: the weight, and the taps of the values side by side ("x" for an input)."""

    weight: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class PlannedLinear:
    """One linear of a cell: which gates, which operands, and the saturating activation that follows."""

    tap: str
    gates: tuple[str, ...]
    operands: tuple[PlannedOperand, ...]
    bias: str | None = None
    slope: float = 1.0
    offset: float = 0.0


@dataclass
class Plan:
    """What one step of a cell consists of, in order.

    Attributes:
        linears: matmuls.
        taps: name → grid of every intermediate.
        constants: names of those that the step uses.
        activations: the functions used.
        elementwise: operations that each cost one multiply or addition per unit.
    """

    linears: list[PlannedLinear] = field(default_factory=list)
    taps: dict[str, Grid] = field(default_factory=dict)
    constants: list[str] = field(default_factory=list)
    activations: list[Callable[..., Any]] = field(default_factory=list)
    elementwise: int = 0


class Trace(Arithmetic):
    """Runs a cell's step on nothing and records its `Plan`."""

    def __init__(self, cell: Cell, activation: Any, recurrent_activation: Any, known: dict[str, Grid] | None) -> None:
        super().__init__(cell, activation, recurrent_activation)
        self.folds_saturation = known is not None  # type: ignore[misc]
        self.plan = Plan()
        #: Grids of states, which a step reads before it writes them.
        self.known = known or {}

    def tap(self, name: str, value: Any, grid: Grid = Grid.LEARNED) -> Any:
        if name in self.plan.taps:
            raise ValueError(f"Expected each tap of {self.cell.name!r} once, got {name!r} twice.")
        self.plan.taps[name] = grid
        return _Value(self.plan, name)

    def constant(self, name: str) -> Any:
        if name not in self.plan.constants:
            self.plan.constants.append(name)
        return _Value(self.plan, name)

    def compute(self, pending: Linear | Sum) -> Any:
        if isinstance(pending, Linear):
            operands = tuple(self._planned(operand) for operand in pending.operands)
            self.plan.linears.append(PlannedLinear(pending.tap, pending.gates, operands, pending.bias))
        else:
            self.plan.elementwise += 1
        return _Value(self.plan, pending.tap)

    def _planned(self, operand: Operand) -> PlannedOperand:
        sources = tuple(value.tap for value in operand.window)
        for source in sources:
            grid = self.plan.taps.get(source, self.known.get(source, Grid.UNIT))
            if self.folds_saturation and grid is not Grid.UNIT and aligned_tap(source) not in self.plan.taps:
                self.tap(aligned_tap(source), None, Grid.UNIT)
        return PlannedOperand(operand.weight, sources)

    def split(self, value: Any, parts: int) -> list[Any]:
        return [value] * parts

    def columns(self, x: Any, first: int, last: int | None) -> Any:
        return x

    def without_nan(self, x: Any) -> tuple[Any, Any]:
        return x, x

    def gate(self, tap: str, pre: Any) -> Any:
        activation = self.recurrent_activation
        bounded = self.folds_saturation and self.cell.bound is not None
        if bounded and activations.quantized_form(activation).grid != Grid.GATE.value:
            raise ValueError(
                f"Expected a `recurrent_activation` with values in [0, 1] for variant {self.cell.name!r}, got "
                f"{activations.name_of(activation)!r}, with which the state leaves its bounds."
            )
        return super().gate(tap, pre)

    def activate(self, tap: str, pre: Any, activation: Any) -> Any:
        self.plan.activations.append(activation)
        if not self.folds_saturation:  # float: any callable will do, and `_Value` is nothing to call it on
            self.settle(pre)
            return self.tap(tap, None)
        form = activations.quantized_form(activation)
        value = super().activate(tap, pre, activation)
        if form.kind == "clip" and isinstance(pre, Linear):
            last = self.plan.linears[-1]
            self.plan.linears[-1] = replace(last, slope=form.slope, offset=form.offset)
        return value

    def apply(self, activation: Callable[..., Any], value: Any) -> Any:
        return value


class _Value:
    """Stands for any tensor in a `Trace` and counts the element-wise operations on it."""

    def __init__(self, plan: Plan, tap: str) -> None:
        self.plan = plan
        self.tap = tap

    def _operate(self, other: object) -> _Value:
        self.plan.elementwise += 1
        return _Value(self.plan, self.tap)

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _operate


def aligned_tap(source: str) -> str:
    """Tap of `source` on `Grid.UNIT`, as an operand of a linear."""
    return f"{source}_unit"


def trace(cell: Cell, activation: Any = None, recurrent_activation: Any = None, *, quantized: bool) -> Plan:
    """The plan of one step of `cell`.

    Raises:
        ValueError: if `quantized` and an activation has no int8 form in its place.
    """
    if quantized and cell.refusal:
        raise ValueError(f"Expected a variant that can be quantized, got {cell!r}: {cell.refusal}.")
    known: dict[str, Grid] = {}
    while True:
        recorder = Trace(cell, activation, recurrent_activation, known if quantized else None)
        plan = recorder.plan
        recorder.run(_Value(plan, "x"), [_Value(plan, name) for name in cell.state_taps])
        found = {name: plan.taps[name] for name in cell.state_taps if name in plan.taps}
        if found == known or not quantized:
            return plan
        known = found


def plan_of(layer: Any, *, quantized: bool = False) -> Plan:
    """The plan of a `GRUPlusCell`'s step."""
    return trace(layer.variant, layer.activation, layer.recurrent_activation, quantized=quantized)
