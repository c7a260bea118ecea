"""What an export found out about its files, as data: JSON with a schema version, terminal tables, HTML."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from importlib import metadata
from typing import Any

from .analyze import Analysis
from .results import Verification

#: Raised whenever a field of report.json changes its meaning or goes.
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True)
class File:
    """One written file.

    Attributes:
        name: file name in the bundle.
        mode: "sequence", "step" or "stateful".
        analysis: what is in it.
        arena: bytes of the smallest tflite-micro arena that works (64-bit host; a device needs less);
            None where tflite-micro is not installed.
        sha256: of the file.
        steps_per_iteration: time steps of each iteration of a loop, see `convert`.
    """

    name: str
    mode: str
    analysis: Analysis
    arena: int | None
    sha256: str
    steps_per_iteration: int = 1


@dataclasses.dataclass(frozen=True)
class TapRange:
    """A quantization point: its grid and, for a learned one, what the verification data did there.

    Attributes:
        observed_low, observed_high: least and greatest value in float arithmetic.
        clipped: share of the values that the grid clips, 0 to 1.
    """

    key: str
    grid: str
    low: float
    high: float
    scale: float
    zero_point: int
    observed_low: float | None = None
    observed_high: float | None = None
    clipped: float | None = None


@dataclasses.dataclass(frozen=True)
class Stage:
    """Score of one stage of the way from float training to the int8 file (the demo has several)."""

    name: str
    score: float
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything that `report.json` and `report.html` show.

    Attributes:
        title: what was exported.
        model: name, variants, units, parameters of the Keras model.
        recipe: its fields.
        target: as given to `export`.
        io: type of the files' inputs and outputs: "int8", "int16" or "float".
        files: one for each mode written.
        verification: of the first file.
        taps: all quantization points.
        labels: class names, or None.
        stages: scores along the way; may be empty.
        warnings: sentences for the user.
        versions: package → version.
        sources: SHA-256 of what it was made from, see `fingerprint`: "model" as it was given (config and weights),
            "calibration" (the samples that set the ranges) and "evaluation" (with targets) where there were such.
        outputs: path in the bundle → SHA-256, of every file beside `report.json`.
    """

    title: str
    model: dict[str, Any]
    recipe: dict[str, Any]
    target: str
    io: str
    files: list[File]
    verification: Verification
    taps: list[TapRange]
    labels: list[str] | None = None
    stages: list[Stage] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    sources: dict[str, str] = dataclasses.field(default_factory=dict)
    outputs: dict[str, str] = dataclasses.field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, `schema_version` first."""
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("files", "verification")
        }
        plain = {key: _plain(value) for key, value in fields.items()}
        files = [{**_plain(file, skip="analysis"), "analysis": file.analysis.to_json()} for file in self.files]
        return {
            "schema_version": SCHEMA_VERSION,
            **plain,
            "files": files,
            "verification": dataclasses.asdict(self.verification),
        }

    def json_text(self) -> str:
        """What `report.json` has."""
        return json.dumps(self.to_json(), indent=2) + "\n"


def _plain(value: Any, skip: str = "") -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name != skip}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def file_of(
    name: str, mode: str, data: bytes, analysis: Analysis, arena: int | None, steps_per_iteration: int = 1
) -> File:
    """The `File` for a file's bytes."""
    return File(name, mode, analysis, arena, hashlib.sha256(data).hexdigest(), steps_per_iteration)


def versions() -> dict[str, str]:
    """Versions of everything that had a part in the result."""
    packages = (
        "keras-gru-plus",
        "tensorflow",
        "keras",
        "tensorflow-model-optimization",
        "ai-edge-litert",
        "tflite-micro",
        "numpy",
    )
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
