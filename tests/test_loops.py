"""Loops of exported files: layers share one, and several steps of an iteration change no integer."""

from __future__ import annotations

import importlib

import keras
import numpy as np
import pytest
from export_models import ALL, calibrated, converted

import keras_gru_plus as kgp
from keras_gru_plus_export import analyze, convert, tflite
from keras_gru_plus_export.devices import host

convert_module = importlib.import_module("keras_gru_plus_export.convert")
RUNTIMES = [runtime for runtime in ("litert", "litert-reference", "tflm") if host.available(runtime)]
slow = pytest.mark.slow


def outputs(data: bytes, runtime: str) -> dict[str, np.ndarray]:
    model = tflite.load(data)
    generator = np.random.default_rng(5)
    fed = {}
    for name, index in tflite.signature(model).inputs.items():
        tensor = model.subgraphs[0].tensors[index]
        low, high = (0, 4) if tensor.type == tflite.TYPE.INT32 else (-128, 128)
        fed[name] = generator.integers(low, high, (6, *tensor.shape[1:])).astype(tflite.dtype(tensor))
    return host.run(data, fed, runtime=runtime, mode="sequence")


def assert_same(before: bytes, after: bytes) -> None:
    for runtime in RUNTIMES:
        wanted, got = outputs(before, runtime), outputs(after, runtime)
        assert wanted.keys() == got.keys()
        for name, array in wanted.items():
            assert len(np.unique(array)) > 2
            np.testing.assert_array_equal(got[name], array, err_msg=runtime)


def apart(name: str, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A model's file with a loop for each layer and direction."""
    with monkeypatch.context() as patch:
        patch.setattr(convert_module, "merge_loops", lambda model: 0)
        return convert(calibrated(name))


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("stacked", 2, 1),
        pytest.param("mixed", 2, 1, marks=slow),  # independent
        pytest.param("masked", 2, 1, marks=slow),
        pytest.param("both_ways", 6, 3, marks=slow),  # the second layer needs the end of the first one's backward
        pytest.param("tagger", 2, 1, marks=slow),
    ],
)
def test_layers_share_a_loop(name: str, before: int, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    single, together = apart(name, monkeypatch), converted(name, "sequence")
    assert [len(analyze(data).loops) for data in (single, together)] == [before, after]
    assert analyze(single).macs == analyze(together).macs
    assert len(together) <= len(single)
    assert_same(single, together)


def test_a_loop_that_starts_from_anothers_end_stays_apart() -> None:
    first, second = keras.Input((6, 3), name="first"), keras.Input((6, 2), name="second")
    _, state = kgp.GRUPlus(4, variant="mgu", return_state=True)(first)
    y = kgp.GRUPlus(4, variant="mgu", name="y")(second, initial_state=state)
    x = [np.random.default_rng(i).normal(0, 1, (16, 6, width)).astype("f") for i, width in enumerate((3, 2))]
    data = convert(kgp.calibrate(kgp.quantize_aware(keras.Model([first, second], y)), x))
    assert [loop.trip_count for loop in analyze(data).loops] == [6, 6]


@pytest.mark.parametrize("target", ["litert", "tflm"])
@pytest.mark.parametrize(
    "name",
    [
        "stacked",
        *(
            pytest.param(name, marks=slow)
            for name in (
                "states",
                "flattened",
                "both_ways",
                "tagger",
                "masked_apart",
                "qrnn_wide",
                "cifg",
                "grud_hard",
            )
        ),
        pytest.param("mixed_int16", marks=slow),
    ],
)
def test_steps_of_an_iteration_change_no_integer(name: str, target: str) -> None:
    assert ALL[name].inputs
    one, four = (converted(name, "sequence", target=target, steps_per_iteration=steps) for steps in (1, 4))
    assert {loop.trip_count for loop in analyze(four).loops} == {loop.trip_count // 4 for loop in analyze(one).loops}
    assert analyze(one).macs == analyze(four).macs
    assert_same(one, four)


def test_tflite_micro_calls_a_step_that_is_in_the_file_once() -> None:
    one, four, six = (
        converted("states", "sequence", target="tflm", steps_per_iteration=steps) for steps in (1, 4, 6)
    )
    kinds = {
        steps: [op.name for graph in analyze(data).graphs for op in graph.operators]
        for steps, data in ((1, one), (4, four), (6, six))
    }
    assert [kinds[steps].count("IF") for steps in kinds] == [0, 4, 6]
    assert len({kinds[steps].count("FULLY_CONNECTED") for steps in kinds}) == 1
    assert len(four) < len(one) + 1200
    assert len(six) - len(four) < 2 * 130
