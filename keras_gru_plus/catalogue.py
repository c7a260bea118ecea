"""What can be said of a variant without building a layer: sizes, costs, equations, source. Needs no Keras."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from typing import Any

from . import activations
from .cells import Cell
from .plan import trace


@dataclasses.dataclass(frozen=True)
class Facts:
    """One variant at a given size.

    Attributes:
        name, source, summary: as its definition has them.
        options: the arguments it takes, with their defaults.
        parameters: weights, with biases.
        multiplies: multiplications of the matmuls of a step, and its element-wise operations; no activations.
        states: sizes of the state tensors.
        bound: of the states with the variant's own activation, None where there is none.
        scan: whether training can do without a loop over time.
        equations: as plain text.
    """

    name: str
    source: str
    summary: str
    options: dict[str, Any]
    parameters: int
    multiplies: int
    states: tuple[int, ...]
    bound: float | None
    scan: bool
    equations: list[str]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {**dataclasses.asdict(self), "states": list(self.states)}


def facts(cell: Cell, features: int, units: int) -> Facts:
    """What a variant costs for `features` input columns and `units` units.

    Raises:
        ValueError: sizes that the variant cannot have.
    """
    if features < 1 or units < 1:
        raise ValueError(f"Expected `features` and `units` to be 1 or more, got {features} and {units}.")
    cell.check(features, units)
    cell = cell.for_sizes(features, units)
    shapes = cell.weights(features, units, use_bias=True)
    plan = trace(cell, quantized=False)
    multiplies = plan.elementwise * units
    for linear in plan.linears:
        for operand in linear.operands:
            rows, columns = shapes[operand.weight]
            multiplies += rows * (len(linear.gates) * units if linear.gates else columns)
    parameters = inspect.signature(type(cell)).parameters.values()
    form = activations.form_of(cell.activation)
    document = inspect.getdoc(type(cell)) or ""
    return Facts(
        name=cell.name,
        source=cell.source,
        summary=document.split("\n\n")[0].replace("\n", " ").replace("`", ""),
        options={p.name: p.default for p in parameters if p.name != "values"},
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        multiplies=multiplies,
        states=cell.state_sizes(features, units),
        bound=cell.bound if form is not None and form.bounded else None,
        scan=cell.scan,
        equations=equations(cell),
    )


def equations(cell: Cell) -> list[str]:
    """The displayed equations of a variant's docstring, one a line, in plain text."""
    found: list[str] = []
    for block in re.findall(r"\$\$(.+?)\$\$", inspect.getdoc(type(cell)) or "", flags=re.DOTALL):
        found += [plain(part) for part in re.split(r",\s*\\quad", block.replace("\n", " "))]
    return found


_SYMBOLS = {
    "varphi": "φ", "varsigma": "ς", "sigma": "σ", "odot": "·", "alpha": "α", "beta": "β", "gamma": "γ", "zeta": "ζ",
    "delta": "δ", "theta": "θ", "eta": "η", "nu": "ν", "mu": "μ", "max": "max", "ldots": "…", "cdot": "·",
    "circ": "°", "ge": "≥", "pm": "±",
}  # fmt: skip


def plain(formula: str) -> str:
    """A LaTeX formula as text: the little that the variants use."""
    formula = re.sub(r"\\text\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}", r" \1", formula)
    formula = re.sub(r"\\sqrt\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}", r"√(\1)", formula)
    formula = re.sub(r"\\(?:hat|tilde)\s*(\w)", r"\1^", formula)
    formula = formula.replace(r"\quad", "  ").replace(r"\_", "_").replace("x^\\circ", "x°")
    formula = re.sub(r"\\([a-zA-Z]+)", lambda match: _SYMBOLS.get(match[1], match[1]), formula)
    formula = re.sub(r"_\{?\\?(\w+)\}?", r"_\1", formula)
    return " ".join(formula.replace("{", "(").replace("}", ")").replace("$", "").split())
