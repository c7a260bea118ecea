"""All checks by name. A new one is a module of this package with a mapping CHECKS, and a line here."""

from __future__ import annotations

import importlib

from .check import Check

MODULES = (
    "edges",
    "fuzzing",
    "hostile",
    "faults",
    "reproducible",
    "properties",
    "mutation",
    "compatibility",
    "soak",
)


def checks() -> dict[str, Check]:
    """All of them, in the order of the table."""
    found: dict[str, Check] = {}
    for name in MODULES:
        own = importlib.import_module(f"trust.{name}").CHECKS
        twice = found.keys() & own.keys()
        assert not twice, f"two checks are called {twice}"
        found.update(own)
    return found
