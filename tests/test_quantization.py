"""Fake quantization, calibration and whole models, against integer arithmetic written out in NumPy."""

import functools
import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from references import sigmoid

import keras_gru_plus as kgp
from keras_gru_plus.arithmetic import Grid
from keras_gru_plus.quantization.cells import Observing
from keras_gru_plus.quantization.clipping import reach
from keras_gru_plus.quantization.taps import Tap, TapStore

BATCH, TIMESTEPS, FEATURES, UNITS = 32, 6, 3, 5
X = np.random.default_rng(0).normal(0, 1.2, (BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
HARD = {"activation": "hard_tanh", "recurrent_activation": kgp.activations.HardSigmoid(0.3)}


def randomized(model, size=0.7):
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(0, size, weight.shape).astype(np.float32))
    return model


def inputs_for(variant):
    """`X` with the columns that the variant expects: one value, its mask and a time."""
    if variant != "grud":
        return X
    return np.stack([X[..., 0], X[..., 1] > -0.5, np.abs(X[..., 2])], axis=-1).astype(np.float32)


def mgu_model(**options):
    gru = kgp.GRUPlus(UNITS, variant="mgu", return_sequences=True, name="mgu", **options)
    return randomized(keras.Sequential([keras.Input(X.shape[1:], name="x"), gru]))


def ranges(model):
    return {key: tuple(float(end) for end in tap.range()) for key, tap in model.taps.learned().items()}


# -- the arithmetic, a second time ----------------------------------------------------------------------


def rounded(v, scale, low=-128, high=127):
    """On the grid of int8 with zero point 0; halves go up, as in TensorFlow's fake quantization."""
    return np.clip(np.floor(v / scale + 0.5), low, high) * scale


def gate_grid(v):
    return rounded(v, 1 / 256, 0, 255)


def rounded_kernel(kernel, per_channel):
    scale = np.abs(kernel).max(axis=0 if per_channel else None) / 127
    return np.round(kernel / scale) * scale


def mgu_steps(weights, x, tap, unit=1.0, kernel=lambda joint: joint, hard=None):
    """MGU with `tap(name, value)` at every intermediate; `x` is the real input divided by `unit`."""
    (W, U, b), n = weights, weights[1].shape[0]
    kernel_f, kernel_h = (kernel(np.concatenate([W[:, c] * unit, U[:, c]])) for c in (slice(n), slice(n, None)))
    h = np.zeros((len(x), n))
    outputs = []
    for t in range(x.shape[1]):
        pre = np.concatenate([x[:, t], h], axis=-1) @ kernel_f + b[:n]
        f = tap("f", hard * pre + 0.5 if hard else sigmoid(tap("f_pre", pre)))
        gated = tap("f_gated", f * h)
        pre = np.concatenate([x[:, t], gated], axis=-1) @ kernel_h + b[n:]
        candidate = tap("h_cand", pre if hard else np.tanh(tap("h_pre", pre)))
        h = tap("h", h + tap("h_step", f * tap("h_diff", candidate - h)))
        outputs.append(h)
    return np.stack(outputs, axis=1)


class Int8MGU:
    """The MGU of a quantized model in NumPy, with the ranges that the model has now."""

    def __init__(self, model, per_channel=False, hard=None):
        self.bounds = {key.removeprefix("mgu/"): -low for key, (low, _) in ranges(model).items()}
        self.weights = [np.asarray(w, np.float64) for w in model.get_layer("mgu").get_weights()]
        self.per_channel, self.hard = per_channel, hard
        self.seen: dict[str, list[float]] = {}

    def tap(self, name, value):
        if name == "f":
            return gate_grid(value)
        if name in ("f_gated", "h_cand", "h"):
            return rounded(value, 1 / 128)
        low, high = self.seen.get(name, (0.0, 0.0))
        self.seen[name] = (min(low, value.min()), max(high, value.max()))
        return rounded(value, self.bounds[name] / 128)

    def __call__(self, x):
        unit = self.bounds["x/input"]
        integers = rounded(np.asarray(x, np.float64), unit / 128) / unit
        return mgu_steps(
            self.weights, integers, self.tap, unit, lambda k: rounded_kernel(k, self.per_channel), self.hard
        )


def same_integers(got, wanted, scale):
    """Equal on the grid, but for the few values that float32 puts on the other side of a rounding."""
    steps = np.abs(np.round(np.asarray(got) / scale) - np.round(wanted / scale))
    assert steps.max() <= 2  # such a value moves its successors by a step, too
    assert np.mean(steps == 0) > 0.98


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activations", [{}, HARD], ids=["smooth", "hard"])
def test_the_model_computes_the_integers_of_numpy(per_channel, activations):
    model = mgu_model(**activations)
    quantized = kgp.calibrate(kgp.quantize_aware(model, "int8_per_channel" if per_channel else "int8"), X)
    # Where a hard candidate saturates, the differences found are simple fractions and many of them exact ties.
    quantized.taps.tap("mgu/h_diff", Grid.LEARNED).set_range(-1.9, 1.9)
    quantized.taps.tap("mgu/h_step", Grid.LEARNED).set_range(-1.7, 1.7)
    expected = Int8MGU(quantized, per_channel, hard=0.3 if activations else None)(X)
    same_integers(quantized(X), expected, 1 / 128)
    assert np.abs(expected - model(X)).max() > 1 / 256  # so that the float model would not pass


@pytest.mark.parametrize("per_channel", [False, True])
def test_kernels_are_rounded_jointly_with_the_input_scale_folded_in(per_channel):
    quantized = kgp.calibrate(kgp.quantize_aware(mgu_model(), "int8_per_channel" if per_channel else "int8"), X)
    seen = {}
    original = type(quantized.taps.weight("mgu/f_pre/kernel", (FEATURES + UNITS, UNITS))).fake_quant

    def spy(self, kernel):
        seen[self.key] = np.asarray(kernel), np.asarray(original(self, kernel))
        return seen[self.key][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras_gru_plus.quantization.taps.WeightTap.fake_quant", spy)
        quantized(X)
    W, U, _ = quantized.get_layer("mgu").get_weights()
    unit = -ranges(quantized)["x/input"][0]
    for key, columns in (("mgu/f_pre/kernel", slice(UNITS)), ("mgu/h_pre/kernel", slice(UNITS, None))):
        joint = np.concatenate([W[:, columns] * unit, U[:, columns]]).astype(np.float64)
        # Relative roundings of float32; a wrong scale is wrong by 1/127 at least.
        np.testing.assert_allclose(seen[key][0], joint, rtol=1e-6)
        np.testing.assert_allclose(seen[key][1], rounded_kernel(joint, per_channel), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("recipe", ["int8", "int8_per_channel"])
def test_every_weight_has_a_gradient_the_greatest_and_zeros_included(recipe, jit_compile):
    tap = TapStore(kgp.Recipe.get(recipe)).weight("kernel", (9, 6))

    @tf.function(jit_compile=jit_compile)
    def gradient(kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            total = tf.reduce_sum(tap.fake_quant(kernel))
        return tape.gradient(total, kernel)

    rng = np.random.default_rng(0)
    for kernel in [np.zeros((9, 6)), *rng.normal(0, 1, (20, 9, 6))]:
        np.testing.assert_array_equal(gradient(tf.constant(kernel, tf.float32)), np.ones((9, 6)))


@pytest.mark.parametrize("variant", kgp.VARIANTS)
@pytest.mark.parametrize("activations", [{}, HARD], ids=["smooth", "hard"])
def test_every_tap_writes_integers_of_its_grid(variant, activations, monkeypatch):
    model = keras.Sequential([keras.Input(X.shape[1:]), kgp.GRUPlus(UNITS, variant=variant, **activations)])
    quantized = kgp.calibrate(kgp.quantize_aware(randomized(model)), inputs_for(variant))
    written = {}
    original = Tap.fake_quant

    def spy(self, value, *bounds):
        result = original(self, value, *bounds)
        written.setdefault(self.key, []).append(np.asarray(result))
        return result

    monkeypatch.setattr(Tap, "fake_quant", spy)
    quantized(inputs_for(variant))
    taps = quantized.taps.all()
    assert set(written) == set(taps)
    for key, values in written.items():
        low, high = (float(end) for end in taps[key].range())
        scale = {Grid.GATE: 1 / 256, Grid.UNIT: 1 / 128, Grid.DOUBLE: 1 / 64}.get(taps[key].grid, (high - low) / 255)
        integers = np.concatenate(values, axis=None) / scale
        zero_point = -128 if taps[key].grid in (Grid.GATE, Grid.POSITIVE) else 0
        # float32 of integers below 256, divided by a float32 scale; grids of a power of two are exact.
        np.testing.assert_allclose(integers, np.round(integers), rtol=0, atol=0 if taps[key].grid in FIXED else 1e-3)
        assert integers.min() + zero_point > -128.001
        assert integers.max() + zero_point < 127.001
        # A mask has two values, and fixed times few.
        assert len(np.unique(np.round(integers))) > (1 if variant == "grud" else 6)


FIXED = (Grid.GATE, Grid.UNIT, Grid.DOUBLE)


@pytest.mark.parametrize("variant", kgp.VARIANTS)
def test_the_recipe_none_is_the_float_model_bit_by_bit(variant):
    model = keras.Sequential(
        [keras.Input(X.shape[1:]), kgp.GRUPlus(UNITS, variant=variant), keras.layers.Dense(2, "softmax")]
    )
    randomized(model)
    none = kgp.quantize_aware(model, "none")
    x = inputs_for(variant)
    np.testing.assert_array_equal(none(x), model(x))
    np.testing.assert_array_equal(none.predict(x, verbose=0), model.predict(x, verbose=0))
    assert kgp.calibrate(none, x) is none
    none.require_ranges()
    np.testing.assert_array_equal(kgp.quantize_aware(model).float_model()(x), model(x))


@pytest.mark.parametrize("variant", kgp.VARIANTS)
@pytest.mark.parametrize("recipe", ["int8", "int8_per_channel"])
def test_eight_bits_are_close_to_float(variant, recipe):
    model = keras.Sequential([keras.Input(X.shape[1:]), kgp.GRUPlus(UNITS, variant=variant)])
    x = inputs_for(variant)
    quantized = kgp.calibrate(kgp.quantize_aware(randomized(model, 0.5), recipe), x)
    exact = np.asarray(model(x))
    error = (np.asarray(quantized(x)) - exact) / max(1, np.abs(exact).max())  # in parts of an unbounded state's range
    # Each step adds roundings of 1/2 step of 1/128 (state, product) and some 1/128 of the pre-activations' range
    # (about 4, times slopes of at most 1/4 and 1) through the gate: below 4/128 a step on a row's worst unit, and
    # the gates forget; a bistable cell amplifies some. A wrong grid or unit gives errors of the outputs' size.
    assert np.abs(error).max() < 15 / 128
    assert np.sqrt(np.mean(error**2)) < 3 / 128
    assert np.abs(np.mean(error)) < 1 / 128  # no drift to one side


# -- calibration ---------------------------------------------------------------------------------------


def observed(model, x, mask=None):
    """Least and greatest value of each sample `(batch,)` by tap, zero included, from NumPy."""
    seen = {}

    def record(name, value):
        seen.setdefault(name, []).append(value)
        return value

    mgu_steps([np.asarray(w, np.float64) for w in model.get_layer("mgu").get_weights()], np.float64(x), record)
    mask = np.ones(x.shape[:2], bool) if mask is None else mask
    values = {name: np.where(mask[..., None], np.stack(steps, axis=1), 0.0) for name, steps in seen.items()}
    return {name: (v.min(axis=(1, 2)).clip(max=0), v.max(axis=(1, 2)).clip(min=0)) for name, v in values.items()}


def symmetric(low, high, headroom=1.004):
    """The least range with zero point 0 that holds [low, high]; calibration adds 0.4 % to keep off rounding ties."""
    bound = max(-low, high * 128 / 127) * headroom
    return -bound, bound * 127 / 128


LEARNED = ("f_pre", "h_pre", "h_diff", "h_step")


@pytest.mark.parametrize("batch_size", [32, 7])
def test_calibrated_ranges_are_the_observed_extremes(batch_size):
    quantized = kgp.quantize_aware(mgu_model())
    assert kgp.calibrate(quantized, X, batch_size=batch_size) is quantized
    expected = {f"mgu/{name}": symmetric(*_extremes(observed(quantized, X)[name])) for name in LEARNED}
    expected["x/input"] = symmetric(X.min(), X.max())
    got = ranges(quantized)
    assert got.keys() == expected.keys()
    for key, wanted in expected.items():
        np.testing.assert_allclose(got[key], wanted, rtol=1e-5)  # float32 through six steps


def _extremes(pair):
    return pair[0].min(), pair[1].max()


def test_a_percentile_is_taken_over_the_samples_extremes():
    quantized = kgp.calibrate(kgp.quantize_aware(mgu_model()), X, percentile=90, batch_size=10)
    lows, highs = observed(quantized, X)["h_pre"]
    np.testing.assert_allclose(
        ranges(quantized)["mgu/h_pre"], symmetric(np.percentile(lows, 10), np.percentile(highs, 90)), rtol=1e-5
    )
    with pytest.raises(ValueError, match=r"Expected `percentile` to be in \(50, 100\], got 0.9"):
        kgp.calibrate(quantized, X, percentile=0.9)


def test_masked_steps_are_not_observed():
    model = mgu_model()
    layer = model.get_layer("mgu")
    mask = np.random.default_rng(0).random(X.shape[:2]) < 0.5
    mask[:, 0] = True  # so that the plain steps below see the same states as far as they are compared
    mask = np.logical_and.accumulate(mask, axis=1)
    x = np.where(mask[..., None], X, 100.0).astype(np.float32)
    arithmetic = Observing(layer.cell, TapStore(kgp.Recipe()), "mgu")
    with layer.cell.computing(arithmetic):
        layer(x, mask=mask)
    got = arithmetic.extremes()
    expected = observed(model, x, mask)
    assert got.keys() == {f"mgu/{name}" for name in LEARNED}
    for name in LEARNED:
        for a, b in zip(got[f"mgu/{name}"], expected[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # float32 through six steps


@pytest.mark.parametrize(
    "form", ["array", "tensor", "list", "dict", "tuple", "dataset", "dataset_with_targets", "generator", "batches"]
)
def test_every_form_of_data_gives_the_same_ranges(form):
    quantized = kgp.quantize_aware(mgu_model())
    data = {
        "array": X,
        "tensor": tf.constant(X),
        "list": [X],
        "dict": {"x": X, "unused": X},
        "dataset": tf.data.Dataset.from_tensor_slices(X).batch(10),
        "dataset_with_targets": tf.data.Dataset.from_tensor_slices((X, X[:, 0])).batch(10),
        "generator": (X[i : i + 5] for i in range(0, BATCH, 5)),
        "tuple": (X, X[:, 0]),
        "batches": [(X[:20], X[:20, 0]), (X[20:],)],
    }[form]
    kgp.calibrate(quantized, data)
    np.testing.assert_allclose(ranges(quantized)["x/input"], symmetric(X.min(), X.max()), rtol=1e-6)
    low, high = _extremes(observed(quantized, X)["h_pre"])
    np.testing.assert_allclose(ranges(quantized)["mgu/h_pre"], symmetric(low, high), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [7, 32, 64])
def test_clipped_shares_are_of_all_values_at_a_tap(batch_size):
    quantized = kgp.calibrate(kgp.quantize_aware(mgu_model()), X)
    quantized.taps.tap("mgu/h_diff", Grid.LEARNED).set_range(-0.4, 0.4)
    loud = 2 * X
    seen = {"input": [loud]}

    def record(name, value):
        seen.setdefault(name, []).append(value)
        return value

    mgu_steps([np.asarray(w, np.float64) for w in quantized.get_layer("mgu").get_weights()], np.float64(loud), record)
    found = reach(quantized, {"x": loud}, batch_size=batch_size)
    assert found.keys() == ranges(quantized).keys()
    for key, (low, high) in ranges(quantized).items():
        values = np.stack(seen[key.split("/")[1]], axis=1)
        half = (high - low) / 255 / 2
        outside = ((values < low - half) | (values > high + half)).sum()
        # A value on the very edge may fall to either side in float32.
        assert abs(found[key].outside - outside) <= 1
        assert outside
        assert found[key].total == values.size
        np.testing.assert_allclose((found[key].low, found[key].high), (values.min(), values.max()), rtol=1e-5)


def test_the_clip_of_a_positive_grid_at_zero_is_not_counted():
    x = keras.Input((3,), name="x")
    model = keras.Model(x, keras.layers.Dense(4, activation="relu", name="dense")(x))
    quantized = kgp.calibrate(kgp.quantize_aware(model), X[:, 0])
    found = reach(quantized, {"x": X[:, 0]})
    assert (found["dense/output"].outside, found["dense/output"].total) == (0, BATCH * 4)
    outside = (np.asarray(model(4 * X[:, 0])) > 1.002 * np.asarray(model(X[:, 0])).max()).sum()
    assert reach(quantized, {"x": 4 * X[:, 0]})["dense/output"].outside == pytest.approx(outside, abs=2)
    assert outside > 10


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X[:0], "Expected the same number of samples, at least one"),
        (np.where(X > 3, np.nan, X), "Expected finite numbers for input 'x', got NaN or infinity"),
        (np.where(X > 2, np.inf, X), "Expected finite numbers for input 'x', got NaN or infinity"),
        (X[..., :2], r"Expected data of shape \(samples, 6, 3\) for input 'x', got \(32, 6, 2\)"),
        (X[0], r"Expected data of shape \(samples, 6, 3\) for input 'x', got \(6, 3\)"),
        ({"y": X}, "Expected data with the keys x, got y"),
        ([X, X], "Expected one array for each of the inputs x, got 2"),
        (iter(()), "Expected data with at least one sample, got none"),
    ],
)
def test_unusable_calibration_data_is_refused_and_changes_nothing(data, message):
    quantized = kgp.quantize_aware(mgu_model())
    before = ranges(quantized)
    with pytest.raises(ValueError, match=message):
        kgp.calibrate(quantized, data)
    assert ranges(quantized) == before
    with pytest.raises(ValueError, match=r"to have its ranges set, got none; call keras_gru_plus.calibrate"):
        quantized.require_ranges()


def test_what_is_no_quantized_model_or_no_data_is_a_type_error():
    with pytest.raises(TypeError, match="Expected a model from quantize_aware, got Sequential"):
        kgp.calibrate(mgu_model(), X)
    with pytest.raises(TypeError, match=r"Expected arrays, an iterable of batches .* as data, got int"):
        kgp.calibrate(kgp.quantize_aware(mgu_model()), 3)


def test_calibration_leaves_the_state_of_stateful_layers_at_zero():
    gru = kgp.GRUPlus(UNITS, variant="mgu", stateful=True)
    model = randomized(keras.Sequential([keras.Input(batch_shape=(BATCH, TIMESTEPS, FEATURES)), gru]))
    quantized = kgp.calibrate(kgp.quantize_aware(model), X)
    first, second = np.asarray(quantized(X)), np.asarray(quantized(X))
    assert np.abs(first - second).max() > 1 / 128
    quantized.reset_states()
    np.testing.assert_array_equal(quantized(X), first)


def test_a_saturating_dense_layer_saturates_while_it_is_observed():
    model = keras.Sequential(
        [
            keras.Input((FEATURES,), name="x"),
            keras.layers.Dense(4, "hard_tanh", name="a"),
            keras.layers.Dense(4, "hard_sigmoid", name="b"),
            keras.layers.Dense(2, name="c"),
        ]
    )
    randomized(model, 5.0)
    x = X[:, 0]
    quantized = kgp.calibrate(kgp.quantize_aware(model), x)
    A, a, B, b, C, c = model.get_weights()
    expected = np.clip(np.clip(x @ A + a, -1, 1) @ B / 6 + b / 6 + 0.5, 0, 1) @ C + c
    np.testing.assert_allclose(ranges(quantized)["c/output"], symmetric(expected.min(), expected.max()), rtol=1e-5)


def test_the_ranges_are_saved_with_the_model(tmp_path):
    quantized = kgp.calibrate(kgp.quantize_aware(mgu_model(**HARD), "int8_per_channel"), X)
    quantized.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert ranges(loaded) == ranges(quantized)
    assert loaded.recipe == quantized.recipe
    loaded.require_ranges()
    np.testing.assert_array_equal(loaded(X), quantized(X))


# -- training ------------------------------------------------------------------------------------------


def moving_average(before, key, low, high):
    return [0.999 * old + 0.001 * new for old, new in zip(before[key], symmetric(low, high, headroom=1.0))]


def test_a_batch_moves_the_ranges_once_as_tfmot_does():
    quantized = kgp.calibrate(kgp.quantize_aware(mgu_model()), X)
    quantized.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    for batch in (2.0 * X[:16], 0.5 * np.abs(X[16:])):  # beyond the ranges, and well inside with the maximum deciding
        before = ranges(quantized)
        quantized.train_on_batch(batch, np.zeros((16, TIMESTEPS, UNITS)))
        after = ranges(quantized)
        moved = functools.partial(moving_average, before)
        # Values of about 4 in float32: 4e-7. What one batch changes is about 4e-3.
        np.testing.assert_allclose(after["x/input"], moved("x/input", batch.min(), batch.max()), atol=1e-6)
        cell = Int8MGU(quantized)
        cell.bounds |= {name: -before[f"mgu/{name}"][0] for name in LEARNED}  # they follow after the loop
        cell(batch)
        for name in LEARNED:
            # An extreme may stand one rounding of the state (1/128) off, of which the average takes 1/1000.
            np.testing.assert_allclose(after[f"mgu/{name}"], moved(f"mgu/{name}", *cell.seen[name]), atol=8e-6)
            assert np.abs(np.subtract(after[f"mgu/{name}"], before[f"mgu/{name}"])).max() > 4e-5


def test_freeze_ranges_stops_them_while_the_weights_go_on():
    quantized = kgp.calibrate(kgp.quantize_aware(mgu_model()), X)
    quantized.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    seen = [(ranges(quantized), quantized.get_layer("mgu").get_weights()[0].copy())]

    def note(epoch, logs):
        seen.append((ranges(quantized), quantized.get_layer("mgu").get_weights()[0].copy()))

    callbacks = [kgp.FreezeRanges(1), keras.callbacks.LambdaCallback(on_epoch_end=note)]
    targets = np.zeros((BATCH, TIMESTEPS, UNITS))
    quantized.fit(X, targets, epochs=3, callbacks=callbacks, verbose=0)
    assert [a[0] == b[0] for a, b in itertools.pairwise(seen)] == [False, True, True]
    assert all(np.any(a[1] != b[1]) for a, b in itertools.pairwise(seen))
    frozen = ranges(quantized)
    quantized.fit(X, targets, verbose=0)  # without the callback they move again
    assert ranges(quantized) != frozen
    with pytest.raises(ValueError, match="Expected `epoch` to be 0 or more, got -1"):
        kgp.FreezeRanges(-1)


def test_training_sets_the_ranges_and_inference_does_not_move_them():
    quantized = kgp.quantize_aware(mgu_model())
    with pytest.raises(ValueError, match="to have its ranges set"):
        quantized.require_ranges()
    quantized.compile("sgd", "mse", jit_compile=False)
    quantized.train_on_batch(X, np.zeros((BATCH, TIMESTEPS, UNITS)))
    quantized.require_ranges()
    before = ranges(quantized)
    quantized.predict(10 * X, verbose=0)
    quantized.evaluate(10 * X, np.zeros((BATCH, TIMESTEPS, UNITS)), verbose=0)
    assert ranges(quantized) == before


def test_gradients_pass_inside_a_range_and_stop_outside():
    store = TapStore(kgp.Recipe())
    tap = store.tap("tap", Grid.LEARNED)
    tap.set_range(-2.0, 1.0)
    value = tf.constant([-2.5, -1.9, 0.0, 1.9, 2.5])
    with tf.GradientTape() as tape:
        tape.watch(value)
        total = tf.reduce_sum(tap.fake_quant(value))
    np.testing.assert_array_equal(tape.gradient(total, value), [0, 1, 1, 1, 0])


def test_a_compiled_model_goes_on_training_where_it_was_saved(tmp_path):
    quantized = kgp.calibrate(kgp.quantize_aware(mgu_model()), X)
    quantized.compile("adam", "mse", jit_compile=False)
    targets = np.zeros((BATCH, TIMESTEPS, UNITS))
    quantized.fit(X, targets, batch_size=8, verbose=0)
    quantized.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for model in (quantized, loaded):
        model.fit(X, targets, batch_size=8, shuffle=False, verbose=0)
    for got, wanted in zip(loaded.get_weights(), quantized.get_weights(), strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("variant", kgp.VARIANTS)
def test_compiled_by_xla_training_gives_the_same_model(variant):
    trained, x = [], inputs_for(variant)
    for jit_compile in (False, True):
        model = keras.Sequential([keras.Input(X.shape[1:]), kgp.GRUPlus(UNITS, variant=variant)])
        quantized = kgp.calibrate(kgp.quantize_aware(randomized(model)), x)
        quantized.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
        quantized.fit(x, np.zeros((BATCH, UNITS)), epochs=3, batch_size=8, shuffle=False, verbose=0)
        trained.append((quantized.get_weights(), quantized(x)))
    # Twelve steps at rate 0.1; where float32 sums in another order cross a rounding, an output moves by 1/128 in one
    # of 160 values, which changes the gradient of the mean by some 1e-4.
    for got, wanted in zip(trained[1][0], trained[0][0], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-3)
    np.testing.assert_allclose(trained[1][1], trained[0][1], rtol=0, atol=4 / 128)


# -- whole models ----------------------------------------------------------------------------------------


def branched():
    """Two inputs; one Dense feeds a ReLU and a GRU; stacks of sequences; every structural layer."""
    a, b = keras.Input((TIMESTEPS, FEATURES), name="a"), keras.Input((4,), name="b")
    shared = keras.layers.Dense(4, name="shared")(a)
    positive = keras.layers.TimeDistributed(keras.layers.Dense(3, "relu"), name="each")(keras.layers.ReLU()(shared))
    sequences = kgp.GRUPlus(UNITS, variant="coupled", return_sequences=True)(shared)
    sequences = keras.layers.Dropout(0.3)(sequences)
    last = kgp.GRUPlus(4, variant="mgu")(sequences)
    classes = keras.layers.Softmax(name="classes")(keras.layers.Dense(3)(last))
    flat = keras.layers.Dense(2, "tanh", name="flat")(keras.layers.Flatten()(positive))
    again = kgp.GRUPlus(3, name="again")(keras.layers.Reshape((2, 2))(b))
    return randomized(keras.Model({"a": a, "b": b}, {"classes": classes, "flat": flat, "again": again}))


def test_a_model_of_branches_is_quantized_saved_and_trained(tmp_path):
    model = branched()
    data = {"a": X, "b": np.random.default_rng(5).normal(0, 1, (BATCH, 4)).astype(np.float32)}
    quantized = kgp.calibrate(kgp.quantize_aware(model), data)
    expected, got = model(data), quantized(data)
    assert got.keys() == expected.keys()
    for name in expected:
        error = np.asarray(got[name] - expected[name])
        # Some ten roundings of 1/128 of the ranges on the longest path; a wrong branch errs by what the outputs vary.
        assert np.sqrt(np.mean(error**2)) < 0.15 * np.std(expected[name], axis=0).max(), name
        assert np.abs(error).max() < 0.12, name
    integers = np.asarray(got["classes"]) * 256
    np.testing.assert_array_equal(integers, np.round(integers))

    quantized.compile("adam", "mse", jit_compile=False)
    history = quantized.fit(data, {k: np.zeros(v.shape) for k, v in expected.items()}, epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    quantized.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    again = loaded(data)
    for name, value in quantized(data).items():
        np.testing.assert_array_equal(again[name], value)


def test_dense_layers_compute_the_integers_of_numpy():
    i = keras.Input((FEATURES,), name="x")
    shared = keras.layers.Dense(6, name="shared")(i)
    outputs = [keras.layers.ReLU(name="relu")(shared), keras.layers.Dense(4, "sigmoid", name="gate")(shared)]
    model = randomized(keras.Model(i, [*outputs, keras.layers.Dense(3, "relu", name="fused")(i)]))
    x = X[:, 0]
    quantized = kgp.calibrate(kgp.quantize_aware(model), x)
    high = {key: end for key, (_, end) in ranges(quantized).items()}
    step = {key: end / 127 for key, end in high.items()}
    W, b, V, c = (model.get_layer(name).get_weights()[k] for name in ("shared", "gate") for k in (0, 1))
    F, d = model.get_layer("fused").get_weights()
    # The input's scale is folded before rounding: max|w|/127 of the product is that of the kernel times the scale.
    x = rounded(x.astype(np.float64), step["x/input"])
    dense = rounded(x @ rounded_kernel(W, False) + b, step["shared/output"])
    # The ReLU is fused into a matmul of its own; only the other branch reads the rounded output.
    relu = rounded(np.maximum(x @ rounded_kernel(W, False) + b, 0), high["relu/output"] / 255, 0, 255)
    pre = rounded(dense @ rounded_kernel(V, False) + c, step["gate/pre"])
    fused = rounded(np.maximum(x @ rounded_kernel(F, False) + d, 0), high["fused/output"] / 255, 0, 255)
    got = quantized(X[:, 0])
    same_integers(got[0], relu, high["relu/output"] / 255)
    same_integers(got[1], gate_grid(sigmoid(pre)), 1 / 256)
    same_integers(got[2], fused, high["fused/output"] / 255)
    for value, wanted in zip(got, model(X[:, 0]), strict=True):
        assert np.abs(value - wanted).max() > 1e-3  # the float model would not pass


def test_what_stands_right_behind_an_input_is_calibrated():
    i = keras.Input((TIMESTEPS, FEATURES), name="x")
    squashed = keras.layers.Activation("tanh", name="squash")(i)
    model = keras.Model(i, [kgp.GRUPlus(UNITS)(squashed), keras.layers.ReLU(name="relu")(i)])
    quantized = kgp.calibrate(kgp.quantize_aware(model), 3 * X)
    for name in ("squash/real", "relu/real"):
        np.testing.assert_allclose(ranges(quantized)[name], symmetric(3 * X.min(), 3 * X.max()), rtol=1e-6)
    np.testing.assert_allclose(quantized(3 * X)[1], model(3 * X)[1], rtol=0, atol=1.5 * 3 * np.abs(X).max() / 128)


def sequential(*layers, shape=(TIMESTEPS, FEATURES)):
    return keras.Sequential([keras.Input(shape), *layers])


def masked_mean():
    i = keras.Input((TIMESTEPS, FEATURES))
    return keras.Model(i, keras.layers.GlobalAveragePooling1D(name="mean")(keras.layers.Masking()(i)))


def looked_up_elsewhere():
    i = keras.Input((FEATURES,))
    return keras.Model(i, keras.layers.Embedding(5, 2, name="table")(keras.layers.Dense(2)(i)))


def operators():
    i = keras.Input((FEATURES,))
    return keras.Model(i, keras.layers.Dense(2)(i) + keras.layers.Dense(2)(i))


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


LISTING = r"Expected layers that can be quantized \(Activation, .*, GRUPlus, .*, ZeroPadding2D\), got "
FORM = r"in a form that can be quantized, got "


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: sequential(keras.layers.LSTM(2, name="rnn")),
            LISTING + r"LSTM 'rnn'; use GRUPlus, .*variant='cifg'",
        ),
        (lambda: sequential(keras.layers.GRU(2, name="rnn")), LISTING + "GRU 'rnn'"),
        (lambda: sequential(keras.layers.LayerNormalization(name="ln")), LISTING + ".* 'ln'; use BatchNormalization"),
        (lambda: sequential(keras.layers.Bidirectional(keras.layers.LSTM(2))), FORM + r"Bidirectional\(LSTM\)"),
        (lambda: sequential(keras.layers.Conv1D(2, 3, data_format="channels_first")), "data_format='channels_first'"),
        (lambda: sequential(keras.layers.BatchNormalization(axis=1)), FORM + "axis=1; only the last axis is taken"),
        (lambda: sequential(keras.layers.Masking(-1.0)), FORM + "mask_value=-1.0, .* mask with 0"),
        (lambda: sequential(keras.layers.Dense(2), keras.layers.Masking()), "right behind an input"),
        (masked_mean, r"Expected no mask at layer 'mean' \(GlobalAveragePooling1D\)"),
        (looked_up_elsewhere, "Expected layer 'table' .Embedding. to read an input of the model"),
        (operators, LISTING + "Add 'add"),
        (Subclassed, "Expected a Functional model or a built Sequential model, got Subclassed"),
        (lambda: keras.Sequential([kgp.GRUPlus(2)]), "Expected a Functional model or a built Sequential model, got"),
        (lambda: kgp.quantize_aware(mgu_model()), "Expected a float model, got one that is quantization-aware"),
        (lambda: sequential(kgp.GRUPlus(2, activation="gelu")), r"hard_sigmoid, hard_tanh, .*got 'gelu'"),
        (lambda: sequential(kgp.GRUPlus(2, recurrent_activation="tanh")), r"values in \[0, 1\] .*'gru', got 'tanh'"),
        (lambda: sequential(kgp.GRUPlus(2, dtype="mixed_float16")), FORM + "computing in float16"),
        (lambda: sequential(keras.layers.ReLU(threshold=1.0)), FORM + "a ReLU with a threshold"),
        (lambda: sequential(keras.layers.Softmax(axis=1)), FORM + "axis=1; only the last axis is taken"),
        (
            lambda: sequential(keras.layers.TimeDistributed(kgp.GRUPlus(2)), shape=(2, 3, 4)),
            r"Distributed\(GRUPlus\)",
        ),
        (lambda: sequential(keras.layers.Dense(2, "glu")), r"Expected an activation that can be quantized .*'glu'"),
    ],
)
def test_what_cannot_be_quantized_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        kgp.quantize_aware(build())


def test_what_is_no_model_is_a_type_error():
    with pytest.raises(TypeError, match="Expected a Keras model, got GRUPlus"):
        kgp.quantize_aware(kgp.GRUPlus(3))


@pytest.mark.parametrize("variant", ["gru", "mgu", "egru"])
def test_calibrated_accuracy_is_within_a_point_of_float(variant):
    datasets = pytest.importorskip("sklearn.datasets")
    images, digits = datasets.load_digits(return_X_y=True)
    rows = (images.reshape(-1, 8, 8) / 8 - 1).astype(np.float32)
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            kgp.GRUPlus(24, variant=variant, unroll=True),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(rows[:1200], digits[:1200], epochs=8, batch_size=64, verbose=0)
    quantized = kgp.calibrate(kgp.quantize_aware(model), rows[:200])
    exact, eight_bit = (np.mean(np.argmax(m(rows[1200:]), -1) == digits[1200:]) for m in (model, quantized))
    assert exact > 0.88
    # 597 images: one point is six of them.
    assert abs(exact - eight_bit) <= 0.01


# -- recipes ---------------------------------------------------------------------------------------------


def test_recipes_are_plain_data():
    for name in ("int8", "int8_per_channel", "int16x8", "float16", "none"):
        recipe = kgp.Recipe.get(name)
        assert kgp.Recipe.from_json(recipe.to_json()) == recipe
        assert kgp.Recipe.get(recipe) is recipe
        assert json.loads(recipe.to_json()) == recipe.get_config()
    assert kgp.Recipe.get({"name": "mine", "weights": "per_channel"}) == kgp.Recipe("mine", 8, "per_channel")
    assert kgp.Recipe.get("none").bits == 0
    # Written before there were 16-bit activations.
    assert kgp.Recipe.from_json('{"name": "int8", "bits": 8, "weights": "per_tensor"}') == kgp.Recipe.get("int8")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: kgp.Recipe.get("int7"),
            "Expected `recipe` to be one of int8, int8_per_channel, int16x8, float16, none, got 'int7'",
        ),
        (lambda: kgp.Recipe(bits=4), r"Expected `bits` to be 8, 16 \(float16\) or 0 \(float32\), got 4"),
        (lambda: kgp.Recipe(weights="per_row"), "Expected `weights` to be one of per_tensor, per_channel, got"),
        (
            lambda: kgp.Recipe.get({"bit": 8}),
            r"to be among name, bits, weights, activation_bits, overrides, got \['bit'\]",
        ),
        (lambda: kgp.Recipe(activation_bits=4), "Expected `activation_bits` to be 8 or 16, got 4"),
        (
            lambda: kgp.Recipe("wide", 8, "per_channel", 16),
            "`weights` to be per_tensor with 16-bit .*got 8 and per_ch",
        ),
        (lambda: kgp.Recipe("wide", 0, activation_bits=16), "Expected `bits` to be 8 .*with 16-bit .*got 0"),
        (lambda: kgp.quantize_aware(mgu_model(), "int7"), "Expected `recipe` to be one of"),
    ],
)
def test_impossible_recipes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
