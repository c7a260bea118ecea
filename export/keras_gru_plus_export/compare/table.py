"""Runs as a table: mean and 95 % interval over the seeds, ties, Pareto fronts; the same runs give the same bytes."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from .plan import STOCK, Configuration, Limits, Run

#: Costs that a front is drawn for.
COSTS = ("flash", "ram", "insns")
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Score:
    """Mean over seeds with the half width of its 95 % interval (Student's t); None for a single seed."""

    mean: float
    half: float | None
    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Score:
        """From one value a seed."""
        mean = float(np.mean(values))
        if len(values) < 2:
            return cls(mean, None, tuple(values))
        width = scipy.stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
        return cls(mean, float(width), tuple(values))

    def overlaps(self, other: Score) -> bool | None:
        """Whether the intervals do; None where there is none."""
        if self.half is None or other.half is None:
            return None
        return abs(self.mean - other.mean) <= self.half + other.half

    def to_json(self) -> dict[str, Any]:
        """mean, half_width and values."""
        return {"mean": self.mean, "half_width": self.half, "values": list(self.values)}


@dataclasses.dataclass(frozen=True)
class Row:
    """A model over its seeds.

    Attributes:
        configuration: the model.
        seeds: that are done.
        float, int8, validation: scores on the test part, and int8 on the validation part; None where not known.
        parameters: of the whole model.
        costs: flash, ram, insns, macs; the largest of the seeds.
        tie: whether the int8 interval (float for a baseline) overlaps that of the best row of its kind; None for
            the best itself, and where there are no intervals.
        fronts: costs on whose Pareto front it is.
        fits: inside the limits; None without limits.
        failed: reason why it cannot be done.
        stock: what the stock converters did, for a baseline.
        latency_us: median over the seeds, on LiteRT; another run measures otherwise.
    """

    configuration: Configuration
    seeds: int = 0
    float: Score | None = None
    int8: Score | None = None
    validation: Score | None = None
    parameters: int | None = None
    costs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tie: bool | None = None
    fronts: tuple[str, ...] = ()
    fits: bool | None = None
    failed: str | None = None
    stock: Mapping[str, Any] | None = None
    latency_us: Any = None


@dataclasses.dataclass(frozen=True)
class Table:
    """All rows, best first; baselines apart.

    Attributes:
        metric: "accuracy" or "mae".
        rows: of int8 models, by their mean on the test part.
        baselines: of Keras' layers, by theirs in float.
        done, total: runs.
        winner: the run whose model is bundled, None while there is none.
    """

    metric: str
    rows: list[Row]
    baselines: list[Row]
    done: int
    total: int
    winner: Run | None

    @property
    def best(self) -> Row | None:
        """The row of the best mean on the test part."""
        return next((row for row in self.rows if row.int8 is not None), None)


def make(results: Mapping[Run, Mapping[str, Any]], metric: str, total: int, limits: Limits | None = None) -> Table:
    """The table of the runs that are done.

    Args:
        results: by run; their order is of no account.
        metric: "accuracy" (more is better) or "mae" (less is).
        total: runs that there are to be.
        limits: of a device, if any.
    """
    sign = -1.0 if metric == "accuracy" else 1.0
    grouped: dict[Configuration, dict[int, Mapping[str, Any]]] = {}
    for run in sorted(results):
        grouped.setdefault(run.configuration, {})[run.seed] = results[run]
    every = [_row(own, found, limits) for own, found in grouped.items()]

    def order(row: Row) -> Any:
        score = row.int8 or row.float
        return (score is None, sign * score.mean if score else 0.0, row.costs.get("flash", 0), row.configuration)

    rows = sorted((row for row in every if not row.configuration.is_baseline), key=order)
    baselines = sorted((row for row in every if row.configuration.is_baseline), key=order)
    rows = _with_ties(rows, "int8")
    fronts = {cost: front(rows, cost, sign) for cost in COSTS}
    rows = [
        dataclasses.replace(row, fronts=tuple(cost for cost in COSTS if row.configuration in fronts[cost]))
        for row in rows
    ]
    return Table(metric, rows, _with_ties(baselines, "float"), len(results), total, _winner(results, rows, sign))


def _row(configuration: Configuration, found: Mapping[int, Mapping[str, Any]], limits: Limits | None) -> Row:
    stock = found.get(STOCK, {}).get("stock")
    trained = {seed: result for seed, result in found.items() if seed != STOCK}
    failed = next((result["failed"] for result in trained.values() if "failed" in result), None)
    good = [result for result in trained.values() if "failed" not in result]
    if not good:
        return Row(configuration, failed=failed, stock=stock)

    def score(key: str) -> Score | None:
        return Score.of([result[key] for result in good]) if all(key in result for result in good) else None

    costs = {}
    for cost in (*COSTS, "macs"):
        known = [result.get(cost) for result in good]
        costs[cost] = None if None in known else max(value for value in known if value is not None)
    times = [result["times"]["latency_us"] for result in good if "latency_us" in result.get("times", {})]
    return Row(
        configuration,
        len(good),
        score("float"),
        score("int8"),
        score("int8_validation"),
        max(result["parameters"] for result in good),
        costs,
        fits=None if limits is None else limits.fit(costs),
        failed=failed,
        stock=stock,
        latency_us=float(np.median(times)) if times else None,
    )


def _with_ties(rows: list[Row], kind: str) -> list[Row]:
    best = next((getattr(row, kind) for row in rows if getattr(row, kind) is not None), None)
    if best is None:
        return rows
    return [rows[0]] + [
        row if getattr(row, kind) is None else dataclasses.replace(row, tie=best.overlaps(getattr(row, kind)))
        for row in rows[1:]
    ]


def front(rows: Sequence[Row], cost: str, sign: float) -> list[Configuration]:
    """Models of which no other is as cheap and as good, and in one of both better: cheapest first."""
    known = [row for row in rows if row.int8 is not None and row.costs.get(cost) is not None]
    found: list[Configuration] = []
    least = math.inf
    for row in sorted(known, key=lambda row: (row.costs[cost], sign * _mean(row), row.configuration)):
        if sign * _mean(row) < least:
            least = sign * _mean(row)
            found.append(row.configuration)
    return found


def _mean(row: Row) -> float:
    assert row.int8 is not None
    return row.int8.mean


def _winner(results: Mapping[Run, Mapping[str, Any]], rows: Sequence[Row], sign: float) -> Run | None:
    """Best mean on the validation part among models with the most seeds, inside the limits; then its best seed."""
    able = [row for row in rows if row.validation is not None and row.fits is not False and row.failed is None]
    if not able:
        return None
    most = max(row.seeds for row in able)

    def order(row: Row) -> Any:
        assert row.validation is not None
        return (sign * row.validation.mean, row.costs["flash"], row.configuration)

    chosen = min((row for row in able if row.seeds == most), key=order).configuration
    runs = [run for run in results if run.configuration == chosen and "int8_validation" in results[run]]
    return min(runs, key=lambda run: (sign * results[run]["int8_validation"], run.seed))


def text_of(value: float | None, metric: str) -> str:
    """A score for a table: accuracy in percent."""
    if value is None:
        return ""
    return f"{100 * value:.2f}" if metric == "accuracy" else f"{value:.5g}"


def tie_text(row: Row, table: Table) -> str:
    """best, tie, worse, or nothing where one seed does not tell."""
    first = table.baselines if row.configuration.is_baseline else table.rows
    if first and row is first[0] and (row.int8 or row.float):
        return "best"
    return "" if row.tie is None else "tie" if row.tie else "worse"


def to_csv(table: Table) -> str:
    """A line a model: nothing in it depends on the machine's speed."""
    unit = "_%" if table.metric == "accuracy" else ""
    heads = ["variant", "units", "activation", "rank", "seeds", "parameters", "macs_per_step"]
    for kind in ("float", "int8", "int8_validation"):
        heads += [f"{table.metric}_{kind}{unit}", f"{table.metric}_{kind}_half_width{unit}"]
    heads += ["file_bytes", "arena_bytes", "instructions_per_step", "to_best", "fronts", "fits", "failed"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(heads)
    for row in [*table.rows, *table.baselines]:
        own = row.configuration
        line: list[Any] = [own.variant, own.units, own.activation, own.rank, row.seeds, row.parameters]
        line.append(None if row.costs.get("macs") is None else round(row.costs["macs"]))
        for score in (row.float, row.int8, row.validation):
            ends = (None, None) if score is None else (score.mean, score.half)
            line += [text_of(value, table.metric) for value in ends]
        line += [row.costs.get(cost) for cost in COSTS]
        fits = "" if row.fits is None else "yes" if row.fits else "no"
        line += [tie_text(row, table), " ".join(row.fronts), fits, row.failed]
        writer.writerow(["" if value is None else value for value in line])
    return out.getvalue()


def to_json(table: Table, results: Mapping[Run, Mapping[str, Any]]) -> dict[str, Any]:
    """Rows and runs as plain values; what depends on the machine's speed stands under "times"."""

    def row(one: Row) -> dict[str, Any]:
        scores = {
            name: getattr(one, name) and getattr(one, name).to_json() for name in ("float", "int8", "validation")
        }
        plain = {"parameters": one.parameters, "costs": dict(one.costs), "to_best": tie_text(one, table)}
        rest = {"fronts": list(one.fronts), "fits": one.fits, "failed": one.failed, "stock": one.stock}
        return {**dataclasses.asdict(one.configuration), "seeds": one.seeds, **scores, **plain, **rest}

    runs = [
        {**run.parameters, "result": {key: value for key, value in results[run].items() if key != "times"}}
        for run in sorted(results)
    ]
    return {
        "metric": table.metric,
        "runs_done": table.done,
        "runs_total": table.total,
        "winner": table.winner and table.winner.parameters,
        "rows": [row(one) for one in table.rows],
        "baselines": [row(one) for one in table.baselines],
        "runs": runs,
        "times": {str(row.configuration): {"latency_us": row.latency_us} for row in table.rows if row.latency_us},
    }
