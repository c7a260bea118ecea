"""How numbers, grids, shapes and config values of a report are worded, in the terminal and in HTML."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analyze import TensorInfo
    from .tflite import Grid

KERAS = {"float": "float Keras", "fake_quant": "fake-quant Keras"}
#: What int8 may lose against float before it counts as worse: points of accuracy, or percent of the error.
WORSE_POINTS, WORSE_PERCENT = 1.0, 2.0
METRICS = {"accuracy": "Accuracy", "mae": "MAE", None: "Score"}
NONE = "–"


def kind_of(recipe: dict[str, Any]) -> str:
    """What a recipe's files are called: "int8", "int16x8" with 16-bit activations, "float32" or "float16"."""
    if recipe.get("bits", 8) != 8:
        return f"float{recipe['bits'] or 32}"
    return "int16x8" if recipe.get("activation_bits") == 16 else "int8"


def is_float(recipe: dict[str, Any]) -> bool:
    """Whether a recipe's files are in floating point."""
    return kind_of(recipe).startswith("float")


def count(number: int) -> str:
    """An integer with thousands separated, "107,680"."""
    return f"{number:,}"


def kilobytes(size: int) -> str:
    """Bytes in kB of 1000: "8.46", "47.2", "141.3"."""
    return f"{size / 1000:,.{2 if size < 10_000 else 1}f}"


def significant(number: float, digits: int = 4) -> str:
    """A real number to some significant digits."""
    return f"{number:.{digits}g}"


def percent(share: float | None) -> str:
    """A share of one, "84.65 %"."""
    return NONE if share is None else f"{100 * share:.2f} %"


def score(metric: str | None, value: float | None) -> str:
    """Accuracy in percent, a mean absolute error to four digits."""
    if value is None:
        return NONE
    return percent(value) if metric == "accuracy" else significant(value)


def change(metric: str | None, value: float | None, reference: float | None) -> str:
    """Difference to a reference: points of accuracy, or the error's unit."""
    if value is None or reference is None:
        return NONE
    text = f"{100 * (value - reference):+.2f}" if metric == "accuracy" else f"{value - reference:+.2g}"
    return text if float(text) else text.lstrip("+-")


def is_worse(metric: str | None, value: float | None, reference: float | None) -> bool:
    """Whether a score is worse than the reference by more than `WORSE_POINTS` or `WORSE_PERCENT`."""
    if value is None or reference is None:
        return False
    if metric == "accuracy":
        return 100 * (reference - value) > WORSE_POINTS
    return value > (1 + WORSE_PERCENT / 100) * reference


def runtime_name(runtime: str) -> str:
    """How a runtime is called in tables."""
    return KERAS.get(runtime, runtime.replace("-reference", " reference"))


def grid_text(grid: Grid | None) -> tuple[str, str]:
    """Scale and zero point of a tensor (ranges, where there are several)."""
    if grid is None:
        return NONE, NONE
    low, high = min(grid.scales), max(grid.scales)
    scale = f"{significant(low, 3)} … {significant(high, 3)}" if grid.per_channel else significant(low, 6)
    points = sorted(set(grid.zero_points))
    return scale, str(points[0]) if len(points) == 1 else f"{points[0]} … {points[-1]}"


def shape_text(info: TensorInfo) -> str:
    """A tensor's shape, "1 × 28 × 28"."""
    return " × ".join(map(str, info.shape)) or "scalar"


def split_key(key: str) -> tuple[str, str]:
    """Layer and tap of a quantization point's key."""
    layer, _, tap = key.rpartition("/")
    return layer, tap


def plain(value: Any) -> str:
    """A config value for people: integers with thousands, serialized objects by class and arguments."""
    if value is None:
        return NONE
    if isinstance(value, bool | str | float):
        return str(value)
    if isinstance(value, int):
        return count(value)
    if isinstance(value, dict) and "class_name" in value:
        config = value.get("config")
        arguments = {k: v for k, v in config.items() if k != "name"} if isinstance(config, dict) else {}
        text = ", ".join(f"{key}={plain(argument)}" for key, argument in arguments.items())
        return (
            f"{value['class_name']}({text})"
            if text
            else str(config if isinstance(config, str) else value["class_name"])
        )
    return json.dumps(value)
