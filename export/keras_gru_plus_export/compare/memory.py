"""What a storage says, checked before anything relies on it: it may be another program's, damaged or edited."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Of a run, and what a result says in numbers; costs that are not known are None.
_RUN = {"variant": str, "units": int, "activation": str, "rank": int, "seed": int}
_SCORES = ("float", "int8", "float_validation", "int8_validation")
_COSTS = ("flash", "ram", "insns", "macs")
_FILE = ("bytes", "operators", "float operators")


def check_sqlite(path: Path) -> None:
    """Refuses a database that is damaged, or that computes what it says.

    Raises:
        ValueError: with the reason.
        sqlite3.Error: no database.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    # Not read-only: where a writer was killed, SQLite first takes back what it had half written.
    base = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=100)
    try:
        kinds = base.execute(
            "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index') OR sql LIKE '%VIRTUAL%'"
        ).fetchone()
        if kinds is not None:
            raise ValueError(f"a database with a {kinds[0]} {str(kinds[1])[:40]!r}")
        (found,) = base.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise ValueError(f"a damaged database, {' '.join(str(found).split())[:200]}")
    finally:
        base.close()


def fault(attributes: Mapping[str, Any]) -> str | None:
    """What is wrong with a trial's attributes, None if nothing."""
    checks = {
        "run": _run,
        "owner": _owner,
        "result": _result,
        "costs": _costs,
        "crash": lambda text: type(text) is str,
    }
    wrong = [name for name, check in checks.items() if name in attributes and not check(attributes[name])]
    return f"{wrong[0]} {str(attributes[wrong[0]])[:80]!r}" if wrong else None


def _run(run: Any) -> bool:
    return (
        isinstance(run, Mapping)
        and run.keys() == _RUN.keys()
        and all(type(run[name]) is kind for name, kind in _RUN.items())
    )


def _owner(owner: Any) -> bool:
    return (
        isinstance(owner, Mapping)
        and isinstance(owner.get("machine"), str)
        and type(owner.get("pid")) is int
        and 0 < owner["pid"] < 2**31
        and "start" in owner
    )


def _result(result: Any) -> bool:
    if not isinstance(result, Mapping):
        return False
    if "failed" in result:
        return isinstance(result["failed"], str)
    if "stock" in result:
        return isinstance(result["stock"], Mapping) and all(map(_stock, result["stock"].values()))
    times = result.get("times", {})
    return (
        _costs(result)
        and all(_is_number(result[name]) for name in _SCORES if name in result)
        and type(result.get("parameters", 0)) is int
        and isinstance(times, Mapping)
        and _is_number(times.get("latency_us", 0))
        and isinstance(result.get("sha256", ""), str)
    )


def missing(result: Mapping[str, Any]) -> list[str]:
    """What a table needs of a result and is not there."""
    if "failed" in result or "stock" in result:
        return []
    needed = ("parameters", "flash", "sha256") if "int8_validation" in result else ("parameters",)
    return [name for name in needed if result.get(name) is None]


def _costs(costs: Any) -> bool:
    if not isinstance(costs, Mapping):
        return False
    if "failed" in costs:
        return isinstance(costs["failed"], str)
    return all(costs[name] is None or _is_number(costs[name]) for name in _COSTS if name in costs)


def _stock(file: Any) -> bool:
    if not isinstance(file, Mapping):
        return False
    if "failed" in file:
        return isinstance(file["failed"], str)
    custom = file.get("custom operators")
    return (
        all(_is_number(file.get(name)) for name in _FILE)
        and _is_number(file.get("arena", 0))
        and isinstance(custom, list)
        and all(isinstance(name, str) for name in custom)
    )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= 1e300 and math.isfinite(value)


__all__ = ["check_sqlite", "fault", "missing"]
