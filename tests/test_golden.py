"""What earlier versions of the project wrote still loads, runs and gives the same (tests/golden/make.py wrote it)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import keras_gru_plus  # noqa: F401 (registers its layers)
from keras_gru_plus import runtime
from keras_gru_plus_export import convert
from keras_gru_plus_export.devices import host

GOLDEN = Path(__file__).parent / "golden"
CASES = [
    pytest.param(path.parent, path.stem, id=f"{path.parent.name}-{path.stem}") for path in GOLDEN.glob("*/*.npz")
]
RUNTIMES = ("litert", "litert-reference", "tflm")


def values(folder: Path, name: str) -> dict[str, Any]:
    with np.load(folder / f"{name}.npz") as archive:
        return {key: archive[key] for key in archive.files}


def test_there_are_files() -> None:
    assert len(CASES) >= 4


@pytest.mark.parametrize(("folder", "name"), CASES)
def test_models_load_and_give_the_same(folder: Path, name: str) -> None:
    wanted = values(folder, name)
    for kind, tolerance in (("float", 1e-6), ("quantized", 1 / 256)):  # a value on a half may round the other way
        model = keras.saving.load_model(folder / f"{name}-{kind}.keras")
        np.testing.assert_allclose(model.predict(wanted["x"], verbose=0), wanted[kind], atol=tolerance, rtol=1e-5)


@pytest.mark.parametrize(("folder", "name"), CASES)
def test_files_run_and_give_the_same(folder: Path, name: str) -> None:
    wanted = values(folder, name)
    for kernels in RUNTIMES:
        if not host.available(kernels.partition("-")[0]):
            continue
        sequence = runtime.load(folder / f"{name}-sequence.tflite", kernels)
        np.testing.assert_allclose(sequence.predict(wanted["x"]), wanted["quantized"], atol=2 / 256)
        step = runtime.load(folder / f"{name}-step.tflite", kernels)
        for window, last in zip(wanted["x"], sequence.predict(wanted["x"])):
            step.reset()
            np.testing.assert_allclose(list(step.stream(window))[-1], last, atol=0)


@pytest.mark.parametrize(("folder", "name"), CASES)
def test_quantized_models_are_exported_anew(folder: Path, name: str) -> None:
    wanted = values(folder, name)
    model = keras.saving.load_model(folder / f"{name}-quantized.keras")
    again = runtime.load(convert(model, mode="sequence"))
    np.testing.assert_allclose(again.predict(wanted["x"]), wanted["quantized"], atol=2 / 256)
