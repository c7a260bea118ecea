"""The sources of a bundle: golden vectors hold, C++ is C++, refusals say why, and nothing is half-written."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess

import export_models
import keras
import numpy as np
import pytest

import keras_gru_plus as kgp
from keras_gru_plus_export import convert, export, tflite
from keras_gru_plus_export.devices import cortex_m55, host
from keras_gru_plus_export.extras import Context, arduino, esphome, micro
from keras_gru_plus_export.standalone import compile_step

STAND_IN = pathlib.Path(__file__).parent / "tflm_stand_in"
needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="g++")
needs_device = pytest.mark.skipif(not cortex_m55.available(), reason=str(cortex_m55.unavailable()))


def context(name: str, mode: str, **options: str) -> Context:
    samples = export_models.ALL[name].data(8, seed=3)
    labels = ["a", 'b "quoted"', "c", "d"]
    return Context(export_models.converted(name, mode, target="tflm", **options), mode, name, labels, samples, 4096)


@needs_gxx
@pytest.mark.parametrize(("name", "mode"), [("mgu_hard", "step"), ("mgu_hard", "stateful"), ("gru", "sequence")])
def test_sources_are_valid_and_golden_vectors_hold(name: str, mode: str, tmp_path: pathlib.Path) -> None:
    made = context(name, mode)
    for path, content in micro.files(made).items():
        (tmp_path / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    for source in ("main.cc", "model.cc"):
        command = ["g++", "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{STAND_IN}", source]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert not done.returncode, done.stderr
    with np.load(tmp_path / "golden.npz") as archive:
        golden = {key: archive[key] for key in archive.files}
    inputs = {k.removeprefix("input_"): v for k, v in golden.items() if k.startswith("input_")}
    outputs = {k.removeprefix("output_"): v for k, v in golden.items() if k.startswith("output_")}
    runs = micro.WINDOWS if mode == "sequence" else 2
    assert all(len(array) == runs for array in golden.values())
    # Again by other kernels that are equal for int8: the vectors do not depend on who made them.
    again = host.run(made.data, inputs, runtime="litert-reference", mode="sequence" if mode == "sequence" else mode)
    if mode != "stateful":  # LiteRT has no reset of variables
        for key, array in outputs.items():
            np.testing.assert_array_equal(again[key], array)
    assert all(len(np.unique(array)) > 5 for array in outputs.values())
    text = (tmp_path / "golden.h").read_text()
    assert text.count("constexpr int8_t golden_") == len(golden)
    body = text.split("golden_output_classes[")[1].split("{")[1].split("}")[0]
    assert [int(n) for n in body.replace("\n", " ").split(",") if n.strip()] == outputs["classes"].ravel().tolist()


@needs_gxx
def test_the_array_is_the_file_and_the_resolver_has_every_operator(tmp_path: pathlib.Path) -> None:
    made = context("gru", "sequence")
    found = micro.files(made)
    body = str(found["model.cc"]).split("= {")[1].split("}")[0]
    assert bytes(int(n) for n in body.replace("\n", " ").split(",") if n.strip()) == made.data
    model = tflite.load(made.data)
    names = {tflite.op_name(model, op) for graph in model.subgraphs for op in graph.operators}
    assert "LESS" in names  # of the condition, not of the main graph
    assert str(found["op_resolver.h"]).count("resolver.Add") == len(names)


@needs_gxx
def test_constants_of_features_with_scales_of_their_own_compile_and_quantize_as_the_golden_vectors(
    tmp_path: pathlib.Path,
) -> None:
    made = context("features", "step")
    found = {**micro.files(made), "kgp_model.h": compile_step(made.data).header}
    for path in ("golden.h", "quantization.h", "kgp_model.h"):
        (tmp_path / path).write_text(str(found[path]))
    x = made.samples["signal"].reshape(-1, 5)[: 2 * micro.STEPS].astype(np.float32)
    numbers = ", ".join(f"{float(value)!r}" for value in x.ravel())
    (tmp_path / "check.cc").write_text(f"""
#include <cmath>
#include <cstdio>
#include "golden.h"
#include "kgp_model.h"
#include "quantization.h"
static const double real[] = {{{numbers}}};
static const float scale[] = KGP_SIGNAL_SCALE;
static const int zero_point[] = KGP_SIGNAL_ZERO_POINT;
int main() {{
  static_assert(kgp::kInputSignalFeatures == KGP_SIGNAL_FEATURES, "");
  const int count = sizeof(real) / sizeof(*real);
  int wrong = 0;
  for (int i = 0; i < count; i++) {{
    const int f = i % kgp::kInputSignalFeatures;
    if (kgp::kInputSignalScale[f] != scale[f] || kgp::kInputSignalZeroPoint[f] != zero_point[f]) wrong++;
    float q = std::round(static_cast<float>(real[i]) / scale[f]) + zero_point[f];
    q = std::fmin(std::fmax(q, -128.0f), 127.0f);
    if (static_cast<int>(q) != kgp::golden_input_signal[i]) wrong++;
  }}
  std::printf("%d %d", count, wrong);
}}
""")
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "check.cc", "-o", "check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    count, wrong = map(int, subprocess.run([tmp_path / "check"], capture_output=True, text=True).stdout.split())
    assert count == x.size >= 5 * micro.STEPS
    assert wrong == 0


@needs_device
@pytest.mark.parametrize("steps", [2, pytest.param(micro.STEPS, marks=pytest.mark.slow)])
def test_golden_vectors_hold_on_the_emulated_device(steps: int) -> None:
    made = context("mgu_hard", "step")
    golden = micro.golden_vectors(made)
    for run in range(2):
        state = np.zeros((1, 8), np.int8)
        for step in range(steps):
            fed = {"signal": golden["input_signal"][run : run + 1, step], "state_gru": state}
            found = cortex_m55.run(made.data, fed).outputs
            for name in ("classes", "state_gru"):
                np.testing.assert_array_equal(found[name].ravel(), golden[f"output_{name}"][run, step].ravel())
            state = found["state_gru"].reshape(1, -1)


@needs_gxx
def test_export_writes_the_sources_beside_the_file(tmp_path: pathlib.Path) -> None:
    model = export_models.calibrated("mgu_hard")
    data = export_models.ALL["mgu_hard"].data(8, seed=3)
    export(model, tmp_path / "out", mode="step", target="tflm", calibration=data, extras=("c",))
    written = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert {"model.tflite", "report.json", "golden.npz", "main.cc", "c/kgp_model.c", "c/kgp_model.h"} <= written


@pytest.mark.parametrize(
    ("extras", "mode", "message"),
    [
        (("cobol",), "step", "Expected extras among c, arduino, esphome, got 'cobol'"),
        (("c",), "sequence", "Expected mode 'step'"),
        (("arduino",), "step", "Expected target 'tflm'"),
    ],
)
def test_extras_that_cannot_be_are_refused(
    extras: tuple[str, ...], mode: str, message: str, tmp_path: pathlib.Path
) -> None:
    with pytest.raises(ValueError, match=message):
        export(export_models.calibrated("mgu_hard"), tmp_path / "out", mode=mode, extras=extras)
    assert not any(tmp_path.iterdir())


@needs_gxx
@pytest.mark.parametrize(
    ("name", "mode", "io"), [("mgu_hard", "step", "float"), ("mgu_hard_int16", "sequence", "int8")]
)
def test_sources_of_other_types_are_valid(name: str, mode: str, io: str, tmp_path: pathlib.Path) -> None:
    for path, content in micro.files(context(name, mode, io=io)).items():
        (tmp_path / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    command = ["g++", "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{STAND_IN}", "main.cc"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stderr


@needs_gxx
def test_a_sketch_is_valid(tmp_path: pathlib.Path) -> None:
    found = arduino.files(context("mgu_hard", "step"))
    assert "mgu_hard/mgu_hard.ino" in found
    for path, content in found.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(str(content))
    stand_in = "struct { void begin(int); void print(const char*); operator bool() const; } Serial;\n"
    (tmp_path / "mgu_hard/sketch.cpp").write_text(stand_in + str(found["mgu_hard/mgu_hard.ino"]))
    for source in ("golden.cpp", "model.cpp", "sketch.cpp"):
        command = ["g++", "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{STAND_IN}", source]
        done = subprocess.run(command, cwd=tmp_path / "mgu_hard", capture_output=True, text=True)
        assert not done.returncode, done.stderr


def test_what_microwakeword_refuses_is_named() -> None:
    with pytest.raises(ValueError, match=r"mode 'step'; stock ESPHome has no .*GATHER.*; the input .*; the output"):
        esphome.files(context("gru", "step"))
    model = tflite.load(context("features", "stateful").data)
    model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].shape[-1] = 40
    tflite.set_grid(model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]], np.arange(1, 41) / 128, axis=2)
    assert any("one scale, " in broken for broken in esphome.broken_rules(tflite.dump(model), "stateful"))


@pytest.mark.skipif(not host.available("tflm"), reason="tflite-micro: Linux x86-64")
def test_a_wake_word_model_gets_a_manifest_and_an_unsigned_output() -> None:
    hard = kgp.activations.HardSigmoid(0.25)
    layer = kgp.GRUPlus(8, variant="mgu", activation="hard_tanh", recurrent_activation=hard, name="mgu")
    model = keras.Sequential([keras.Input((9, 40), name="x"), layer, keras.layers.Dense(1, hard, name="word")])
    samples = np.random.default_rng(0).normal(0, 1, (16, 9, 40)).astype("f")
    data = convert(kgp.calibrate(kgp.quantize_aware(model), samples), mode="stateful", target="tflm")
    made = Context(data, "stateful", "computer", None, {"x": samples}, 4096)
    found = esphome.files(made)
    assert json.loads(str(found["esphome/manifest.json"]))["micro"]["tensor_arena_size"] == 4096 + 1024
    x = np.random.default_rng(1).integers(-128, 128, (1, 20, 1, 40)).astype(np.int8)
    signed, unsigned = (
        host.run(bytes(file), {"x": x}, runtime="tflm", mode="stateful")["word"]
        for file in (data, found["esphome/model.tflite"])
    )
    assert unsigned.dtype == np.uint8
    assert len(np.unique(signed)) > 5
    np.testing.assert_array_equal(unsigned.astype(int) - 128, signed)
