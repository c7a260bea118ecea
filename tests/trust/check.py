"""What a check is, and what it finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

#: Failures that are kept word for word; the others are counted.
KEPT = 20


@dataclasses.dataclass
class Counts:
    """What a check found.

    Attributes:
        cases: that were tried.
        refused: of these, refused with a message, where that is a right answer.
        failed: of these, contrary to the claim.
        failures: the first of them, each with what repeats it (its seed or its input).
        figures: what else was measured, by name.
    """

    cases: int = 0
    refused: int = 0
    failed: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    figures: dict[str, float | int | str] = dataclasses.field(default_factory=dict)

    def fail(self, text: str) -> None:
        """Notes a case contrary to the claim."""
        self.failed += 1
        if len(self.failures) < KEPT:
            self.failures.append(text)


def nothing_missing() -> str | None:
    """For a check that runs everywhere."""
    return None


@dataclasses.dataclass(frozen=True)
class Check:
    """One claim and how to try it.

    Attributes:
        claim: what holds, as the documentation says it.
        run: tries it with a number of cases and a seed; the same two give the same cases.
        quick: cases in the fast tests, which share about a minute; 0 leaves it out.
        sample: cases in `make trust`, whose checks share an hour.
        whole: cases in `make trust-long`.
        missing: what this machine lacks for it, None if nothing.
    """

    claim: str
    run: Callable[[int, int], Counts]
    quick: int
    sample: int
    whole: int
    missing: Callable[[], str | None] = nothing_missing


#: Checks by name, as a module of the package gives them.
Checks = Mapping[str, Check]
