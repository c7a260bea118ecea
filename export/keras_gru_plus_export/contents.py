"""What a bundle has in it: `report.json` names every other file with its SHA-256."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_gru_plus import atomic

if TYPE_CHECKING:
    from .report import Report

#: By this file a bundle is known.
REPORT, PAGE = "report.json", "report.html"


def write(folder: Path, report: Report, files: Mapping[str, bytes]) -> Report:
    """Writes files, page and report into an existing directory.

    Args:
        folder: from `replaced_directory`.
        report: with `outputs` if others are in it already.
        files: content by path in the bundle.

    Returns:
        The report with `outputs`, as it was written.

    Raises:
        OSError: no room, or the directory is gone.
    """
    from .html import render

    every = {**files, PAGE: render(report).encode()}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in every.items()}
    report = dataclasses.replace(report, outputs=dict(sorted({**report.outputs, **hashes}.items())))
    atomic.write_files(folder, {**every, REPORT: report.json_text().encode()})
    return report


def missing(folder: Path) -> list[str]:
    """Files that the report in `folder` names and that are not there; the report itself, where there is none."""
    try:
        names = list(_outputs(folder))
    except ValueError:
        names = []
    return [name for name in (REPORT, *names) if not (folder / name).is_file()]


def check(directory: Path) -> tuple[dict[str, Any], list[str]]:
    """What a bundle's report says, and what in the bundle is not as it says, in words.

    Raises:
        ValueError: not a bundle, or one without hashes.
    """
    outputs = _outputs(directory)
    wrong = []
    for name, wanted in outputs.items():
        path = directory / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            wrong.append(f"{name} was changed")
    present = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    wrong += [f"{name} was added" for name in sorted(present - {REPORT, *outputs})]
    return _report(directory), wrong


def _report(directory: Path) -> dict[str, Any]:
    path = directory / REPORT
    if not path.is_file():
        raise ValueError(f"Expected a directory that `export` wrote, got {str(directory)!r} without {REPORT}.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # UnicodeDecodeError is one
        raise ValueError(f"Expected the report of an export in {str(path)!r}, got: {error}.") from None
    if not isinstance(found, dict):
        raise ValueError(f"Expected the report of an export in {str(path)!r}, got a {type(found).__name__}.")
    return found


def _outputs(directory: Path) -> dict[str, str]:
    outputs = _report(directory).get("outputs")
    if not isinstance(outputs, dict) or not outputs:
        raise ValueError(
            f"Expected a report with hashes of the files, `outputs`, in {str(directory / REPORT)!r}, got none; "
            "export again."
        )
    return outputs
