"""The oldest and the newest versions that pyproject.toml admits, on each Python that this machine has."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .check import Check, Counts

ROOT = Path(__file__).parents[2]
#: Layers, cells, quantization, conversion, runtimes and files of earlier versions: what a user's work rests on.
CORE = ("layer", "cells", "quantization", "convert", "passes", "runtime", "golden", "cli")
#: What a device runs: no Keras, no pytest.
DEVICE = ROOT / "tests" / "golden" / "run.py"


@dataclasses.dataclass(frozen=True)
class Environment:
    """An environment to make.

    Attributes:
        python: its version.
        resolution: "lowest-direct", the oldest versions that pyproject.toml names, or "highest".
        extras: of the project; those with `export` run the core of the tests, others the files of golden/.
        more: further requirements.
    """

    python: str
    resolution: str
    extras: str
    more: tuple[str, ...] = ()

    def __str__(self) -> str:
        age = "oldest" if self.resolution.startswith("lowest") else "newest"
        return f"{self.extras} on Python {self.python}, {age}"


TESTS = ("pytest>=9", "hypothesis>=6.150")
ENVIRONMENTS = (
    Environment("3.11", "lowest-direct", "export,tflm", TESTS),
    Environment("3.10", "lowest-direct", "tflite-runtime"),
    Environment("3.10", "lowest-direct", "edge"),
    Environment("3.11", "highest", "tflite-runtime"),
    Environment("3.13", "highest", "edge"),
    Environment("3.13", "highest", "export,tflm", TESTS),
    Environment("3.12", "highest", "export,tflm", TESTS),
    Environment("3.12", "lowest-direct", "export,tflm", TESTS),
)


def python_of(version: str) -> str | None:
    """A Python of a version that can make environments: on the path, or one of pyenv's."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    every = [shutil.which(f"python{version}"), *map(str, kept.glob(f"{version}.*/bin/python{version}"))]
    works = [one for one in every if one and _said([one, "-c", "import ensurepip, venv"])[0] == 0]
    return works[0] if works else None


def _said(command: list[str], timeout: float = 3600, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=timeout,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _made(environment: Environment, python: str, folder: Path) -> tuple[Path | None, str]:
    """The environment's Python, or None and why not."""
    code, said = _said([python, "-m", "venv", str(folder)])
    binary = folder / "bin" / "python"
    if code == 0:
        code, said = _said([str(binary), "-m", "pip", "install", "--quiet", "uv"])
    if code == 0:
        # uv alone resolves to the oldest versions. What it takes for a nightly build is named in pyproject.toml.
        install = [
            *("-m", "uv", "pip", "install", "--quiet", "--python", str(binary)),
            "--prerelease",
            "if-necessary-or-explicit",
        ]
        what = [f"{ROOT}[{environment.extras}]", *environment.more]
        code, said = _said([str(binary), *install, "--resolution", environment.resolution, *what])
    return (binary, "") if code == 0 else (None, said[-500:])


def _versions(binary: Path) -> str:
    names = ("keras", "tensorflow", "numpy", "ai-edge-litert", "tflite-runtime", "tflite-micro")
    script = (
        "from importlib import metadata as m\n"
        f"for n in {names}:\n try: print(n, m.version(n))\n except m.PackageNotFoundError: pass"
    )
    return _said([str(binary), "-c", script])[1].strip().replace("\n", ", ")


def try_one(environment: Environment, counts: Counts) -> None:
    """Makes one and runs what belongs to it."""
    python = python_of(environment.python)
    if python is None:
        counts.figures[str(environment)] = "not tried, no such Python here"
        return
    with tempfile.TemporaryDirectory(prefix="kgp-compatibility-") as folder:
        binary, why = _made(environment, python, Path(folder))
        if binary is None:
            counts.fail(f"{environment}: cannot be installed: {why}")
            return
        if "export" in environment.extras:
            # Warnings are not failures here: old packages and new ones know nothing of each other.
            tests = [f"tests/test_{name}.py" for name in CORE]
            code, said = _said(
                [str(binary), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", *tests], 3600 * 3
            )
            passed = int((re.search(r"(\d+) passed", said) or [0, 0])[1])
            ran = f"{passed} tests"
        else:
            code, said = _said([str(binary), str(DEVICE)])
            passed = len(re.findall(r"^ok ", said, re.MULTILINE))
            ran = f"{passed} files"
        counts.cases += passed
        if code or not passed:
            counts.fail(f"{environment}: {said[-1500:]}")
        counts.figures[str(environment)] = f"{ran} ({_versions(binary)})"


def run(cases: int, seed: int) -> Counts:
    """The first so many environments; there is nothing to draw."""
    counts = Counts()
    for environment in ENVIRONMENTS[:cases]:
        try_one(environment, counts)
    return counts


def no_network() -> str | None:
    code, _ = _said([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", tempfile.mkdtemp(), "uv"])
    return "no package index can be reached" if code else None


CHECKS = {
    "compatibility": Check(
        "The core of the tests passes with the oldest and the newest versions that are admitted, and devices run "
        "files of earlier versions.",
        run,
        quick=0,
        sample=3,
        whole=len(ENVIRONMENTS),
        missing=no_network,
    )
}
