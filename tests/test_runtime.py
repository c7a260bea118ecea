"""Exported models on a device: every mode and runtime, states, refusals, and files that are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from architectures import DEVIATIONS
from export_models import MODELS, calibrated, converted
from tiny_models import FEATURES, STEPS

import keras_gru_plus as kgp
from keras_gru_plus import runtime
from keras_gru_plus.runtime import interpreters
from keras_gru_plus_export import convert, tflite
from keras_gru_plus_export.devices import host
from keras_gru_plus_export.passes.labels import labelled

HERE = ("litert", "litert-reference", "tflm")
OTHER = os.environ.get("KGP_TFLITE_RUNTIME_PYTHON")


def signal(seed: int = 0, samples: int = 3) -> np.ndarray:
    return MODELS["gru"].data(samples, seed)["signal"]


def streamed(model: runtime.Model, x: np.ndarray, **options: Any) -> np.ndarray:
    model.reset()
    return np.array(list(model.stream(x, **options)))


@pytest.mark.parametrize("name", HERE)
def test_every_mode_gives_the_same_and_what_the_exporter_verified(name: str) -> None:
    x = signal()
    sequence, step, stateful = (
        runtime.load(converted("gru", mode), name) for mode in ("sequence", "step", "stateful")
    )
    assert [model.mode for model in (sequence, step, stateful)] == ["sequence", "step", "stateful"]
    predicted = sequence.predict(x)
    flat = tflite.load(converted("gru", "step"))
    grid = tflite.grid(flat.subgraphs[0].tensors[tflite.signature(flat).inputs["signal"]])
    assert grid is not None
    integers = host.quantize(x, grid)
    wanted = host.run(converted("gru", "step"), {"signal": integers}, runtime=name, mode="step")["classes"]
    for sample, whole in zip(x, predicted, strict=True):
        steps = streamed(step, sample)
        assert steps.shape == (12, 4)
        np.testing.assert_array_equal(steps[-1], whole)
        # Once more: reset brings both back to the beginning.
        np.testing.assert_array_equal(streamed(step, sample), steps)
        np.testing.assert_array_equal(streamed(stateful, sample), steps)
        np.testing.assert_array_equal(streamed(stateful, sample), steps)
    raw = np.array([streamed(step, sample, raw=True) for sample in integers])
    assert raw.dtype == np.int8
    np.testing.assert_array_equal(raw, wanted)
    np.testing.assert_array_equal(sequence.predict(integers, raw=True), wanted[:, -1])
    (output,) = sequence.info.outputs
    assert output.scale is not None
    np.testing.assert_array_equal(predicted, (wanted[:, -1] + np.float32(128)) * np.float32(output.scale))


@pytest.mark.parametrize("io", ["int8", "float"])
def test_several_inputs_outputs_and_states_by_name(io: str) -> None:
    data = MODELS["mixed"].data(2, seed=4)
    sequence, step = (runtime.load(converted("mixed", mode, io=io)) for mode in ("sequence", "step"))
    predicted = sequence.predict(data)
    assert {name: array.shape for name, array in predicted.items()} == {
        "gate": (2, 3),
        "positive": (2, 4),
        "per_step": (2, 12, 6),
    }
    assert set(step.states) == {"state_left", "state_right"}
    for sample in range(2):
        step.reset()
        rows = [step.step({name: array[sample, t] for name, array in data.items()}) for t in range(12)]
        np.testing.assert_array_equal(rows[-1]["gate"], predicted["gate"][sample])
        np.testing.assert_array_equal(rows[-1]["positive"], predicted["positive"][sample])
        np.testing.assert_array_equal([row["per_step"] for row in rows], predicted["per_step"][sample])
    one = sequence.predict({name: array[0] for name, array in data.items()})
    np.testing.assert_array_equal(one["per_step"], predicted["per_step"][0])
    for wrong in (data["signal"], {"signal": data["signal"]}, {**data, "third": 0}):
        with pytest.raises(ValueError, match=r"Expected (a dict with )?inputs signal, other, got"):
            sequence.predict(wrong)


@pytest.mark.parametrize("name", ["features", "features_int16"])
def test_features_have_scales_of_their_own(name: str) -> None:
    """Integers as the README says: round(x / scale) + zero point, each by its feature's numbers."""
    data = MODELS["features"].data(3, seed=6)["signal"]
    sequence, step = (runtime.load(converted(name, mode)) for mode in ("sequence", "step"))
    (tensor,) = sequence.info.inputs
    assert isinstance(tensor.scale, tuple)
    assert isinstance(tensor.zero_point, tuple)
    scales, limits = np.array(tensor.scale), np.iinfo(tensor.dtype)
    np.testing.assert_allclose(scales / scales[1], (*DEVIATIONS[:4], 1e-7), rtol=1e-6)
    assert not limits.min <= tensor.zero_point[0] <= limits.max  # 200 deviations from 0
    integers = np.clip(np.round(data / scales) + tensor.zero_point, limits.min, limits.max).astype(tensor.dtype)
    spans = np.ptp(integers.astype(int), axis=(0, 1)) / (int(limits.max) - int(limits.min))
    assert (spans[:4] > 0.5).all()
    assert spans[4] == 0.0
    predicted = sequence.predict(data)
    (output,) = sequence.info.outputs
    raw = sequence.predict(integers, raw=True).astype(np.float32)
    np.testing.assert_array_equal(predicted, (raw - np.float32(output.zero_point)) * np.float32(output.scale))
    np.testing.assert_array_equal(streamed(step, data[0])[-1], predicted[0])
    plain = step.info.to_json()["inputs"]["signal"]
    assert (plain["scale"], plain["zero_point"]) == (list(tensor.scale), list(tensor.zero_point))
    wanted = calibrated(name).predict(data, verbose=0)
    assert np.abs(predicted - wanted).max() < 0.05 < np.abs(wanted).max()


def test_integers_of_16_bits_and_hops_and_a_state_that_is_the_output() -> None:
    x = signal(samples=1)[0]
    wide, narrow = (runtime.load(converted(name, "step")) for name in ("gru_int16", "gru"))
    assert wide.info.inputs[0].dtype == "int16"
    np.testing.assert_allclose(streamed(wide, x), streamed(narrow, x), atol=0.1)
    tiny = tiny_models.models()
    real = np.random.default_rng(1).normal(0, 0.4, (STEPS, FEATURES))
    steps = streamed(runtime.load(tiny["step"]), real)
    hops = streamed(runtime.load(tiny["hop"]), real.reshape(-1, 2, FEATURES))
    np.testing.assert_array_equal(hops, steps[1::2])
    same = runtime.load(tiny["same"])
    assert len(set(streamed(same, real)[-1])) > 1
    np.testing.assert_array_equal(same.step(real[0], raw=False), (same.states["state_mgu"][0]) / np.float32(128))


def test_a_stream_goes_on_until_it_is_reset_and_from_a_state_that_was_kept() -> None:
    x = signal(samples=1)[0]
    model = runtime.load(converted("mgu", "step"))
    whole = streamed(model, x)
    model.reset()
    first = list(model.stream(x[:5]))
    kept = model.states
    np.testing.assert_array_equal([*first, *model.stream(x[5:])], whole)
    model.states = kept
    np.testing.assert_array_equal(list(model.stream(x[5:])), whole[5:])
    with pytest.raises(ValueError, match="NaN"):
        model.step(x[0] * np.nan)
    np.testing.assert_array_equal(model.step(x[0]), list(streamed(model, [*x, x[0]]))[-1])
    with pytest.raises(ValueError, match=r"Expected states .*state_gru"):
        model.states = {"state_gru": np.zeros(8)}


def test_labels_and_info_come_out_of_the_file() -> None:
    names = ["sitzen", "gehen, schnell", "läuft", "\n"]
    model = runtime.load(labelled(converted("gru", "step"), names), "litert", threads=2)
    assert list(model.labels) == names
    assert runtime.load(labelled(labelled(converted("gru", "step"), names), ["a"])).labels == ("a",)
    assert labelled(converted("gru", "step"), None) == converted("gru", "step")
    info = model.info.to_json()
    assert {key: info[key] for key in ("mode", "runtime", "threads", "labels")} == {
        "mode": "step",
        "runtime": "litert",
        "threads": 2,
        "labels": names,
    }
    assert info["version"] == host.version("litert")
    flat = tflite.load(converted("gru", "step"))
    grid = tflite.grid(flat.subgraphs[0].tensors[tflite.signature(flat).inputs["signal"]])
    assert grid is not None
    expected = {"name": "signal", "shape": [1, 1, 5], "dtype": "int8", "scale": grid.scale, "zero_point": 0}
    assert info["inputs"] == {"signal": expected}
    assert set(info["states"]) == {"state_gru"}
    assert set(info["outputs"]) == {"classes"}
    np.testing.assert_array_equal(
        streamed(model, signal()[0]), streamed(runtime.load(converted("gru", "step")), signal()[0])
    )


def test_what_does_not_fit_is_named() -> None:
    x = signal()
    sequence, step = (runtime.load(converted("gru", mode)) for mode in ("sequence", "step"))
    with pytest.raises(ValueError, match=r"mode 'sequence' for predict, got 'step'; try step"):
        step.predict(x)
    with pytest.raises(ValueError, match=r"'step' or 'stateful', got 'sequence'.*--mode step"):
        sequence.step(x[0, 0])
    with pytest.raises(ValueError, match=r"Expected 'signal' of shape \(samples, 12, 5\), got \(3, 12, 4\)"):
        sequence.predict(x[..., :4])
    with pytest.raises(ValueError, match=r"Expected 'signal' of shape \(5,\), got \(4,\)"):
        step.step(x[0, 0, :4])
    with pytest.raises(ValueError, match=r"Expected 'signal' to be int8 \(raw=True\), got float32"):
        step.step(x[0, 0], raw=True)
    with pytest.raises(ValueError, match=r"Expected an array of numbers, got list .*'walk'"):
        step.step(["walk"] * 5)
    with pytest.raises(ValueError, match=r"Expected the same number of samples \(at least 1\)"):
        sequence.predict(x[:0])
    with pytest.raises(ValueError, match=r"Expected `runtime` to be one of auto, litert, .*got 'lite'"):
        runtime.load(converted("gru", "step"), "lite")
    with pytest.raises(ValueError, match="Expected `threads` to be 1, got 2"):
        runtime.load(converted("gru", "step"), "tflm", threads=2)


def edited(change: Any, mode: str = "step") -> bytes:
    model = tflite.load(converted("gru", mode))
    change(model)
    return tflite.dump(model)


def _state_only_in(model: tflite.ModelT) -> None:
    definition = model.signatureDefs[0]
    for entry in definition.outputs:
        entry.name = b"other" if tflite.text(entry.name) == "state_gru" else entry.name


def _unknown_operator(model: tflite.ModelT) -> None:
    code = model.operatorCodes[0]
    code.builtinCode, code.deprecatedBuiltinCode, code.customCode = tflite.OP.CUSTOM, tflite.OP.CUSTOM, b"Mine"


def _newer(model: tflite.ModelT) -> None:
    for code in model.operatorCodes:
        code.version = 99


def test_models_that_cannot_run_are_one_message(tmp_path: Path) -> None:
    for data, words in (
        (b"", "identifier TFL3"),
        (b"no model at all", "identifier TFL3"),
        (edited(_state_only_in), "every state to be an input and an output .* only one of them for state_gru"),
        (edited(_unknown_operator), "that litert .* can run, got: .*Mine"),
        (edited(_newer), "that litert .* can run, got: .*version"),
    ):
        with pytest.raises(runtime.ModelError, match=f"^Expected (?s:.*){words}") as caught:
            runtime.load(data, "litert")
        assert "\n" not in str(caught.value)
    with pytest.raises(runtime.ModelError, match=r"Expected a \.tflite file, got '.*none.tflite': No such file"):
        runtime.load(tmp_path / "none.tflite")


@pytest.mark.parametrize("mode", ["sequence", "step", "stateful"])
def test_no_cut_or_overwritten_file_kills_the_process(mode: str, tmp_path: Path) -> None:
    """In a child, so that a crash is a failure of this test: every length, and words that lead anywhere."""
    path = tmp_path / "model.tflite"
    path.write_bytes(labelled(converted("gru", mode), ["a", "b", "c", "d"]))
    script = """
import sys
from keras_gru_plus import runtime
whole = open(sys.argv[1], "rb").read()
refused = loaded = 0
for length in range(len(whole)):
    try:
        runtime.load(whole[:length], "litert")
        loaded += 1
    except runtime.ModelError:
        refused += 1
assert loaded == 0, loaded
for at in range(0, len(whole) - 4, 4):
    damaged = whole[:at] + b"\\xf0\\xff\\xff\\x7f" + whole[at + 4:]
    try:
        runtime.file.read(damaged)
    except runtime.ModelError:
        refused += 1
print(refused, len(whole))
"""
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    refused, size = map(int, done.stdout.split())
    assert refused > size + 100


def test_the_first_runtime_that_is_installed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    data = converted("gru", "step")
    assert runtime.load(data).runtime == "litert"
    missing = {"litert": "ai-edge-litert is not installed", "tflite-runtime": "tflite-runtime is not installed"}
    monkeypatch.setattr(interpreters, "unusable", missing.get)
    assert runtime.load(data).runtime == "tflm"
    with pytest.raises(ImportError, match=r"got none: ai-edge-litert is not installed\.$"):
        runtime.load(data, "litert")
    monkeypatch.undo()
    monkeypatch.setattr(interpreters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError) as caught:
        runtime.load(data)
    for extra in ("edge", "tflite-runtime", "tflm"):
        assert f"pip install 'keras-gru-plus[{extra}]'" in str(caught.value)


def _in_a_fresh_process(python: str, script: str, *arguments: object) -> str:
    root = str(Path(kgp.__file__).parent.parent)
    done = subprocess.run(
        [python, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_neither_keras_nor_tensorflow_nor_the_exporter_is_imported(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(converted("gru", "step"))
    script = """
import sys
import keras_gru_plus as kgp
import keras_gru_plus.cli, keras_gru_plus.runtime.bench, keras_gru_plus.runtime.watch
model = kgp.runtime.load(sys.argv[1])
model.step([0.0] * 5)
print(sorted({"keras", "tensorflow", "keras_gru_plus_export", "flatbuffers.builder"} & set(sys.modules)))
"""
    assert _in_a_fresh_process(sys.executable, script, tmp_path / "model.tflite") == "[]\n"


@pytest.mark.skipif(not OTHER, reason="KGP_TFLITE_RUNTIME_PYTHON is not set")
@pytest.mark.parametrize("name", ["gru", "mixed"])
def test_tflite_runtime_with_numpy_1_gives_what_the_exporter_verified(name: str, tmp_path: Path) -> None:
    assert OTHER is not None
    inputs = MODELS[name].data(1, seed=0)
    np.savez(tmp_path / "inputs.npz", **inputs)
    for mode in ("sequence", "step", "stateful"):
        (tmp_path / f"{mode}.tflite").write_bytes(converted(name, mode))
    script = """
import sys
import numpy as np
from keras_gru_plus import runtime
folder = sys.argv[1]
x = dict(np.load(folder + "/inputs.npz"))
model = runtime.load(folder + "/sequence.tflite")
assert model.runtime == "tflite-runtime", model.runtime
whole = model.predict(x if len(x) > 1 else x["signal"])
for mode in ("step", "stateful"):
    model = runtime.load(folder + f"/{mode}.tflite")
    for turn in range(2):
        model.reset()
        steps = ({n: a[0, t] for n, a in x.items()} for t in range(12))
        *_, last = model.stream(steps if len(x) > 1 else x["signal"][0])
        for name in (last if len(x) > 1 else [...]):
            wanted = whole[name][0]
            np.testing.assert_array_equal(last[name], wanted[-1] if name == "per_step" else wanted)
np.savez(folder + "/out.npz", **(whole if len(x) > 1 else {"classes": whole}))
"""
    _in_a_fresh_process(OTHER, script, tmp_path)
    flat = tflite.load(converted(name, "sequence"))
    ends, tensors = tflite.signature(flat), flat.subgraphs[0].tensors
    fed = {key: host.quantize(array, tflite.grid(tensors[ends.inputs[key]])) for key, array in inputs.items()}
    wanted = host.run(converted(name, "sequence"), fed, runtime="tflite-runtime", mode="sequence", python=OTHER)
    with np.load(tmp_path / "out.npz") as found:
        for key, array in wanted.items():
            grid = tflite.grid(tensors[ends.outputs[key]])
            assert grid is not None
            np.testing.assert_array_equal(found[key], host.dequantize(array, grid))


def _long_stream(steps: int, checkpoints: list[int]) -> None:
    """A stream against sequence files of the checkpoints' lengths, and memory on the way."""
    import keras

    window = keras.Input((None, 1), name="x")
    hidden = kgp.GRUPlus(6, variant="mgu", name="gru")(window)
    model = keras.Model(window, keras.layers.Dense(2, name="y")(hidden))
    x = np.random.default_rng(0).normal(0, 1, (steps, 1)).astype(np.float32)
    kgp.calibrate(quantized := kgp.quantize_aware(model), x[:4000].reshape(20, 200, 1))
    stream = runtime.load(convert(quantized, mode="step"))
    stateful = runtime.load(convert(quantized, mode="stateful"))
    found, resident = {}, {}
    for t, (y, other) in enumerate(zip(stream.stream(x), stateful.stream(x)), start=1):
        if t in (steps // 10, steps):
            resident[t] = _resident()
        if t in checkpoints:
            found[t] = y
        if t % 1000 == 0:
            np.testing.assert_array_equal(y, other)
    for t, y in found.items():
        whole = runtime.load(convert(quantized, mode="sequence", timesteps=t)).predict(x[:t])
        np.testing.assert_array_equal(y, whole)
    assert len(found) == len(checkpoints)
    first, last = resident.values()
    assert last - first < 200_000, f"{first} bytes grew to {last}"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_a_stream_does_not_drift_from_the_sequence() -> None:
    _long_stream(20_000, [1, 1000, 7001, 20_000])


@pytest.mark.long
def test_a_stream_of_a_million_steps_does_not_drift() -> None:
    _long_stream(1_000_000, [1000, 10_000, 100_000, 300_000, 1_000_000])


def test_calibrated_models_are_what_is_compared() -> None:
    """Outputs differ from sample to sample: equal constants would compare equal everywhere."""
    predicted = runtime.load(converted("gru", "sequence")).predict(signal(samples=8))
    assert len(np.unique(predicted)) > 10
    wanted = calibrated("gru").predict(signal(samples=8), verbose=0)
    assert np.abs(predicted - wanted).max() < 0.05
