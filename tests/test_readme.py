"""The code of README and documentation, run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: In this order, since a page goes on with what the pages before it made.
GUIDES = ("train", "quantize", "export", "adopt", "raspberry_pi")


def blocks(text: str, *languages: str) -> list[tuple[str, str]]:
    """Language and code of a page's fenced blocks; `py` is Python that is not meant to be run."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(language, code) for language, code in found if language in languages]


def run(script: str, folder: Path) -> str:
    """What a script prints; an error fails the test."""
    commands = Path(sys.executable).parent
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def quickstart() -> list[tuple[str, str]]:
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    return blocks(page.split("## Quickstart")[1].split("\n## ")[0], "python", "sh")


def test_the_readme_has_the_code_of_the_quickstart():
    readme = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "python", "sh")
    assert readme[:2] == quickstart()[:2]


@pytest.mark.slow
def test_the_quickstart_runs_as_written(tmp_path):
    script = ["import subprocess"]
    found = quickstart()
    assert [language for language, _ in found] == ["python", "sh", "python", "python"]
    for language, code in found:
        script.append(code if language == "python" else f"subprocess.run({code!r}, shell=True, check=True)")
    from_litert, from_micro = run("\n".join(script), tmp_path).strip().splitlines()[-2:]
    assert from_litert
    assert from_litert == from_micro
    assert {file.name for file in (tmp_path / "activity").iterdir()} == {"model.tflite", "report.json", "report.html"}


@pytest.mark.slow
def test_the_guides_run_as_written(tmp_path):
    pages = [(ROOT / "docs" / "guides" / f"{name}.md").read_text(encoding="utf-8") for name in GUIDES]
    code = [[code for _, code in blocks(page, "python")] for page in pages]
    assert all(code), "a guide without code that runs"
    printed = run("\n".join(part for page in code for part in page), tmp_path).split()
    assert all(0 <= int(digit) <= 9 for digit in printed[-8:])  # one answer for each row of a digit
