"""Files that Keras 2 wrote, by a process that runs it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_gru_plus as kgp
from keras_gru_plus import cli
from keras_gru_plus_export.models import ModelError, load_model

# Here by tensorflow-model-optimization.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("tf_keras") is None, reason="needs tf_keras")

READ = (
    *("reset_after", "reset_before", "stack", "cells", "both_ways", "convolutions", "image", "text"),
    *("hard_sigmoid", "mixed_precision", "two_inputs", "initial_states", "nested", "adapted"),
)
ENDINGS = ("h5", "keras")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of `keras2_models`."""
    found = tmp_path_factory.mktemp("keras2")
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("keras2_models.py")), str(found)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return found


def outputs(model: keras.Model, x: np.ndarray) -> list[np.ndarray]:
    found = model([x, x[::-1]] if len(model.inputs) == 2 else x)
    return [np.asarray(output, np.float32) for output in keras.tree.flatten(found)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_model_computes_what_it_computed_in_keras_2(folder: Path, ending: str) -> None:
    for name in READ:
        with np.load(folder / f"{name}.npz") as data:
            x, wanted = data["x"], [data[key] for key in data if key != "x"]
        model = load_model(folder / f"{name}.{ending}")
        for got, output in zip(outputs(model, x), wanted, strict=True):
            assert len(np.unique(output)) > 3
            # The same float32 sums in another order; float16 has 11 bits.
            tolerance = 1e-6 if name != "mixed_precision" else 2e-3
            np.testing.assert_allclose(got, output, rtol=tolerance, atol=tolerance, err_msg=name)
        if name == "mixed_precision":
            with pytest.raises(ValueError, match="computing in float16; use dtype='float32'"):
                kgp.quantize_aware(kgp.from_keras(model))
        else:
            adopted = kgp.quantize_aware(kgp.from_keras(model), "none")
            for got, output in zip(outputs(adopted, x), wanted, strict=True):
                np.testing.assert_allclose(got, output, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lambda", "it has a Lambda layer, .*register_layer"),
        ("operation", r"it has an operation between layers, such as x \* 2; use layers alone"),
        ("time_major", r"Expected layer 'gru\w*' \(GRU\) with time_major=False, got True, .* save the model again"),
        (
            "own",
            {"h5": r"it has weights only; .*model\.save", "keras": r"it has a class 'Own' .*\(--import MODULE\)"},
        ),
    ],
)
def test_what_keras_3_has_no_words_for_is_refused_with_the_way_out(
    folder: Path, ending: str, name: str, message: Any
) -> None:
    path = folder / f"{name}.{ending}"
    message = message if isinstance(message, str) else message[ending]
    with pytest.raises(ModelError, match=f"Expected a model that Keras can load, got '{path}'.*: {message}"):
        load_model(path)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["reset_after.h5", "text.keras", "convolutions.h5"])
def test_the_command_exports_them(folder: Path, tmp_path: Path, capfd: Any, path: str) -> None:
    data = folder / path.replace(path.partition(".")[2], "npz")
    with np.load(data) as content:
        np.savez(tmp_path / "data.npz", x=content["x"], y=content["y0"].argmax(-1))
    command = ["export", folder / path, "--calibrate", tmp_path / "data.npz", "--evaluate", tmp_path / "data.npz"]
    with pytest.raises(SystemExit) as ended:
        cli.app([str(part) for part in (*command, "--out", tmp_path / "out")])
    assert ended.value.code == 0, capfd.readouterr().err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    scores = {row["runtime"]: row["score"] for row in report["verification"]["results"]}
    assert scores["float"] == 1.0
    assert scores["litert"] >= 0.75  # four samples


def test_a_directory_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Expected a \.keras or \.h5 file, got '.*', a directory; .*model\.save"):
        load_model(tmp_path)
