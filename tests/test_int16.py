"""Recipe `int16x8`: its grids, what it refuses, what is in its files, and that it is closer to float than int8."""

from __future__ import annotations

import copy
import importlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny_models
from export_models import ALL, WIDE, calibrated, converted, in_tiers
from typer.testing import CliRunner

import keras_gru_plus as kgp
from keras_gru_plus import cli
from keras_gru_plus.arithmetic import Grid
from keras_gru_plus.quantization.taps import FROM_ZERO
from keras_gru_plus_export import ConversionError, analyze, convert, tflite
from keras_gru_plus_export.check import check
from keras_gru_plus_export.devices import host
from keras_gru_plus_export.passes import PassError
from keras_gru_plus_export.passes.widen import wide_grid, widen

FAST = ("gru_int16", "mgu_hard_int16", "mixed_int16", "stacked_int16")


# -- fake quantization -----------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [grid for grid in Grid if grid not in (Grid.MASK, Grid.SQUARE)])  # of 8 bits only
def test_grids_have_zero_point_zero_and_are_clipped_where_int8_is(grid: Grid) -> None:
    model = kgp.quantize_aware(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]), "int16x8")
    tap = model.taps.tap("some/tap", grid)
    if tap.learned:
        tap.set_range(-1.5, 3.0)
    low, high = (float(end) for end in tap.range())
    assert high == pytest.approx(-low * 32767 / 32768, rel=1e-6)
    fixed = {Grid.UNIT: 1.0, Grid.GATE: 1.0, Grid.DOUBLE: 2.0}
    assert -low == pytest.approx(fixed.get(grid, 3.0 * 1.004 * 32768 / 32767), rel=1e-6)
    values = np.linspace(1.5 * low, 1.5 * high, 1001).astype(np.float32)
    scale = -low / 32768
    integers = np.asarray(tap.fake_quant(values)) / scale
    # float32 of integers up to 32768, times a scale, is off by 2^-24 of that: 1/256 of a step.
    np.testing.assert_allclose(integers, np.rint(integers), rtol=0, atol=0.01)
    wanted = np.clip(np.rint(values / scale), 0 if grid in FROM_ZERO else -32768, 32767)
    assert np.abs(integers - wanted).max() < 1.01  # ties
    assert np.abs(integers - wanted).mean() < 0.02
    assert np.asarray(tap.fake_quant(np.float32(0))) == 0
    with tf.GradientTape() as tape:
        x = tf.constant(values)
        tape.watch(x)
        total = tf.reduce_sum(tap.fake_quant(x))
    inside = (values > (0 if grid in FROM_ZERO else low)) & (values < high)
    np.testing.assert_array_equal(tape.gradient(total, x)[values != 0], np.float32(inside)[values != 0])


def test_training_moves_16_bit_ranges_and_keeps_them_symmetric() -> None:
    model = kgp.quantize_aware(ALL["fastgrnn"].build(), "int16x8")
    data = ALL["fastgrnn"].data(32, seed=0)["signal"]
    before = {key: float(tap.range()[0]) for key, tap in model.taps.learned().items()}
    model.compile("adam", "mse")
    model.fit(data, np.zeros((32, 4)), verbose=0)
    for key, tap in model.taps.learned().items():
        low, high = (float(end) for end in tap.range())
        assert low != before[key]
        assert high == pytest.approx(-low * 32767 / 32768, rel=1e-4)


@pytest.mark.parametrize("name", in_tiers(name for name in WIDE))
def test_it_is_closer_to_float_than_int8(name: str) -> None:
    """On the data that set the ranges, where nothing is clipped: what is left is rounding, of weights in both."""
    base = name.removesuffix("_int16")
    data = ALL[base].data(64, seed=0)
    fed = [data[key] for key in ALL[base].inputs]
    outputs = {}
    for key, model in (
        ("float", calibrated(base).float_model()),
        ("int8", calibrated(base)),
        ("int16", calibrated(name)),
    ):
        outputs[key] = keras.tree.flatten(model.predict(fed if len(fed) > 1 else fed[0], verbose=0))
    for true, narrow, wide in zip(outputs["float"], outputs["int8"], outputs["int16"], strict=True):
        assert np.abs(wide - true).mean() < np.abs(narrow - true).mean()


def _model(layer: keras.layers.Layer) -> keras.Model:
    signal = keras.Input((6, 5), name="signal")
    return keras.Model(signal, keras.layers.Dense(2)(layer(signal)))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (lambda: kgp.GRUPlus(4, activation="softsign", name="rnn"), "'softsign'.*use tanh or hard_tanh, or recipe"),
        (lambda: kgp.GRUPlus(4, variant="egru", name="rnn"), "'softsign_gate'.*use sigmoid or hard_sigmoid, or"),
        (lambda: kgp.GRUPlus(4, variant="mingru", activation="log_space", name="rnn"), "'log_space'.*use linear or"),
        (lambda: kgp.GRUPlus(5, variant="grud", name="rnn"), "'decay'.*use recipe 'int8'"),
        (lambda: keras.layers.Dense(3, activation="softsign", name="rnn"), "'softsign'.*use tanh or hard_tanh"),
    ],
)
def test_an_activation_that_is_a_table_is_refused_by_name(layer: Any, words: str) -> None:
    model = _model(layer())
    kgp.quantize_aware(model, "int8")
    with pytest.raises(ValueError, match=f"Expected layer 'rnn' .*got activation {words}"):
        kgp.quantize_aware(model, "int16x8")


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", host.MODES)
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in WIDE])
def test_a_file_has_int16_activations_int8_weights_and_nothing_else(name: str, mode: str) -> None:
    if mode != "sequence" and not WIDE[name].steps:
        pytest.skip("cannot step")
    found = analyze(converted(name, mode))
    assert {info.type for info in (*found.inputs, *found.outputs)} == {"int16"}
    operators = [op for graph in found.graphs for op in graph.operators]
    assert not {op.name for op in operators} & {"QUANTIZE", "DEQUANTIZE", "GATHER"}
    for op in operators:
        types = [info.type if info else None for info in op.inputs]
        if op.name == "FULLY_CONNECTED":
            assert types in (["int16", "int8", "int64"], ["int16", "int8", None], ["int16", "int8"])
            types = types[:1]
        types += [info.type for info in op.outputs]
        assert {*types} <= {"int16", "int32", "bool", "resource"}
        assert all(info.grid is None or info.grid.zero_points == (0,) for info in op.outputs)
    assert not found.float_tensors


def test_an_operator_that_int8_clips_at_zero_has_a_fused_relu() -> None:
    kinds = tflite.schema.ActivationFunctionType
    for base in ("mgu_hard", "fastgrnn_hard"):  # by FULLY_CONNECTED; by ADD
        narrow, wide = (tflite.load(converted(n, "step", keep_names=True)) for n in (base, f"{base}_int16"))
        clipped = {
            tflite.text(tensor.name)
            for tensor in narrow.subgraphs[0].tensors
            if (grid := tflite.grid(tensor)) is not None
            and grid.zero_points == (-128,)
            and not tflite.is_constant(narrow, tensor)
        }
        fused = {
            tflite.text(wide.subgraphs[0].tensors[op.outputs[0]].name)
            for op in wide.subgraphs[0].operators
            if getattr(op.builtinOptions, "fusedActivationFunction", kinds.NONE) == kinds.RELU
        }
        assert fused
        assert fused <= clipped
        smooth = {"SPLIT", "SOFTMAX", "LOGISTIC", "RESHAPE"}
        passed_on = {
            tflite.text(narrow.subgraphs[0].tensors[index].name)
            for op in narrow.subgraphs[0].operators
            if tflite.op_name(narrow, op) in smooth
            for index in op.outputs
        }
        assert clipped - passed_on == fused


@pytest.mark.parametrize("mode", host.MODES)
def test_float_ends_are_the_int16_file_behind_quantize_and_dequantize(mode: str) -> None:
    plain, real = converted("gru_int16", mode), converted("gru_int16", mode, io="float")
    model = tflite.load(plain)
    data = WIDE["gru_int16"].data(8, seed=5)
    tensor = model.subgraphs[0].tensors[tflite.signature(model).inputs["signal"]]
    head = tflite.grid(model.subgraphs[0].tensors[tflite.signature(model).outputs["classes"]])
    integers = host.quantize(data["signal"], tflite.grid(tensor), tflite.dtype(tensor))
    assert integers.dtype == np.int16
    for runtime in ("litert", "tflm"):
        if host.available(runtime):
            wanted = host.run(plain, {"signal": integers}, runtime=runtime, mode=mode)["classes"]
            got = host.run(real, data, runtime=runtime, mode=mode)["classes"]
            np.testing.assert_array_equal(got, host.dequantize(wanted, head))


def test_the_wide_file_is_checked_against_the_models_own_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("keras_gru_plus_export.convert")
    seen: list[Any] = []

    def spy(model: Any, expected: Any, *, bits: int = 8) -> None:
        seen.append((copy.deepcopy(model), expected, bits))

    monkeypatch.setattr(module, "check", spy)
    convert(calibrated("fastgrnn_int16"), mode="step")
    assert [bits for _, _, bits in seen] == [8, 16]
    good, expected, _ = seen[-1]
    check(good, expected, bits=16)
    for kind, match in (("FULLY_CONNECTED", "Expected scale"), ("TANH", "Expected scale"), ("ADD", "Expected scale")):
        wrong = copy.deepcopy(good)
        op = next(op for op in wrong.subgraphs[0].operators if tflite.op_name(wrong, op) == kind)
        tensor = wrong.subgraphs[0].tensors[op.outputs[0]]
        tflite.set_grid(tensor, tflite.grid(tensor).scale * 1.01)
        with pytest.raises(ConversionError, match=match):
            check(wrong, expected, bits=16)
    wrong = copy.deepcopy(good)
    graph = wrong.subgraphs[0]
    added = [op for op in graph.operators if tflite.op_name(wrong, op) == "ADD"]
    constant = next(
        graph.tensors[i] for op in added for i in op.inputs if tflite.is_constant(wrong, graph.tensors[i])
    )
    values = tflite.constant(wrong, constant).copy()
    values[..., 1] += 2  # of 32767: no 8-bit check would see it
    tflite.set_constant(wrong, constant, values)
    with pytest.raises(ConversionError, match="Expected constants of the model in ADD"):
        check(wrong, expected, bits=16)
    wrong = copy.deepcopy(good)
    wrong.subgraphs[0].tensors[wrong.subgraphs[0].operators[-1].outputs[0]].type = tflite.TYPE.INT8
    with pytest.raises(ConversionError, match="Expected int16 throughout, got int8"):
        check(wrong, expected, bits=16)


def test_widen_refuses_what_it_does_not_understand() -> None:
    model = tflite.load(tiny_models.models()["sequence"])
    with pytest.raises(PassError, match="Expected operators with an int16 kernel, got"):
        widen(model, lambda _: None, [])
    model = tflite.load(tiny_models.models()["step"])
    with pytest.raises(PassError, match=r"Expected no bias in .*, got one"):
        widen(model, lambda _: None, [])
    for grid in (None, tflite.Grid((0.1,), (3,)), tflite.Grid((0.1, 0.2), (0, 0))):
        with pytest.raises(PassError, match="Expected activations on a grid with zero point 0 or -128, got"):
            wide_grid(grid)
    assert wide_grid(tflite.Grid((1 / 256,), (-128,))) == wide_grid(tflite.Grid((1 / 128,), (0,)))


def test_the_command_exports_and_names_the_recipe(tmp_path: Path) -> None:
    model, data = tmp_path / "m.keras", tmp_path / "data.npz"
    ALL["mgu"].build().save(model)
    np.savez(data, x=ALL["mgu"].data(32, seed=0)["signal"])
    out = tmp_path / "out"
    arguments = [str(model), "--calibrate", str(data), "--recipe", "int16x8", "--out", str(out), "--mode", "step"]
    done = CliRunner().invoke(cli.app, ["export", *arguments])
    assert done.exit_code == 0, done.output
    assert "int16x8" in done.output
    report = json.loads((out / "report.json").read_text())
    assert (report["recipe"]["name"], report["recipe"]["activation_bits"], report["io"]) == ("int16x8", 16, "int16")
    assert {tap["zero_point"] for tap in report["taps"]} == {0}
    assert "int16x8 and fake-quant differ by" in (out / "report.html").read_text()
    assert {info.type for info in analyze(out / "model.tflite").inputs} == {"int16"}


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: keras.layers.Conv1D(4, 3, name="it"), "a convolution, which has no form for 16-bit activations"),
        (lambda: keras.layers.MaxPooling1D(2, name="it"), "pooling, which has no form for 16-bit activations"),
        (lambda: keras.layers.Masking(name="it"), "a mask of 8 bits, which has no form for 16-bit activations"),
        (lambda: keras.layers.ELU(name="it"), "activation 'ELU', a look-up table"),
    ],
)
def test_layers_without_a_wide_form_are_refused_by_name(layer: Any, reason: str) -> None:
    model = keras.Sequential([keras.Input((6, 3)), layer(), kgp.GRUPlus(4)])
    with pytest.raises(ValueError, match=f"layer 'it' .*got {reason}.*use recipe 'int8'"):
        kgp.quantize_aware(model, "int16x8")
