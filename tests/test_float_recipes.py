"""Recipes that quantize nothing: the file computes what Keras computes, in every mode, on every runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from export_models import MODELS

import keras_gru_plus as kgp
from keras_gru_plus import cli, runtime
from keras_gru_plus_export import ConversionError, convert, export, tflite
from keras_gru_plus_export.check import check_float
from keras_gru_plus_export.data import Data
from keras_gru_plus_export.devices import host
from keras_gru_plus_export.graph import Expected, Weights
from keras_gru_plus_export.verify import TOLERANCES, verify


def _model(name: str, recipe: str) -> Any:
    keras.utils.set_random_seed(1)
    return kgp.quantize_aware(MODELS[name].build(), recipe)


def _predicted(model: Any, data: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    fed = keras.tree.pack_sequence_as(model.input, [data[key] for key in MODELS[name].inputs])
    return [np.asarray(output) for output in keras.tree.flatten(model.predict(fed, verbose=0))]


#: In the fast tier a saturating one, one whose front end streams, and a mask.
FAST = {"mgu_hard": "none", "keyword": "float16", "text": "none"}
CASES = [(name, recipe) for name in MODELS for recipe in ("none", "float16")]


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        pytest.param(name, recipe, marks=() if FAST.get(name) == recipe else pytest.mark.slow)
        for name, recipe in CASES
    ],
)
def test_the_file_computes_what_keras_computes(name: str, recipe: str) -> None:
    model = _model(name, recipe)
    data = MODELS[name].data(8, seed=3)
    wanted = _predicted(model, data, name)
    bits = model.recipe.bits or 32
    whole: dict[str, list[np.ndarray]] = {}
    for mode in ("sequence", "step", "stateful") if MODELS[name].steps else ("sequence",):
        file = convert(model, mode=mode)
        flat = tflite.load(file)
        inputs = tflite.signature(flat).inputs
        fed = {
            key: data[key].astype(tflite.dtype(flat.subgraphs[0].tensors[i]))
            for key, i in inputs.items()
            if key in data
        }
        runtimes = ["litert", "litert-reference", *(["tflm"] if recipe == "none" else [])]
        if name == "depthwise":  # has an ELU
            runtimes.remove("litert-reference")
        for where in runtimes:
            outputs = host.run(file, fed, runtime=where, mode=mode)
            found = [outputs[key] for key in outputs if not key.startswith("state_")]
            found = [
                (got if mode == "sequence" or got.size == want.size else got[:, -1]).reshape(want.shape)
                for got, want in zip(found, wanted, strict=True)
            ]
            for got, want, first in zip(found, wanted, whole.setdefault(where, found), strict=True):
                size = max(1.0, float(np.abs(want).max()))
                # For the reasons given with TOLERANCES; the modes have the same weights, whatever their bits.
                np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCES[bits] * size)
                np.testing.assert_allclose(got, first, rtol=0, atol=TOLERANCES[32] * size)


def test_float16_halves_the_weights_and_rounds_them() -> None:
    keras.utils.set_random_seed(1)
    signal = keras.Input((12, 5), name="signal")
    model = keras.Model(signal, kgp.GRUPlus(64, name="gru")(signal))
    sizes = {recipe: len(convert(kgp.quantize_aware(model, recipe))) for recipe in ("none", "float16")}
    weights = 4 * model.count_params()
    assert sizes["none"] > weights
    assert sizes["float16"] < weights / 2 + 4000


def test_the_command_needs_no_calibration_and_names_the_recipe(tmp_path: Path, capfd: Any) -> None:
    _model("gru", "none").float_model().save(tmp_path / "float.keras")
    x = MODELS["gru"].data(16, seed=0)["signal"]
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(16) % 4)
    reports = {}
    for recipe in ("none", "float16"):
        command = ["export", tmp_path / "float.keras", "--recipe", recipe, "--mode", "step"]
        command += ["--out", tmp_path / recipe, "--evaluate", tmp_path / "data.npz", "--labels", "a,b,c,d"]
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.app([str(part) for part in command])
        out, err = capfd.readouterr()
        assert ended.value.code == 0, err
        assert f"{recipe} (bits" in out
        assert "largest" in out
        assert "LSB" not in out
        report = reports[recipe] = json.loads((tmp_path / recipe / "report.json").read_text())
        assert report["recipe"]["name"] == recipe
        assert report["io"] == "float"
        assert report["taps"] == []
        results = {result["runtime"]: result for result in report["verification"]["results"]}
        assert "fake_quant" not in results
        assert results["litert"]["largest_difference"] <= TOLERANCES[16 if recipe == "float16" else 32]
        page = (tmp_path / recipe / "report.html").read_text()
        assert "LSB" not in page
        assert "fake-quant" not in page
    tflm = {r["runtime"]: r for r in reports["float16"]["verification"]["results"]}["tflm"]
    assert tflm["reason"] == "has no float16 weights"
    on_device = runtime.load(tmp_path / "none" / "model.tflite")
    streamed = list(on_device.stream(x[0]))[-1]
    np.testing.assert_allclose(streamed, _predicted(_model("gru", "none"), {"signal": x[:1]}, "gru")[0][0], atol=1e-5)


def test_a_saved_float_recipe_exports_without_samples(tmp_path: Path) -> None:
    report = export(_model("mgu", "none"), tmp_path / "out", target="tflm", steps_per_iteration=4)
    assert report.verification.source == "random"
    assert report.files[0].analysis.loops[0].trip_count == 3
    assert report.recipe["name"] == "none"


def test_an_operator_that_a_runtime_lacks_is_said(tmp_path: Path) -> None:
    signal = keras.Input((4, 5), name="signal")
    model = kgp.quantize_aware(keras.Model(signal, keras.layers.ELU()(keras.layers.Dense(3)(signal))), "none")
    report = export(model, tmp_path / "out")
    reasons = {row.runtime: row.reason for row in report.verification.results}
    assert reasons["litert"] is None
    assert reasons["litert-reference"] == "does not have an operator of the file"


def test_another_models_file_is_no_match() -> None:
    model, other = _model("gru", "none"), _model("gru", "none")
    kernel = other.get_layer("gru").weights[0]
    kernel.assign(kernel + 1e-3)
    data = Data(MODELS["gru"].data(8, seed=3))
    verify(model, {"sequence": convert(model)}, data, mode="sequence")
    with pytest.raises(ConversionError, match=r"Expected the file to give what the Keras model gives on litert \("):
        verify(model, {"sequence": convert(other)}, data, mode="sequence")


def test_a_file_of_other_types_or_weights_is_refused() -> None:
    flat = tflite.load(convert(_model("gru", "none")))
    with pytest.raises(
        ConversionError, match=r"Expected the weights of FULLY_CONNECTED .* to be the model's in float32"
    ):
        check_float(flat, Expected(kernels={"a": Weights(np.zeros((3, 4), np.float32), None, "matmul")}), 32)
    half = tflite.load(convert(_model("gru", "float16")))
    with pytest.raises(ConversionError, match=r"to be the model's in float32, got others .* in float16"):
        check_float(half, Expected(), 32)
    integers = kgp.calibrate(_model("gru", "int8"), MODELS["gru"].data(8, seed=0))
    with pytest.raises(ConversionError, match=r"Expected float32 throughout, got .*int8"):
        check_float(tflite.load(convert(integers)), Expected(), 32)
    with pytest.raises(ValueError, match="Expected target 'litert' for recipe 'float16', got 'tflm'"):
        convert(_model("gru", "float16"), target="tflm")
