"""Writes the two C files of a plan."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..templating import environment
from . import fit
from .graph import End, Graph, read
from .kernels import ExactSum
from .plan import Place, Plan, Step, planned, resolve
from .simplify import arithmetic, simplified
from .values import Binary, Constant, Joined, Linear, Softmax, Unary, Unsupported, Value

#: Longest line of a table.
_WIDTH = 110


@dataclasses.dataclass(frozen=True)
class Sources:
    """The two files, bytes of the state's struct, of the stack arrays, and of constants."""

    source: str
    header: str
    state_bytes: int
    scratch_bytes: int
    constant_bytes: int


@dataclasses.dataclass(frozen=True)
class _Array:
    name: str
    type: str
    size: int
    text: str


def compile_step(data: bytes, labels: list[str] | None = None) -> Sources:
    """C99 for an int8 `.tflite` file of mode `step`, with exactly TFLite Micro's integers.

    Args:
        data: the file.
        labels: names of the outputs' classes, for a comment.

    Raises:
        Unsupported: the file holds something that there is no C for.
    """
    graph = simplified(read(data))
    return _Emitter(graph, planned(graph)).sources(labels)


def c_name(name: str) -> str:
    """A name as a C identifier."""
    found = re.sub(r"\W", "_", name, flags=re.ASCII)
    return found if found[:1].isalpha() else f"n{found}"


def c_numbers(values: Iterable[float]) -> str:
    """Constants of type float, with commas between them."""
    words = [f"{value:.9g}" for value in values]
    return ", ".join(f"{word}f" if "." in word or "e" in word else f"{word}.0f" for word in words)


class _Emitter:
    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph, self.plan = graph, plan
        self.arrays: list[_Array] = []
        self.linears: list[dict[str, Any]] = []
        self.names: dict[tuple[str, bytes], str] = {}
        self.sums = self.softmax = False
        self.bytes = 0

    def sources(self, labels: list[str] | None) -> Sources:
        steps = [text for step in self.plan.steps for text in self._step(step)]
        templates = environment(escape=False)
        states = [end for end, _ in self.graph.states]
        names = {
            "inputs": self._ends(self.graph.inputs, "x"),
            "outputs": self._ends([end for end, _ in self.graph.outputs], "y"),
            "states": [{"end": end, "field": self._field(end.name), "name": self._macro(end.name)} for end in states],
        }
        context = {
            **names,
            "arrays": self.arrays,
            "linears": self.linears,
            "steps": steps,
            "scratch": self.plan.scratch,
            "state_bytes": sum(end.size for end in states),
            "constant_bytes": self.bytes,
            "per_row": any(one["per_row"] for one in self.linears),
            "left": any(min(one["shifts"]) < 0 for one in self.linears),
            "flat": any(min(one["shifts"]) <= 0 for one in self.linears),
            "sums": self.sums,
            "softmax": self.softmax,
            "labels": labels or [],
            "numbers": c_numbers,
        }
        source = templates.get_template("standalone.c.j2").render(context)
        header = templates.get_template("standalone.h.j2").render(context)
        return Sources(source, header, sum(end.size for end in states), self.plan.scratch, self.bytes)

    def _ends(self, ends: list[End], letter: str) -> list[dict[str, Any]]:
        return [
            {"end": end, "argument": letter if len(ends) == 1 else f"{letter}_{c_name(end.name)}"}
            | {"name": self._macro(end.name)}
            for end in ends
        ]

    @staticmethod
    def _macro(name: str) -> str:
        return "KGP_" + c_name(name).upper()

    @staticmethod
    def _field(name: str) -> str:
        return c_name(name.removeprefix("state_"))

    # -- memory ------------------------------------------------------------------------------------

    def _at(self, place: Place) -> str:
        name, start = place.block.name, place.start
        if not name:
            base, start = "scratch", start + place.block.offset
        elif name.endswith(" input"):
            base = self._argument(name.removesuffix(" input"), self.graph.inputs, "x")
        elif name.endswith(" output"):
            base = self._argument(name.removesuffix(" output"), [end for end, _ in self.graph.outputs], "y")
        else:
            base = f"state->{self._field(name)}"
        return f"{base} + {start}" if start else base

    def _argument(self, name: str, ends: list[End], letter: str) -> str:
        return letter if len(ends) == 1 else f"{letter}_{c_name(name)}"

    def _pointer(self, value: Value) -> str:
        base, start, _ = resolve(value)
        if isinstance(base, Constant):
            name = self._array("constants", "int8_t", base.values)
            return f"{name} + {start}" if start else name
        return self._at(self.plan.place(value))

    def _array(self, stem: str, type: str, values: Any) -> str:
        array = np.asarray(values)
        key = (type, array.tobytes())
        if key not in self.names:
            self.names[key] = name = f"{stem}_{len(self.arrays)}"
            self.arrays.append(_Array(name, type, array.size, _lines(array)))
            self.bytes += array.size * (1 if type == "int8_t" else 4)
        return self.names[key]

    # -- steps -------------------------------------------------------------------------------------

    def _step(self, step: Step) -> Iterable[str]:
        for place, value in step.copies:
            yield f"memcpy({self._at(place)}, {self._pointer(value)}, {value.size});"
        first = step.values[0] if step.values else None
        if isinstance(first, Linear):
            yield self._linear(first)
        elif isinstance(first, Softmax):
            self.softmax = True
            last = int(np.flatnonzero(first.exponentials)[-1]) + 1
            table = self._array("exponentials", "int32_t", first.exponentials[:last])
            yield (
                f"kgp_softmax({table}, {last}, {self._pointer(first.source)}, {self._pointer(first)}, {first.size});"
            )
        elif first is not None and not isinstance(first, Joined):
            yield self._loop(step.values)

    def _linear(self, value: Linear) -> str:
        rows, inputs = value.weights.shape
        missing = max(0, 4 - rows)  # rows of zeros, so that there are four
        weights = np.pad(value.weights, ((0, missing), (0, 0)))
        factors = value.factors if len(value.factors) > 1 else value.factors * rows
        factors = [*factors, *[factors[-1]] * missing]
        shifts = [-shift for _, shift in factors]
        offsets = [(value.zero_point << max(s, 0)) + ((1 << s) >> 1 if s > 0 else 0) for s in shifts]
        largest = int((128 * np.abs(weights).sum(axis=1) + np.abs(np.pad(value.bias, (0, missing)))).max())
        if max(shifts) > 30 or max(map(abs, offsets)) + (largest << max(0, -min(shifts))) >= 1 << 31:
            raise Unsupported("Expected FULLY_CONNECTED whose results need 32 bits at most, got one that needs more")
        name = f"linear_{len(self.linears)}"
        self.linears.append(
            {
                "name": name,
                "weights": self._array("weights", "int8_t", weights),
                "bias": self._array("bias", "int32_t", np.pad(value.bias, (0, missing))),
                "rows": rows,
                "size": rows + missing,
                "inputs": inputs,
                "per_row": len(value.factors) > 1,
                "low": value.low,
                "high": value.high,
                "factors": [factor for factor, _ in factors],
                "shifts": shifts,
                "offsets": offsets,
            }
        )
        return f"kgp_linear(&{name}, {self._pointer(value.source)}, {self._pointer(value)});"

    def _loop(self, values: list[Value]) -> str:
        inside = {id(value) for value in values}
        names: dict[tuple[int, int, int], str] = {}
        lines: list[str] = []

        def operand(value: Value) -> str:
            if id(value) in inside:
                return names[id(value), 0, 1]
            base, start, step = resolve(value)
            key = (id(base), start, step)
            if key not in names:
                names[key] = f"v{len(names)}"
                pointer = self._pointer(value)
                index = "[i]" if step else "[0]"
                text = f"({pointer}){index}" if " + " in pointer else f"{pointer}{index}"
                lines.append(f"const int32_t {names[key]} = {text};")
            return names[key]

        for value in values:
            assert isinstance(value, Unary | Binary)
            expression = self._expression(value, [operand(one) for one in value.parents()])
            names[id(value), 0, 1] = name = f"v{len(names)}"
            lines.append(f"const int32_t {name} = {expression};")
            if id(value) in self.plan.places:
                pointer = self._at(self.plan.places[id(value)])
                target = f"({pointer})[i]" if " + " in pointer else f"{pointer}[i]"
                lines.append(f"{target} = (int8_t){name};")
        body = "\n    ".join(lines)
        return f"for (i = 0; i < {values[0].size}; i++) {{\n    {body}\n}}"

    def _expression(self, value: Unary | Binary, operands: list[str]) -> str:
        form = arithmetic(value)
        if form is None:
            # Entry 0 is that of 0, entry 128 that of -128: an index without an addition.
            table = self._array("table", "int8_t", np.roll(value.table, 128))
            return f"{table}[(uint8_t){operands[0]}]"
        if isinstance(form, ExactSum):
            self.sums = True
            numbers = [*form.zeros[:2], *(n for factor in form.factors for n in factor), form.sign]
            text = ", ".join(map(str, numbers))
            return (
                f"kgp_clamp(kgp_sum({operands[0]}, {operands[1]}, {text}) + {form.zeros[2]}, {form.low}, {form.high})"
            )
        rounding = form.rounding
        if isinstance(form, fit.Affine):
            text = f"{operands[0]} * {_literal(form.factor)}"
        elif isinstance(form, fit.Sum):
            text = f"{operands[0]} * {_literal(form.first)} + {operands[1]} * {_literal(form.second)}"
        else:
            text = f"{_less(operands[0], form.first)} * {_less(operands[1], form.second)}"
            text = (
                f"(int64_t)({text}) * {_literal(form.factor)}"
                if rounding.wide
                else f"{text} * {_literal(form.factor)}"
            )
        text = _rounded(text, rounding)
        if rounding.low is None and rounding.high is None:
            return text
        low = -128 if rounding.low is None else rounding.low
        high = 127 if rounding.high is None else rounding.high
        return f"kgp_clamp({text}, {low}, {high})"


def _rounded(text: str, rounding: fit.Rounding) -> str:
    suffix = "LL" if rounding.wide else ""
    if rounding.negative:
        function = "kgp_round_wide" if rounding.wide else "kgp_round"
        return f"{function}({text}, {rounding.offset}{suffix}, {rounding.negative}{suffix}, {rounding.shift})"
    whole = f"({text} + {rounding.offset}{suffix}) >> {rounding.shift}"
    return f"(int32_t)({whole})" if rounding.wide else f"({whole})"


def _less(name: str, zero: int) -> str:
    return name if zero == 0 else f"({name} {'-' if zero > 0 else '+'} {abs(zero)})"


def _literal(number: int) -> str:
    return str(number) if number >= 0 else f"({number})"


def _lines(array: Any) -> str:
    rows: list[str] = [""]
    for number in array.ravel():
        text = f"{int(number)}," if number > -(1 << 31) else "INT32_MIN,"
        if len(rows[-1]) + len(text) > _WIDTH:
            rows.append("")
        rows[-1] += (" " if rows[-1] else "") + text
    return "\n    ".join(rows)
