"""The rows of a report's tables as text: the same in the terminal and in HTML."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ._report_text import (
    KERAS,
    METRICS,
    NONE,
    change,
    count,
    is_worse,
    kilobytes,
    percent,
    plain,
    runtime_name,
    score,
    significant,
    split_key,
)

if TYPE_CHECKING:
    from .analyze import Analysis
    from .report import Report, TapRange
    from .results import OutputResult, Result

#: Grids that the kernels fix; the others are set by data.
FIXED = ("gate", "unit", "double")


@dataclasses.dataclass(frozen=True)
class ResultRow:
    """One way to run the model; `worse` if it scores lower than float, `reason` why it was not run."""

    runtime: str
    version: str
    samples: str
    score: str
    change: str
    agreement: str
    largest: str
    mean: str
    worse: bool
    reason: str | None


@dataclasses.dataclass(frozen=True)
class OutputRow:
    """One of several outputs on one way to run the model."""

    output: str
    metric: str
    runtime: str
    score: str
    change: str
    agreement: str
    largest: str
    worse: bool


@dataclasses.dataclass(frozen=True)
class FileRow:
    """One file: sizes in kB, work and memory of one invoke."""

    name: str
    mode: str
    size: str
    weights: str
    rest: str
    macs: str
    arena: str
    operators: str


@dataclasses.dataclass(frozen=True)
class OperatorRow:
    """An operator of a subgraph with its types."""

    name: str
    inputs: str
    outputs: str
    count: str


@dataclasses.dataclass(frozen=True)
class TapRow:
    """A quantization point: `used` is the share of the grid that the data reached, `clipped` if it went beyond.

    `share` is that of the values that the grid clips.
    """

    layer: str
    tap: str
    grid: str
    scale: str
    zero_point: str
    low: str
    high: str
    observed: str
    used: str
    clipped: bool
    share: str


def reference_score(report: Report) -> float | None:
    """Score of the float model."""
    return next((row.score for row in report.verification.results if row.runtime == "float"), None)


def main_result(report: Report) -> Result | None:
    """The result that stands for the file: of the target's own runtime, else of the first that ran."""
    ran = [row for row in report.verification.results if row.runtime not in KERAS and row.reason is None]
    return next((row for row in ran if row.runtime == report.target), ran[0] if ran else None)


def result_rows(report: Report) -> list[ResultRow]:
    """Results by runtime, float first."""
    metric, reference = report.verification.metric, reference_score(report)
    return [
        ResultRow(
            runtime=runtime_name(row.runtime),
            version=row.version or NONE,
            samples=count(row.samples) if row.samples else NONE,
            score=score(metric, row.score),
            change=NONE if row.runtime == "float" else change(metric, row.score, reference),
            agreement=percent(row.agreement),
            largest=_largest(row),
            mean=NONE if row.mean_lsb is None else f"{row.mean_lsb:.3f}",
            worse=is_worse(metric, row.score, reference),
            reason=row.reason,
        )
        for row in report.verification.results
    ]


def output_rows(report: Report) -> list[OutputRow]:
    """Results of each output of a model with several; none for a model with one."""
    ran = [result for result in report.verification.results if result.outputs]
    found = []
    for place, reference in enumerate(ran[0].outputs if ran else []):
        metric = reference.metric
        for result in ran:
            row = result.outputs[place]
            found.append(
                OutputRow(
                    output=row.name,
                    metric=METRICS[metric] if row.score is not None else NONE,
                    runtime=runtime_name(result.runtime),
                    score=score(metric, row.score),
                    change=NONE if result.runtime == "float" else change(metric, row.score, reference.score),
                    agreement=percent(row.agreement),
                    largest=_largest(row),
                    worse=is_worse(metric, row.score, reference.score),
                )
            )
    return found


def _largest(row: Result | OutputResult) -> str:
    if row.largest_difference is not None:
        return significant(row.largest_difference, 2)
    return NONE if row.largest_lsb is None else count(row.largest_lsb)


def sample_text(report: Report) -> str:
    """How many samples of what, "400 evaluation samples", and at which of several outputs."""
    where = "" if report.verification.output is None else f", output {report.verification.output}"
    counts = sorted({row.samples for row in report.verification.results if row.samples}, reverse=True)
    return f"{' / '.join(map(count, counts)) or 'no'} {report.verification.source} samples{where}"


def file_rows(report: Report) -> list[FileRow]:
    """Files with their sizes."""
    return [
        FileRow(
            name=file.name,
            mode=file.mode,
            size=kilobytes(file.analysis.file_bytes),
            weights=kilobytes(file.analysis.weight_bytes),
            rest=kilobytes(file.analysis.file_bytes - file.analysis.weight_bytes),
            macs=count(file.analysis.macs),
            arena=NONE if file.arena is None else kilobytes(file.arena),
            operators=str(sum(row.count for row in file.analysis.operators)),
        )
        for file in report.files
    ]


def equality_lines(report: Report) -> list[tuple[str, bool]]:
    """Bit-equalities, runtimes with the same outcome in one line; and whether the files are equal."""
    groups: dict[tuple[str, str, int, int], list[str]] = {}
    for equality in report.verification.equalities:
        key = (equality.mode, equality.reference, equality.samples, equality.differing)
        groups.setdefault(key, []).append(equality.runtime)
    return [
        (
            f"{mode} {'≠' if bad else '='} {reference} on {', '.join(runtimes)}: {samples} samples, {bad} differing",
            not bad,
        )
        for (mode, reference, samples, bad), runtimes in groups.items()
    ]


def stage_rows(report: Report) -> list[tuple[str, str, str, str]]:
    """Name, score, change since the first stage, detail."""
    metric = report.verification.metric
    return [
        (
            stage.name,
            score(metric, stage.score),
            change(metric, stage.score, report.stages[0].score) if index else NONE,
            stage.detail,
        )
        for index, stage in enumerate(report.stages)
    ]


def roles(analysis: Analysis) -> dict[int, str]:
    """Subgraph → what it is, "WHILE body × 28"."""
    trips = {loop.body: "unknown" if loop.trip_count is None else loop.trip_count for loop in analysis.loops}
    return {
        graph.subgraph: f"{graph.role} × {trips[graph.subgraph]}" if graph.subgraph in trips else graph.role
        for graph in analysis.graphs
    }


def operator_tables(analysis: Analysis) -> list[tuple[str, list[OperatorRow]]]:
    """For each subgraph its role, and its operators with types and counts."""
    return [
        (
            role,
            [
                OperatorRow(row.name, ", ".join(row.inputs), ", ".join(row.outputs), str(row.count))
                for row in analysis.operators
                if row.subgraph == subgraph
            ],
        )
        for subgraph, role in roles(analysis).items()
    ]


def taps_by_layer(taps: Iterable[TapRange]) -> dict[str, list[TapRange]]:
    """Quantization points under their layers, both in the order of the model."""
    layers: dict[str, list[TapRange]] = {}
    for tap in taps:
        layers.setdefault(split_key(tap.key)[0], []).append(tap)
    return layers


def tap_row(tap: TapRange) -> TapRow:
    """One quantization point as text."""
    layer, name = split_key(tap.key)
    seen, used, clipped = NONE, NONE, False
    if tap.observed_low is not None and tap.observed_high is not None:
        seen = f"{significant(tap.observed_low, 3)} … {significant(tap.observed_high, 3)}"
        reach = max(ratio(tap.observed_low, tap.low), ratio(tap.observed_high, tap.high))
        used, clipped = f"{100 * reach:.0f} %", is_clipped(tap)
    grid = f"fixed, 1/{1 / tap.scale:.0f}" if tap.grid in FIXED else tap.grid
    ends = significant(tap.low), significant(tap.high)
    scale, zero_point, share = significant(tap.scale, 6), str(tap.zero_point), percent(tap.clipped)
    return TapRow(layer, name, grid, scale, zero_point, *ends, seen, used, clipped, share)


def ratio(observed: float, end: float) -> float:
    """How far towards an end of the grid a value goes; 0 on the other side of zero."""
    return max(observed / end, 0.0) if end else 0.0


def beyond(tap: TapRange) -> float:
    """How far data went beyond the grid, in its real unit; 0 where it stayed inside."""
    if tap.observed_low is None or tap.observed_high is None:
        return 0.0
    return max(tap.low - tap.observed_low, tap.observed_high - tap.high, 0.0)


def is_clipped(tap: TapRange) -> bool:
    """Whether data went beyond the grid by more than half a step, where rounding no longer brings it back."""
    return beyond(tap) > tap.scale / 2


def layer_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the layer table: a column for each key that some layer has."""
    layers: list[dict[str, Any]] = report.model.get("layers", [])
    keys = list(dict.fromkeys(key for layer in layers for key in layer if key != "parameters"))
    keys += ["parameters"] if any("parameters" in layer for layer in layers) else []
    return [key.replace("_", " ") for key in keys], [[plain(layer.get(key)) for key in keys] for layer in layers]


def variants(report: Report) -> str:
    """Recurrent layers in one line, "gru: mgu, 32 units"."""
    found = [
        f"{layer['name']}: {plain(layer['variant'])}, {plain(layer.get('units'))} units"
        for layer in report.model.get("layers", [])
        if "variant" in layer
    ]
    return "; ".join(found) or "no recurrent layer"


def recipe_text(report: Report) -> str:
    """The recipe's name and fields."""
    fields = [f"{key.replace('_', ' ')} {plain(value)}" for key, value in report.recipe.items() if key != "name"]
    return (
        f"{report.recipe.get('name', 'custom')} ({', '.join(fields)})" if fields else str(report.recipe.get("name"))
    )
