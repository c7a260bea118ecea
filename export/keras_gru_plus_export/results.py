"""What verification found, as plain data: reports need it without Keras."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class OutputResult:
    """What one way to run the model gave at one of several outputs; the figures are those of `Result`."""

    name: str
    metric: str | None = None
    score: float | None = None
    agreement: float | None = None
    largest_lsb: int | None = None
    mean_lsb: float | None = None
    largest_difference: float | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """What one way to run the model gave: at its only output, or at the one that `Verification` names.

    Attributes:
        runtime: "float", "fake_quant" or a runtime's name.
        version: of the runtime.
        samples: how many.
        score: accuracy or mean absolute error; None without targets.
        agreement: share of samples with the fake-quant model's class; for metric "mae", and for a single
            output without a metric, share of values within 1 LSB of it.
        largest_lsb, mean_lsb: difference from the fake-quant model in steps of the output's grid.
        largest_difference: from the model, of a file that is in floating point.
        reason: why it did not run.
        outputs: of a model with several outputs, each of them.
    """

    runtime: str
    version: str | None = None
    samples: int = 0
    score: float | None = None
    agreement: float | None = None
    largest_lsb: int | None = None
    mean_lsb: float | None = None
    largest_difference: float | None = None
    reason: str | None = None
    outputs: list[OutputResult] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Equality:
    """Whether two modes' files gave the same outputs on one runtime: integers, or floats within `TOLERANCES`."""

    runtime: str
    mode: str
    reference: str
    samples: int
    differing: int


@dataclasses.dataclass(frozen=True)
class Verification:
    """All results for one model.

    Attributes:
        metric: "accuracy", "mae" or None without targets.
        source: where the samples came from: "evaluation", "calibration" or "random".
        results: one for each way to run the model.
        equalities: modes compared within each runtime.
        confusion: runtime → matrix `[true, predicted]` of counts.
        output: of several outputs, the one that metric, results and confusion are of: the first with targets.
    """

    metric: str | None
    source: str
    results: list[Result]
    equalities: list[Equality]
    confusion: dict[str, list[list[int]]]
    output: str | None = None

    def of(self, runtime: str) -> Result:
        """The result of one runtime."""
        return next(result for result in self.results if result.runtime == runtime)
