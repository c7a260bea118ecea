"""The emulated Cortex-M55 gives what the tflite-micro wheel gives, and its counts repeat exactly."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tiny_models
from tiny_models import FEATURES, STEPS, UNITS

import keras_gru_plus as kgp
from keras_gru_plus_export import convert
from keras_gru_plus_export.devices import cortex_m55, cortex_m55_image, host

needs_device = pytest.mark.skipif(not cortex_m55.available(), reason=str(cortex_m55.unavailable()))
needs_tflm = pytest.mark.skipif(not host.available("tflm"), reason="tflite-micro: Linux x86-64")


def samples(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(-128, 128, shape).astype(np.int8)


@needs_device
@needs_tflm
@pytest.mark.parametrize("name", ["sequence", "step", "same"])
def test_outputs_are_those_of_the_wheel(name: str) -> None:
    data = tiny_models.models()[name]
    inputs = {"x": samples(3, STEPS if name == "sequence" else 1, FEATURES)}
    if name != "sequence":
        inputs["state_mgu"] = samples(3, UNITS)
    wanted = host.run(data, inputs, runtime="tflm", mode="sequence" if name == "sequence" else "step")
    got = cortex_m55.run(data, inputs).outputs
    assert got.keys() == wanted.keys()
    for key, array in got.items():
        assert len(np.unique(array)) > 5
        np.testing.assert_array_equal(array.reshape(wanted[key].shape), wanted[key])


@needs_device
def test_counts_repeat_and_counting_changes_nothing() -> None:
    data, inputs = tiny_models.models()["step"], {"x": samples(1, 1, FEATURES)}
    first, second = (cortex_m55.run(data, inputs, count=True) for _ in range(2))
    assert first.functions == second.functions
    assert first.instructions == sum(first.functions.values()) > 1000
    assert "arm_elementwise_mul_s8" in first.functions
    plain = cortex_m55.run(data, inputs)
    assert (plain.instructions, plain.functions) == (0, {})
    assert plain.arena == first.arena
    np.testing.assert_array_equal(plain.outputs["y"], first.outputs["y"])


@needs_device
def test_a_feature_that_is_never_near_zero_starts_at_the_end_of_its_grid() -> None:
    x = np.random.default_rng(0).normal(5000, 300, (32, 5, 1)).astype(np.float32)
    scale = keras.layers.Normalization()
    scale.adapt(x)
    model = keras.Sequential([keras.Input((5, 1), name="x"), scale, kgp.GRUPlus(4, variant="mgu", name="y")])
    data = convert(kgp.calibrate(kgp.quantize_aware(model), x), target="tflm")
    low = cortex_m55.run(data, {"x": np.full((1, 5, 1), -128, np.int8)}).outputs
    np.testing.assert_array_equal(cortex_m55.run(data, {}).outputs["y"], low["y"])


@needs_device
def test_inputs_that_the_file_does_not_have_and_models_that_are_none_are_refused() -> None:
    data = tiny_models.models()["step"]
    with pytest.raises(ValueError, match=r"inputs among \['state_mgu', 'x'\], got \['z'\]"):
        cortex_m55.run(data, {"z": samples(1, 1)})
    with pytest.raises(ValueError, match="Expected x to be int8"):
        cortex_m55.run(data, {"x": samples(1, 1, FEATURES + 1)})
    # The device's image has no variables.
    with pytest.raises(host.RuntimeFailure, match="Expected the Cortex-M55 to run the model"):
        cortex_m55.run(tiny_models.models()["stateful"], {"x": samples(1, 1, FEATURES)})


#: 28 features, 28 steps, 32 units, target tflm: variant, gates, mode, steps an iteration → most instructions of a
#: step, bytes of the file, bytes of the arena. They repeat exactly.
CEILINGS = {
    ("gru", "smooth", "sequence", 1): (21_300, 10_600, 4_450),
    ("gru", "smooth", "sequence", 4): (18_800, 11_700, 5_200),
    ("mgu", "smooth", "sequence", 1): (17_600, 8_000, 3_750),
    ("mgu", "saturating", "sequence", 1): (13_200, 6_850, 3_100),
    ("mgu", "saturating", "sequence", 4): (11_400, 7_450, 3_800),
    ("mgu", "saturating", "step", 1): (9_100, 6_000, 1_950),
}


@needs_device
@needs_tflm
@pytest.mark.slow
def test_instructions_file_and_arena_stay_below_their_ceilings(tmp_path: pathlib.Path) -> None:
    # In a process of its own: warnings are errors in the tests, and TensorFlow is full of them.
    benchmarks = pathlib.Path(__file__).parent.parent / "benchmarks"
    code = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "import cortex_m55 as b\n"
        "for name in sys.argv[3:]:\n"
        "    variant, gates, mode, steps = name.split()\n"
        "    window = b.STEPS if mode == 'sequence' else None\n"
        "    data = b.convert(b.model_of(variant, gates), mode=mode, target='tflm', timesteps=window,\n"
        "        steps_per_iteration=int(steps))\n"
        "    pathlib.Path(sys.argv[2], name).write_bytes(data)\n"
    )
    names = [" ".join(map(str, key)) for key in CEILINGS]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", code, str(benchmarks), str(tmp_path), *names], env=environment, check=True)
    for (variant, gates, mode, steps), ceiling in CEILINGS.items():
        data = (tmp_path / f"{variant} {gates} {mode} {steps}").read_bytes()
        length = 28 if mode == "sequence" else 1
        inputs = {"x": samples(1, length, 28)}
        if mode == "step":
            inputs["state_layer"] = samples(1, 32)
        run = cortex_m55.run(data, inputs, count=True)
        found = (run.instructions / length, len(data), run.arena)
        assert all(value <= most for value, most in zip(found, ceiling, strict=True)), (variant, gates, mode, found)
        wanted = host.run(data, inputs, runtime="tflm", mode=mode)
        for name, array in run.outputs.items():
            np.testing.assert_array_equal(array.reshape(wanted[name].shape), wanted[name])


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cortex_m55_image.shutil, "which", lambda name: None if "qemu" in name else name)
    with pytest.raises(
        cortex_m55.DeviceUnavailable, match=r"Expected qemu-system-arm for .*apt-get install .* qemu-system-arm$"
    ):
        cortex_m55_image.require_tools()
