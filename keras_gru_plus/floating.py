"""The operations of cells in floating point, on `keras.ops`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .arithmetic import Arithmetic, Linear, Operand, Sum

if TYPE_CHECKING:
    from .plan import PlannedLinear


class Float(Arithmetic):
    """Plain floating point on `keras.ops`, with weights sliced once, outside the time loop.

    Args:
        layer: the `GRUPlusCell` whose weights are used.
    """

    def __init__(self, layer: Any) -> None:
        from .plan import plan_of

        super().__init__(layer.variant, layer.activation, layer.recurrent_activation)
        self.layer = layer
        self.input_masks: dict[str, Any] | None = None
        self.recurrent_masks: dict[str, Any] | None = None
        #: Mean and variance of the present batch, for a cell with batch normalization.
        self.statistics: tuple[Any, Any] | None = None
        self.linears = plan_of(layer).linears
        self.prepare_all()

    def prepare_all(self) -> None:
        """Everything that is the same in each step."""
        self.weights = {linear.tap: self.prepare(linear) for linear in self.linears}
        self.constants = {
            name: self.prepare_constant(name, value) for name, value in self.cell.constants(self).items()
        }

    def prepare(self, linear: PlannedLinear) -> tuple[list[Any], Any]:
        """The kernel of each operand and the bias for the gates of one linear; None where there is none."""
        return [self.block(operand.weight, linear.gates) for operand in linear.operands], self.bias(linear)

    def prepare_constant(self, name: str, value: Any) -> Any:
        """One of the cell's constants."""
        return value

    def constant(self, name: str) -> Any:
        return self.constants[name]

    def weight(self, name: str) -> Any:
        """The layer's weight called `name`, as the cell's equations mean it."""
        return self.cell.effective_weight(name, self)

    def bias(self, linear: PlannedLinear) -> Any:
        """The sum of the biases that belong to one linear (see `Cell`), or None."""
        parts = []
        gates = linear.gates
        if linear.bias:
            return self.weight(linear.bias) if self.layer.use_bias else None
        reads_x = any(operand.weight.startswith("kernel") for operand in linear.operands)
        reads_h = any(operand.weight.startswith("recurrent") for operand in linear.operands)
        if reads_x or not set(gates) & set(self.cell.kernel):
            parts.append(self.bias_of(gates))
        if self.layer.use_bias and reads_h and gates and set(gates) <= set(self.cell.recurrent_bias):
            parts.append(self.block("recurrent_bias", gates))
        parts = [part for part in parts if part is not None]
        return sum(parts[1:], parts[0]) if parts else None

    def bias_of(self, gates: tuple[str, ...]) -> Any:
        """Bias of `gates` with what the variant adds to it, or None."""
        from keras import ops

        has_bias = self.layer.use_bias or self.cell.implicit_bias
        owned = set(gates) & set(self.cell.bias) if has_bias else set()
        if not owned and not any(gate in self.cell.offsets for gate in gates):
            return None
        if owned == set(gates) and not set(gates) & set(self.cell.offsets):
            return self.block("bias", gates)
        parts = []
        for gate in gates:
            part = ops.full((self.layer.units,), self.cell.offsets.get(gate, 0.0), self.layer.compute_dtype)
            parts.append(part + self.block("bias", (gate,)) if gate in owned else part)
        return _joined(parts)

    def number(self, value: float) -> Any:
        """A constant of the equations, `(1,)`."""
        from keras import ops

        return ops.full((1,), value, self.layer.compute_dtype)

    def constant_gate(self, gate: str) -> Any:
        """The recurrent activation of a gate's bias, for gates that see nothing."""
        bias = self.bias_of((gate,))
        return self.recurrent_activation(self.number(0.0) if bias is None else bias)

    def block(self, weight: str, gates: tuple[str, ...]) -> Any:
        """The columns of `gates` out of a weight; all columns of one without gates."""
        from keras import ops

        value = self.weight(weight)
        units = self.layer.units
        order = self.cell.order_of(weight)
        if not gates or gates == order:
            return value
        first = order.index(gates[0])
        if order[first : first + len(gates)] == gates:
            return value[..., first * units : (first + len(gates)) * units]
        return ops.concatenate([self.block(weight, (gate,)) for gate in gates], axis=-1)

    def compute(self, pending: Linear | Sum) -> Any:
        if isinstance(pending, Sum):
            return pending.u - pending.v if pending.minus else pending.u + pending.v
        kernels, bias = self.weights[pending.tap]
        parts = [self._matmul(operand, k, pending.gates) for operand, k in zip(pending.operands, kernels)]
        if bias is not None:
            parts.append(bias)
        return sum(parts[1:], parts[0])

    def _matmul(self, operand: Operand, kernel: Any, gates: tuple[str, ...]) -> Any:
        from keras import ops

        masks = {
            "kernel": self.input_masks,
            "kernel_in": self.input_masks,
            "recurrent_kernel": self.recurrent_masks,
            "recurrent_kernel_in": self.recurrent_masks,
        }.get(operand.weight)
        if masks is None:
            return ops.matmul(_joined(operand.window), kernel)
        gates = gates or tuple(masks)[:1]  # gates that share a factor of low rank share its mask
        blocks = ops.split(kernel, len(gates), axis=-1)
        parts = [
            ops.matmul(_joined([part * masks[gate][..., : part.shape[-1]] for part in operand.window]), block)
            for gate, block in zip(gates, blocks)
        ]
        return _joined(parts)

    def split(self, value: Any, parts: int) -> list[Any]:
        from keras import ops

        return list(ops.split(value, parts, axis=-1))

    def zone_out(self, tap: str, name: str, old: Any, new: Any) -> Any:
        from keras import ops, random

        if tap == name or not self.training:
            return super().zone_out(tap, name, old, new)
        draws = random.uniform(ops.shape(new), dtype="float32", seed=self.layer.seed_generator)
        return self.tap(tap, ops.where(draws < self.cell.zoneout, old, new), self.state_grid)

    # -- the time loop ---------------------------------------------------------------------------

    def begin(self, sequences: Any, mask: Any, training: bool) -> None:
        """Called before a time loop with its whole input."""
        if self.cell.begin(self, sequences, mask, training):
            self.prepare_all()

    def carried(self, batch: Any) -> list[Any]:
        """Further loop states, each `(batch, n)`; float arithmetic carries none."""
        return []

    def absorb(self, carried: list[Any]) -> None:
        """Takes what the loop carried, once after it."""


def _joined(parts: Sequence[Any]) -> Any:
    from keras import ops

    return ops.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]
