"""A few cases of each check; `make trust` runs many."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trust.catalogue import checks

QUICK = {name: check for name, check in checks().items() if check.quick}


@pytest.mark.parametrize("name", QUICK)
def test_a_few_cases(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))  # some start workers of this package
    check = QUICK[name]
    if missing := check.missing():
        pytest.skip(missing)
    counts = check.run(check.quick, 0)
    assert counts.cases >= check.quick
    assert counts.failures == []
