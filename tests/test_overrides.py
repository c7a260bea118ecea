"""Settings of single layers and taps in a recipe: in training, in calibration, in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from export_models import MODELS

import keras_gru_plus as kgp
from keras_gru_plus import cli
from keras_gru_plus_export import convert, tflite
from keras_gru_plus_export.devices import host

DATA = MODELS["gru"].data(48, seed=0)["signal"]


def _model() -> keras.Model:
    keras.utils.set_random_seed(1)
    return MODELS["mgu"].build()


def _quantized(**overrides: Any) -> Any:
    recipe = kgp.Recipe("mine", overrides=overrides.pop("overrides", {}), **overrides)
    return kgp.calibrate(kgp.quantize_aware(_model(), recipe), DATA)


def test_overrides_are_frozen_and_travel_as_json():
    overrides = {"gru/*": {"percentile": 99}, "classes/kernel": {"weights": "per_channel"}, "x": {"range": [-2, 3]}}
    recipe = kgp.Recipe("mine", overrides=overrides)
    assert hash(recipe) == hash(kgp.Recipe.from_json(recipe.to_json()))
    assert kgp.Recipe.from_json(recipe.to_json()) == recipe
    assert json.loads(recipe.to_json()) == recipe.get_config()
    assert recipe.get_config()["overrides"] == overrides
    assert recipe.setting("gru/h_pre", "percentile") == 99
    assert recipe.setting("x/output", "range") == (-2.0, 3.0)
    assert recipe.setting("gru2/h", "percentile") is None
    later = kgp.Recipe(overrides={"a": {"percentile": 99}, "a/pre": {"percentile": 90}})
    assert [later.setting(key, "percentile") for key in ("a/output", "a/pre", "b/pre")] == [99, 90, None]
    assert "overrides" not in kgp.Recipe.get("int8").get_config()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([1], "Expected `overrides` to map layers or taps to settings, got"),
        ({"gru": {"bits": 4}}, "Expected the override of 'gru' to set one of weights, percentile, range, got"),
        ({"gru": {}}, "Expected the override of 'gru' to set one of"),
        ({"gru": {"weights": "by_row"}}, "Expected `weights` of 'gru' to be one of per_tensor, per_channel, got"),
        ({"gru": {"percentile": 40}}, r"Expected `percentile` of 'gru' to be in \(50, 100\], got 40"),
        ({"gru": {"percentile": "high"}}, "Expected `percentile` of 'gru'"),
        ({"gru": {"range": [1, 2]}}, r"Expected `range` of 'gru' to be \(low, high\) around 0, got \[1, 2\]"),
        ({"gru": {"range": [-1, float("nan")]}}, "Expected `range` of 'gru'"),
        ({"gru": {"range": [-1, 1], "percentile": 99}}, "Expected `range` or `percentile` for 'gru', got both"),
    ],
)
def test_impossible_overrides_are_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        kgp.Recipe(overrides=overrides)


def test_overrides_that_match_nothing_name_the_taps():
    for overrides, message in (
        (
            {"gur/*": {"percentile": 99}},
            r"`percentile` to name a layer or a learned tap \(signal/input, .*got 'gur/\*'",
        ),
        ({"gru/h": {"range": [-1, 1]}}, r"`range` to name a layer or a learned tap .*got 'gru/h'"),  # a fixed grid
        ({"signal": {"weights": "per_channel"}}, r"matmul's kernel \(gru/.*classes/kernel\), got 'signal'"),
    ):
        with pytest.raises(ValueError, match=message):
            kgp.quantize_aware(_model(), kgp.Recipe(overrides=overrides))
    with pytest.raises(ValueError, match="per_tensor with 16-bit activations"):
        kgp.Recipe("wide", activation_bits=16, overrides={"gru": {"weights": "per_channel"}})
    with pytest.raises(ValueError, match="Expected no `overrides` for recipe 'mine', which quantizes nothing"):
        kgp.Recipe("mine", bits=0, overrides={"gru": {"percentile": 99}})


def test_a_percentile_of_one_tap_is_its_own():
    plain = _quantized()
    mine = _quantized(overrides={"signal/input": {"percentile": 80}})
    cut = kgp.calibrate(kgp.quantize_aware(_model()), DATA, percentile=80)
    ranges = [{key: float(tap.bound()) for key, tap in model.taps.learned().items()} for model in (plain, mine, cut)]
    assert ranges[1].pop("signal/input") == ranges[2]["signal/input"] < ranges[0].pop("signal/input")
    assert ranges[1] == ranges[0]


def test_a_given_range_stays(tmp_path):
    quantized = _quantized(overrides={"signal/input": {"range": (-4, 4 * 127 / 128)}})
    bounds = [float(end) for end in quantized.taps.learned()["signal/input"].range()]
    assert bounds == [-4.0, 4 * 127 / 128]
    others = {key: float(tap.bound()) for key, tap in quantized.taps.learned().items()}
    quantized.compile("sgd", "sparse_categorical_crossentropy")
    quantized.fit(10 * DATA, np.arange(len(DATA)) % 4, epochs=1, verbose=0)
    after = {key: float(tap.bound()) for key, tap in quantized.taps.learned().items()}
    assert after.pop("signal/input") == others.pop("signal/input") == 4.0
    assert any(after[key] != others[key] for key in after)
    quantized.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.recipe == quantized.recipe
    flat = tflite.load(convert(loaded, mode="step"))
    grid = tflite.grid(flat.subgraphs[0].tensors[tflite.signature(flat).inputs["signal"]])
    assert grid is not None
    assert grid.scale == 4 / 128


@pytest.mark.parametrize(
    ("weights", "overrides", "wanted"),
    [
        ("per_tensor", {"classes": {"weights": "per_channel"}}, {"gru": 1, "classes": 4}),
        ("per_channel", {"gru/*": {"weights": "per_tensor"}}, {"gru": 1, "classes": 4}),
        ("per_channel", {"classes/kernel": {"weights": "per_tensor"}}, {"gru": 8, "classes": 1}),
    ],
)
def test_the_file_has_the_scales_of_each_layer(weights, overrides, wanted):
    quantized = _quantized(weights=weights, overrides=overrides)
    fed, expected = DATA[:16], None
    for mode in ("sequence", "step", "stateful"):
        file = convert(quantized, mode=mode)
        flat = tflite.load(file)
        scales: dict[str, set[int]] = {"gru": set(), "classes": set()}
        for graph in flat.subgraphs:
            for op in graph.operators:
                if tflite.op_name(flat, op) == "FULLY_CONNECTED":
                    kernel = graph.tensors[op.inputs[1]]
                    grid = tflite.grid(kernel)
                    assert grid is not None
                    scales["classes" if kernel.shape[0] == 4 else "gru"].add(len(grid.scales))
        assert scales == {layer: {count} for layer, count in wanted.items()}
        signature = tflite.signature(flat)
        ends = {
            "in": tflite.grid(flat.subgraphs[0].tensors[signature.inputs["signal"]]),
            "out": tflite.grid(flat.subgraphs[0].tensors[signature.outputs["classes"]]),
        }
        outputs = {}
        for where in ("litert", "tflm"):
            raw = host.run(file, {"signal": host.quantize(fed, ends["in"])}, runtime=where, mode=mode)["classes"]
            raw = raw if mode == "sequence" else raw[:, -1]
            # Of a softmax on 1/256, fed by a state that runtimes round a step apart.
            found = host.dequantize(raw, ends["out"])
            np.testing.assert_allclose(found, quantized.predict(fed, verbose=0), rtol=0, atol=3 / 256)
            outputs[where] = raw
        expected = expected or outputs
        for where, raw in outputs.items():
            np.testing.assert_array_equal(raw, expected[where])


def test_the_command_takes_a_recipe_from_a_file(tmp_path: Path, capfd: Any) -> None:
    _model().save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=DATA)
    files = {
        "good.json": json.dumps({"name": "mine", "overrides": {"classes": {"weights": "per_channel"}}}),
        "text.json": "{",
        "list.json": "[1]",
        "field.json": '{"bit": 8}',
        "type.json": '{"overrides": 3}',
        "tap.json": '{"overrides": {"gur": {"percentile": 99}}}',
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for name, message in (
        ("absent.json", "Expected a recipe's name or a JSON file, got .*absent.json"),
        ("text.json", "Expected a recipe in .*text.json.*Expected a recipe in JSON"),
        ("list.json", "Expected a recipe as a JSON object, got list"),
        ("field.json", "recipe's fields to be among name, .*overrides, got"),
        ("type.json", "Expected `overrides` to map layers or taps"),
        ("tap.json", "Expected the override of `percentile` to name a layer or a learned tap"),
        ("good.json", ""),
    ):
        command = [
            "export",
            tmp_path / "model.keras",
            "--calibrate",
            tmp_path / "data.npz",
            "--out",
            tmp_path / "out",
        ]
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.app([str(part) for part in (*command, "--recipe", tmp_path / name, "--mode", "step")])
        err = capfd.readouterr().err
        assert ended.value.code == (2 if message else 0), err
        assert (tmp_path / "out").exists() != bool(message)
        if message:
            assert "Traceback" not in err
            with pytest.raises(AssertionError, match=message):
                raise AssertionError(err)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["recipe"]["overrides"] == {
        "classes": {"weights": "per_channel"}
    }
