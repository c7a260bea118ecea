"""The README's first example, run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.slow
def test_the_example_runs_as_written(tmp_path):
    section = README.read_text().split("## Fifteen lines")[1].split("\n## ")[0]
    script = ["import subprocess"]
    blocks = re.findall(r"```(python|sh)\n(.*?)```", section, re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "sh", "python", "python"]
    for language, block in blocks:
        script.append(block if language == "python" else f"subprocess.run({block!r}, shell=True, check=True)")
    commands = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    from_litert, from_micro = done.stdout.strip().splitlines()[-2:]
    assert from_litert
    assert from_litert == from_micro
    assert {file.name for file in (tmp_path / "activity").iterdir()} == {"model.tflite", "report.json", "report.html"}
