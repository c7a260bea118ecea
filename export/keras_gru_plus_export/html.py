"""A report as one HTML page that needs nothing else: style and pictures are inside."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from markupsafe import Markup

from . import _report_rows as rows
from . import _report_text as text
from . import pictures
from .templating import environment

if TYPE_CHECKING:
    from .report import Report


@dataclasses.dataclass(frozen=True)
class Tile:
    """A figure that a reader looks for first, with its unit and what to make of it."""

    label: str
    figure: str
    unit: str
    note: str
    warn: bool = False


@dataclasses.dataclass(frozen=True)
class Confusion:
    """A confusion matrix: a row for each true class, with its label and (count, share of the row, right) cells."""

    name: str
    score: str
    rows: list[tuple[str, list[tuple[int, float, bool]]]]


def render(report: Report) -> str:
    """The page for a report; the same report gives the same bytes.

    Args:
        report: of an export.

    Returns:
        HTML with its style and its pictures inside.
    """
    templates = environment(escape=True)
    templates.filters["minus"] = _minus
    return templates.get_template("report.html.j2").render(
        report=report,
        rows=rows,
        text=text,
        metric=text.METRICS.get(report.verification.metric, "Score"),
        tiles=tiles(report),
        stages=Markup(pictures.stages(report)) if len(report.stages) > 1 else None,
        sizes=Markup(pictures.sizes(report.files)) if report.files else None,
        ranges=Markup(pictures.ranges(report.taps)) if report.taps else None,
        taps={layer: list(map(rows.tap_row, taps)) for layer, taps in rows.taps_by_layer(report.taps).items()},
        clipped=any(map(rows.is_clipped, report.taps)),
        confusions=confusions(report),
    )


def _minus(figure: str) -> str:
    return figure.replace("-", "−")


def tiles(report: Report) -> list[Tile]:
    """Accuracy, file, memory and work."""
    found = [_score_tile(report)]
    if report.files:
        file, row = report.files[0], rows.file_rows(report)[0]
        found.append(Tile("File size", row.size, "kB", f"{row.weights} kB of it weights"))
        if file.arena is None:
            half = text.kind_of(report.recipe) == "float16"
            reason = "tflite-micro has no float16 weights" if half else "tflite-micro is not installed"
            found.append(Tile("Memory", text.NONE, "", f"arena not measured: {reason}"))
        else:
            found.append(Tile("Memory", row.arena, "kB", "tflite-micro arena on a 64-bit host; a device needs less"))
        trips = [str(loop.trip_count or "?") for loop in file.analysis.loops]
        steps = f", loop of {' and '.join(trips)} steps" if trips else ""
        found.append(Tile("Work", row.macs, "MACs", f"per invoke ({file.mode}{steps})"))
    return found


def _score_tile(report: Report) -> Tile:
    metric, main = report.verification.metric, rows.main_result(report)
    if main is None:
        return Tile(f"{text.kind_of(report.recipe)} model", text.NONE, "", "not run on any runtime", warn=True)
    if main.score is None and main.largest_difference is not None:
        label = f"{text.kind_of(report.recipe)} file and Keras differ by"
        return Tile(label, text.significant(main.largest_difference, 2), "", f"on {text.runtime_name(main.runtime)}")
    if main.score is None:
        lsb = text.NONE if main.largest_lsb is None else text.count(main.largest_lsb)
        label = f"{text.kind_of(report.recipe)} and fake-quant differ by"
        return Tile(label, lsb, "LSB", f"at most, on {text.runtime_name(main.runtime)}")
    reference = rows.reference_score(report)
    figure, _, unit = text.score(metric, main.score).partition(" ")
    change = text.change(metric, main.score, reference)
    points = " points" if metric == "accuracy" else ""
    note = f"float {text.score(metric, reference)}, {_minus(change)}{points} on {text.runtime_name(main.runtime)}"
    label = f"{text.kind_of(report.recipe)} {'accuracy' if metric == 'accuracy' else 'mean absolute error'}"
    return Tile(label, figure, unit, note, warn=text.is_worse(metric, main.score, reference))


def confusions(report: Report) -> list[Confusion]:
    """Matrices of the float model and of the file, on its main runtime."""
    main = rows.main_result(report)
    runtimes = ["float"] + ([main.runtime] if main else [])
    found = []
    for runtime in runtimes:
        matrix = report.verification.confusion.get(runtime)
        if matrix is None:
            continue
        labels = report.labels or []
        if len(labels) != len(matrix):  # those of another output
            labels = [str(index) for index in range(len(matrix))]
        lines = [
            (labels[true], [(n, n / (sum(line) or 1), true == index) for index, n in enumerate(line)])
            for true, line in enumerate(matrix)
        ]
        name = text.runtime_name(runtime)
        if runtime != "float":
            name = f"{text.kind_of(report.recipe)} file on {name}"
        score = text.score(report.verification.metric, report.verification.of(runtime).score)
        found.append(Confusion(name, score, lines))
    return found
