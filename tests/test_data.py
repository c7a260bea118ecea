"""Data in every form that users have it in, what is refused, and the scores that come of it."""

from __future__ import annotations

import functools
import itertools
import json
import pathlib
import weakref
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from test_report import Page, printed

import keras_gru_plus as kgp
from keras_gru_plus.quantization.data import UNSIZED_SAMPLES, Batches
from keras_gru_plus_export import export
from keras_gru_plus_export.data import DataError, check_metric, checked_target, load_data, metric_for, score
from keras_gru_plus_export.html import render
from keras_gru_plus_export.terminal import show_report

Path = pathlib.Path
SAMPLES, TIMESTEPS = 23, 6
GENERATOR = np.random.default_rng(0)
SIGNAL = GENERATOR.normal(0, 1, (SAMPLES, TIMESTEPS, 3)).astype(np.float32)
OTHER = GENERATOR.normal(0, 1, (SAMPLES, TIMESTEPS, 2)).astype(np.float32)
LABELS, VALUES = np.arange(SAMPLES) % 4, GENERATOR.normal(0, 1, (SAMPLES, 1))
WEIGHTS = np.ones(SAMPLES)


@functools.cache
def single() -> Any:
    """One input `signal`, one output `classes`."""
    signal = keras.Input((TIMESTEPS, 3), name="signal")
    x = kgp.GRUPlus(4, variant="mgu", name="gru")(signal)
    return kgp.quantize_aware(keras.Model(signal, keras.layers.Dense(4, activation="softmax", name="classes")(x)))


@functools.cache
def double() -> Any:
    """Inputs `signal` and `other`, outputs `classes` and `value`; built with a dict of outputs under other keys."""
    signal, other = keras.Input((TIMESTEPS, 3), name="signal"), keras.Input((TIMESTEPS, 2), name="other")
    left = kgp.GRUPlus(4, variant="mgu", name="left")(signal)
    right = kgp.GRUPlus(4, variant="mgu", name="right")(other)
    classes = keras.layers.Dense(4, activation="softmax", name="classes")(left)
    value = keras.layers.Dense(1, name="value")(right)
    return kgp.quantize_aware(keras.Model([signal, other], {"kind": classes, "size": value}))


class Stored(keras.utils.PyDataset):
    """Batches of 5; without an end if `endless`."""

    def __init__(self, *arrays: np.ndarray, endless: bool = False) -> None:
        super().__init__()
        self.arrays, self.endless = arrays, endless

    @property
    def num_batches(self) -> int | None:
        return None if self.endless else -(-len(self.arrays[0]) // 5)

    def __getitem__(self, index: int) -> Any:
        start = 5 * index % len(self.arrays[0])
        return tuple(array[start : start + 5] for array in self.arrays)


def in_batches(*arrays: Any, kind: type = tuple) -> Iterator[Any]:
    for start in range(0, SAMPLES, 5):
        yield kind(array[start : start + 5] for array in arrays)


def dataset(elements: Any) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(elements).batch(5)


def saved(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


WITH_TARGETS = {
    "npz": lambda folder: saved(folder, signal=SIGNAL, classes=LABELS),
    "npz of x and y": lambda folder: str(saved(folder, x=SIGNAL, y=LABELS)),
    "dict": lambda _: {"signal": SIGNAL, "y": LABELS},
    "tuple": lambda _: (SIGNAL, LABELS),
    "tuple of tensors": lambda _: (tf.constant(SIGNAL), tf.constant(LABELS)),
    "tuple with weights": lambda _: (SIGNAL, LABELS, WEIGHTS),
    "tuple of dicts": lambda _: ({"signal": SIGNAL}, {"classes": LABELS}),
    "tuple of plain lists": lambda _: (SIGNAL.tolist(), LABELS.tolist()),
    "tuple of lists of one": lambda _: ([SIGNAL], [LABELS]),
    "dataset": lambda _: dataset((SIGNAL, LABELS)),
    "dataset with weights": lambda _: dataset((SIGNAL, LABELS, WEIGHTS)),
    "dataset of dicts": lambda _: dataset(({"signal": SIGNAL}, {"classes": LABELS})),
    "dataset of one dict": lambda _: dataset({"x": SIGNAL, "classes": LABELS}),
    "dataset of unknown length": lambda _: dataset((SIGNAL, LABELS)).filter(lambda x, y: True),
    "PyDataset": lambda _: Stored(SIGNAL, LABELS, WEIGHTS),
    "generator": lambda _: in_batches(SIGNAL, LABELS),
    "generator of lists": lambda _: in_batches(tf.constant(SIGNAL), LABELS, kind=list),
    "list of batches": lambda _: list(in_batches(SIGNAL, LABELS)),
    "list of lists": lambda _: list(in_batches(SIGNAL, LABELS, kind=list)),
}  # fmt: skip


@pytest.mark.parametrize("form", WITH_TARGETS)
def test_every_form_is_read_as_the_same_samples_and_targets(form: str, tmp_path: Path) -> None:
    data = load_data(single(), WITH_TARGETS[form](tmp_path))
    assert (list(data.inputs), list(data.targets), data.capped) == (["signal"], ["classes"], False)
    np.testing.assert_array_equal(data.inputs["signal"], SIGNAL)
    assert data.inputs["signal"].dtype == np.float32
    np.testing.assert_array_equal(data.targets["classes"], LABELS)


def array_file(folder: Path) -> Path:
    np.save(folder / "data.npy", SIGNAL.astype(np.float64))
    return folder / "data.npy"


INPUTS = {
    "npy": array_file,
    "float64": lambda _: SIGNAL.astype(np.float64),
    "tensor": lambda _: tf.constant(SIGNAL),
    "tuple of one": lambda _: (SIGNAL,),
    "dataset": lambda _: dataset(SIGNAL),
    "PyDataset": lambda _: Stored(SIGNAL),
    "iterator": lambda _: iter([SIGNAL[:20], SIGNAL[20:]]),
}  # fmt: skip


@pytest.mark.parametrize("form", INPUTS)
def test_inputs_alone_are_data_without_targets(form: str, tmp_path: Path) -> None:
    data = load_data(single(), INPUTS[form](tmp_path))
    np.testing.assert_array_equal(data.inputs["signal"], SIGNAL)
    assert data.targets == {}


@pytest.mark.parametrize(
    "data",
    [
        ([SIGNAL, OTHER], [LABELS, VALUES]),
        ((SIGNAL, OTHER), (LABELS, VALUES), WEIGHTS),
        ({"other": OTHER, "signal": SIGNAL}, {"value": VALUES, "classes": LABELS}),
        ([SIGNAL, OTHER], {"size": VALUES, "kind": LABELS}),  # the keys that the model was built with
        {"other": OTHER, "x": SIGNAL, "value": VALUES, "y": LABELS},
        dataset(((SIGNAL, OTHER), (LABELS, VALUES))),
        dataset(({"other": OTHER, "signal": SIGNAL}, {"size": VALUES, "kind": LABELS})),
    ],
)
def test_several_inputs_and_outputs_by_name_or_in_order(data: Any) -> None:
    found = load_data(double(), data)
    for got, wanted in ((found.inputs, {"signal": SIGNAL, "other": OTHER}),
                        (found.targets, {"classes": LABELS, "value": VALUES})):  # fmt: skip
        assert list(got) == list(wanted)
        for name, array in wanted.items():
            np.testing.assert_array_equal(got[name], array)


def test_targets_may_be_of_some_outputs_only() -> None:
    for data in (([SIGNAL, OTHER], {"value": VALUES}), ([SIGNAL, OTHER], [None, VALUES])):
        assert list(load_data(double(), data).targets) == ["value"]
    assert load_data(double(), [SIGNAL, OTHER]).targets == {}


def test_a_last_axis_of_one_may_be_left_out() -> None:
    x = keras.Input((TIMESTEPS, 1), name="x")
    batches = Batches(keras.Model(x, keras.layers.GRU(2)(x)), SIGNAL[:, :, 0], batch_size=10)
    np.testing.assert_array_equal(np.concatenate([batch.inputs["x"] for batch in batches]), SIGNAL[:, :, :1])


REFUSED = {
    "unbatched": (tf.data.Dataset.from_tensor_slices((SIGNAL, LABELS)), r"got \(6, 3\), .*call .batch\(n\)"),
    "unbatched generator": (iter(SIGNAL), r"got \(6, 3\), which is a single sample; yield batches"),
    "one sample": (SIGNAL[0], r"got \(6, 3\), which is a single sample; give it as x\[np.newaxis\]"),
    "infinite": (dataset((SIGNAL, LABELS)).repeat(), r"data that ends, got an infinite .*use .take\(n\)"),
    "no batches": (dataset(SIGNAL).take(0), "at least one sample, got none"),
    "tuple of four": ((SIGNAL,) * 4, r"\(inputs, targets, sample weights\), got one of 4"),
    "two arrays": ([SIGNAL, SIGNAL], r"each of the inputs signal, got 2; a dict names them"),
    "unknown key": ({"signal": SIGNAL, "clases": LABELS}, r"keys signal \(or x\) and .*got signal, clases"),
    "unknown output": ((SIGNAL, {"clases": LABELS}), "targets for the outputs classes, got clases"),
    "other samples": ((SIGNAL, LABELS[:-1]), "23 targets for output 'classes', one for each sample, got 22"),
    "some targets": (iter([(SIGNAL, LABELS), (SIGNAL,)]), "'classes' in each of 2 batches, got it in 1"),
    "bad targets": ((SIGNAL, np.where(LABELS < 3, 0.0, np.nan)), "finite targets .*got NaN or infinity in sample 3 "),
    "text": ((SIGNAL, LABELS.astype(str)), "numbers as targets of output 'classes', got <U"),
    "ragged": ([[[0.0, 1.0], [2.0]]], "an array for input 'signal', got list"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_other_data_is_refused_with_what_to_do(case: str) -> None:
    data, message = REFUSED[case]
    with pytest.raises(DataError, match=f"Expected .*{message}"):
        load_data(single(), data)


def test_windows_of_several_lengths_are_for_calibration_only() -> None:
    signal = keras.Input((None, 3), name="signal")
    model = kgp.quantize_aware(keras.Model(signal, kgp.GRUPlus(2, variant="mgu")(signal)))
    windows = [(SIGNAL,), (10 * SIGNAL[:, :4],)]
    kgp.calibrate(model, windows)
    assert float(model.taps.all()["signal/input"].bound()) > 10 * np.abs(SIGNAL[:, :4]).max()
    with pytest.raises(DataError, match=r"one shape for 'signal', got \(4, 3\), \(6, 3\); cut or pad"):
        load_data(model, windows)
    with pytest.raises(DataError, match=r"got \(6, 3\), which is a single sample; call .batch"):
        load_data(model, tf.data.Dataset.from_tensor_slices(SIGNAL))


def test_the_first_bad_number_is_named_by_its_sample_in_all_batches() -> None:
    x = SIGNAL.copy()
    x[17, 4, 2] = np.inf
    for data in (x, dataset(x), in_batches(x)):
        with pytest.raises(
            DataError, match=r"finite numbers for input 'signal'.* in sample 17, time step 4 \(counted"
        ):
            kgp.calibrate(single(), data)


# -- integers --------------------------------------------------------------------------------------


@functools.cache
def of_tokens(rows: int | None) -> keras.Model:
    tokens = keras.Input((TIMESTEPS,), dtype="int64", name="tokens")
    embedded = tokens if rows is None else keras.layers.Embedding(rows, 2)(tokens)
    return keras.Model(tokens, keras.layers.Flatten()(embedded))


TOKENS = np.arange(SAMPLES * TIMESTEPS).reshape(SAMPLES, TIMESTEPS)


@pytest.mark.parametrize("kind", ["int64", "uint8", "float32", "float64"])
def test_inputs_of_integers_become_int32(kind: str) -> None:
    batches = [batch.inputs["tokens"] for batch in Batches(of_tokens(138), TOKENS.astype(kind), batch_size=10)]
    assert {array.dtype for array in batches} == {np.dtype("int32")}
    np.testing.assert_array_equal(np.concatenate(batches), TOKENS)


@pytest.mark.parametrize(
    ("rows", "tokens", "message"),
    [
        (None, TOKENS + np.where(TOKENS == 99, 0.5, 0), "whole numbers of 32 bits .*got 99.5 in sample 16, time"),
        (None, TOKENS.astype("int64") << 30, "whole numbers of 32 bits .*got 2147483648 in sample 0, time step 2"),
        (None, np.where(TOKENS == 7, np.nan, TOKENS), "got nan in sample 1, time step 1"),
        (137, TOKENS, "whole numbers from 0 to 136 for input 'tokens', got 137 in sample 22, time step 5"),
        (137, TOKENS - 1, "whole numbers from 0 to 136 for input 'tokens', got -1 in sample 0"),
    ],
)  # fmt: skip
def test_what_is_no_integer_of_the_input_is_refused(rows: int | None, tokens: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(Batches(of_tokens(rows), dataset(tokens)))


# -- data without an end ---------------------------------------------------------------------------


def endless(form: str) -> Any:
    many = np.repeat(SIGNAL, 20, axis=0)
    if form == "generator":
        return itertools.repeat(many)
    if form == "PyDataset":
        return Stored(many, endless=True)
    spec = tf.TensorSpec((None, TIMESTEPS, 3))
    return tf.data.Dataset.from_generator(lambda: itertools.repeat(many), output_signature=spec)


@pytest.mark.parametrize("form", ["generator", "PyDataset", "dataset"])
def test_data_of_unknown_length_is_read_up_to_a_documented_number(form: str) -> None:
    with pytest.warns(UserWarning, match="more than 10,000 samples; the first 10,000 were used. Pass `max_samples`"):
        kgp.calibrate(single(), endless(form))
    data = load_data(single(), endless(form))
    assert (len(data), data.capped) == (UNSIZED_SAMPLES, True)
    data = load_data(single(), endless(form), max_samples=37)
    assert (len(data), data.capped) == (37, False)
    assert "10,000" in str(kgp.calibrate.__doc__)


def test_max_samples_is_all_that_is_taken_from_a_source() -> None:
    batches = in_batches(SIGNAL, LABELS)
    assert len(load_data(single(), batches, max_samples=10)) == 10
    np.testing.assert_array_equal(next(batches)[0], SIGNAL[10:15])
    assert len(load_data(single(), (SIGNAL, LABELS), max_samples=7).targets["classes"]) == 7
    kgp.calibrate(single(), np.concatenate([SIGNAL, 100 * SIGNAL]), max_samples=SAMPLES)
    assert float(single().taps.all()["signal/input"].bound()) < 10
    with pytest.raises(ValueError, match="`max_samples` to be 1 or more, got 0"):
        kgp.calibrate(single(), SIGNAL, max_samples=0)


def test_calibration_keeps_no_more_than_a_few_batches_in_memory() -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Array(np.ndarray):
        """An array that can be kept in a set."""

        __hash__ = object.__hash__

    def batches() -> Iterator[np.ndarray]:
        nonlocal most
        for _ in range(30):
            batch = Array(SIGNAL.shape, np.float32)  # not a view, so that views of it keep it alive
            batch[:] = SIGNAL
            alive.add(batch)
            most = max(most, len(alive))
            yield batch
            del batch

    kgp.calibrate(single(), batches())
    assert most <= 4


# -- scores ----------------------------------------------------------------------------------------

ONE_HOT = np.eye(4)[LABELS]
PREDICTIONS = np.eye(4)[(LABELS + (np.arange(SAMPLES) < 4)) % 4] * 0.5 + 0.1


@pytest.mark.parametrize("kind", ["float32", "float64", "int64", "bool"])
def test_one_hot_rows_are_classes(kind: str) -> None:
    target = ONE_HOT.astype(kind)
    assert metric_for(target, shape=target.shape) == "accuracy"
    target = checked_target("y", target, "accuracy", target.shape)
    np.testing.assert_array_equal(target, LABELS)
    assert score("accuracy", PREDICTIONS, target) == (SAMPLES - 4) / SAMPLES


def test_which_targets_are_classes() -> None:
    steps = np.stack([ONE_HOT] * 5, axis=1)
    assert metric_for(steps, shape=steps.shape) == "accuracy"
    assert checked_target("y", steps, "accuracy", steps.shape).shape == (SAMPLES, 5)
    smooth, none, two = 0.9 * ONE_HOT + 0.025, ONE_HOT.copy(), ONE_HOT.copy()
    none[3], two[3] = 0, 1
    for target in (smooth, none, two):
        assert metric_for(target, shape=target.shape) == "mae"
    assert metric_for(ONE_HOT, "mae", shape=ONE_HOT.shape) == "mae"
    single_column = (LABELS % 2).astype(np.float32)
    for target in (single_column, single_column[:, None]):
        assert metric_for(target, shape=(SAMPLES, 1), sigmoid=True) == "accuracy"
        assert metric_for(target, shape=(SAMPLES, 1), sigmoid=False) == "mae"
        assert metric_for(target + 0.5, shape=(SAMPLES, 1), sigmoid=True) == "mae"
        assert metric_for(target, "mae", shape=(SAMPLES, 1), sigmoid=True) == "mae"


def test_metrics_by_output() -> None:
    for metric in ({"a": "mae", "b": "accuracy"}, "a=mae, b=accuracy"):
        check_metric(metric, ["a", "b", "c"])
        found = [metric_for(LABELS, metric, name=name) for name in ("a", "b", "c")]
        assert found == ["mae", "accuracy", "accuracy"]
        with pytest.raises(DataError, match="`metric` for the outputs a, c, got b"):
            check_metric(metric, ["a", "c"])
    for metric in ("f1", {"a": "f1"}, "a=f1"):
        with pytest.raises(DataError, match="`metric` to be one of accuracy, mae, got 'f1'"):
            check_metric(metric)


def test_every_output_is_scored_by_what_its_targets_are(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    signal = keras.Input((TIMESTEPS, 3), name="signal")
    steps, last = kgp.GRUPlus(6, variant="mgu", return_sequences=True, return_state=True, name="gru")(signal)
    outputs = [
        keras.layers.Dense(2, name="unlabelled")(last),
        keras.layers.Dense(4, activation="softmax", name="steps")(steps),
        keras.layers.Dense(3, activation="softmax", name="kind")(last),
        keras.layers.Dense(1, activation="sigmoid", name="alarm")(last),
        keras.layers.Dense(1, name="value")(last),
    ]
    model = keras.Model(signal, outputs)
    targets = {
        "steps": GENERATOR.integers(0, 4, (SAMPLES, TIMESTEPS)),
        "kind": np.eye(3, dtype=np.float32)[LABELS % 3],
        "alarm": np.float32(LABELS % 2),
        "value": np.float32(LABELS % 2),
    }
    report = export(
        model,
        tmp_path / "out",
        calibration=dataset((SIGNAL, {"value": targets["value"]})),
        evaluation=dataset(({"signal": SIGNAL}, targets)),
        labels=["left", "right"],
    )
    predictions = dict(zip(["unlabelled", "steps", "kind", "alarm", "value"], model.predict(SIGNAL, verbose=0)))
    expected = {
        "unlabelled": None,
        "steps": (predictions["steps"].argmax(-1) == targets["steps"]).mean(),
        "kind": (predictions["kind"].argmax(-1) == LABELS % 3).mean(),
        "alarm": ((predictions["alarm"][:, 0] > 0.5) == LABELS % 2).mean(),
        "value": np.abs(predictions["value"][:, 0] - LABELS % 2).mean(),
    }
    verification = report.verification
    by_name = {row.name: row for row in verification.of("float").outputs}
    metrics = {name: row.metric for name, row in by_name.items()}
    rest = ("steps", "kind", "alarm")
    assert metrics == {"unlabelled": None, **dict.fromkeys(rest, "accuracy"), "value": "mae"}
    assert by_name["unlabelled"].score is None
    for name in (*rest, "value"):
        assert by_name[name].score == pytest.approx(expected[name], rel=1e-5)
    assert (verification.output, verification.metric) == ("steps", "accuracy")
    litert = verification.of("litert")
    assert litert.score == next(row for row in litert.outputs if row.name == "steps").score
    assert all(row.agreement is not None and row.agreement > 0.8 for row in litert.outputs)
    assert np.sum(verification.confusion["litert"]) == SAMPLES * TIMESTEPS
    assert all(equality.differing == 0 for equality in verification.equalities)
    text, page = printed(show_report, report), Page(render(report)).text
    for shown in (text, page):
        assert "output steps" in shown
        assert "alarm" in shown
        assert f"{by_name['value'].score:.4g}" in shown
    assert "TensorFlow" not in text
    found = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["verification"]
    assert [row["name"] for row in found["results"][0]["outputs"]] == list(expected)


# -- clipping --------------------------------------------------------------------------------------


@functools.cache
def quiet_and_loud() -> tuple[Any, np.ndarray]:
    """A model that was calibrated on quiet signals, and signals three times as loud."""
    keras.utils.set_random_seed(0)
    signal = keras.Input((TIMESTEPS, 3), name="signal")
    hard = {"activation": "hard_tanh", "recurrent_activation": "hard_sigmoid"}
    x = kgp.GRUPlus(6, variant="mgu", name="gru", kernel_initializer=keras.initializers.Constant(1.5), **hard)(signal)
    classes = keras.layers.Dense(3, activation="softmax", name="classes")(x)
    return kgp.calibrate(kgp.quantize_aware(keras.Model(signal, classes)), SIGNAL), 3 * np.tile(SIGNAL, (15, 1, 1))


def test_what_the_ranges_clip_is_a_warning_that_names_tap_and_share(tmp_path: Path) -> None:
    model, loud = quiet_and_loud()
    report = export(model, tmp_path / "out", evaluation=loud)
    taps = {tap.key: tap for tap in report.taps}
    tap = taps["signal/input"]
    share = ((loud > tap.high + tap.scale / 2) | (loud < tap.low - tap.scale / 2)).mean()
    assert share > 0.1
    assert tap.clipped == pytest.approx(share)
    (warning,) = [sentence for sentence in report.warnings if "clip" in sentence]
    assert f"signal/input ({100 * share:.2f} % of its values, by up to " in warning
    assert "calibrate on more data, which covers it, or with a higher percentile" in warning
    # The gates saturate far beyond their grids: that is what they are there for.
    assert {key: taps[key].clipped for key in ("gru/f", "gru/h_cand")} == {"gru/f": None, "gru/h_cand": None}
    assert "gru/f " not in warning
    assert "gru/h_cand " not in warning
    text, page = " ".join(printed(show_report, report).split()), Page(render(report)).text
    assert warning in text
    assert warning in page
    assert f"{100 * share:.2f} %" in page.split("Ranges")[1]
    found = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["taps"]
    assert {tap["key"]: tap["clipped"] for tap in found} == {key: tap.clipped for key, tap in taps.items()}


def test_a_share_below_the_limit_is_no_warning(tmp_path: Path) -> None:
    model, _ = quiet_and_loud()
    few = np.tile(SIGNAL, (50, 1, 1))
    few[3, 2, 1] *= 100
    report = export(model, tmp_path / "out", evaluation=few)
    clipped = {tap.key: tap.clipped for tap in report.taps if tap.clipped}
    assert clipped["signal/input"] == pytest.approx(1 / few.size)
    assert not [sentence for sentence in report.warnings if "clip" in sentence]


def test_a_generator_calibrates_and_is_verified_on_and_a_longer_one_is_said_to_be(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    signal = keras.Input((TIMESTEPS, 3), name="signal")
    model = keras.Model(signal, keras.layers.Dense(4, name="classes")(kgp.GRUPlus(2, variant="mgu")(signal)))
    report = export(model, tmp_path / "one", calibration=in_batches(SIGNAL, LABELS))
    assert (report.verification.source, report.verification.results[0].samples) == ("calibration", SAMPLES)
    assert report.verification.metric == "accuracy"
    report = export(model, tmp_path / "two", calibration=SIGNAL, evaluation=endless("generator"), max_samples=30)
    assert report.verification.results[0].samples == 30
    assert not [sentence for sentence in report.warnings if "length" in sentence]
