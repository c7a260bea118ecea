"""What Keras promises of a recurrent layer, for every variant."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from layers import BATCH, MASKS, NAMES, TIMESTEPS, close, inputs, layer, randomized, sizes, starts

import keras_gru_plus as kgp

QUICK = ("gru", "mgu")  # stand for all where a test takes seconds
SLOW_NAMES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES]
MOVING = ("ligru",)  # training moves averages, too
SEQUENCES = {"return_sequences": True, "return_state": True}

every_variant = pytest.mark.parametrize("name", NAMES)
each_in_its_tier = pytest.mark.parametrize("name", SLOW_NAMES)


# -- configs, files, graphs --------------------------------------------------------------------------


@every_variant
def test_a_saved_model_gives_equal_outputs_of_the_announced_shapes(name, tmp_path):
    features, units = sizes(name)
    gates = kgp.activations.HardSigmoid(0.3)
    x = keras.Input((None, features))
    sequences, *states = kgp.GRUPlus(units, variant=name, dropout=0.2, **SEQUENCES)(x)
    last = kgp.GRUPlus(units, "hard_tanh", gates, False, variant=name, go_backwards=True)(sequences)
    both = keras.layers.Bidirectional(kgp.GRUPlus(units, variant=name, return_sequences=True))(x)
    cells = keras.layers.RNN(kgp.GRUPlusCell(units, variant=name), return_sequences=True)(x)
    model = randomized(keras.Model(x, [sequences, *states, last, both, cells]))

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    cloned = keras.models.clone_model(model)
    cloned.set_weights(model.get_weights())

    assert [type(each) for each in loaded.layers] == [type(each) for each in model.layers]
    for batch, timesteps in ((BATCH, TIMESTEPS), (2, 7)):
        value = inputs(name, batch, timesteps)
        outputs = model(value)
        for got, again, wanted, symbolic in zip(loaded(value), cloned(value), outputs, model.outputs, strict=True):
            np.testing.assert_array_equal(got, wanted)
            np.testing.assert_array_equal(again, wanted)
            assert np.any(wanted)
            known = {0: batch} if len(symbolic.shape) == 2 else {0: batch, 1: timesteps}
            assert wanted.shape == tuple(known.get(axis, size) for axis, size in enumerate(symbolic.shape))
    # A graph with unknown batch and time computes what the eager call computes.
    close(model.predict(value, verbose=0), outputs)

    config = json.loads(json.dumps(model.layers[1].get_config()))
    again = kgp.GRUPlus.from_config(config)
    assert again.get_config() == model.layers[1].get_config()
    assert again.cell.variant == kgp.variants.get(name)


# -- wrappers ------------------------------------------------------------------------------------------


@every_variant
def test_bidirectional_is_one_layer_each_way(name):
    forward = layer(name, **SEQUENCES)
    backward = layer(name, go_backwards=True, **SEQUENCES)
    for weight in backward.trainable_weights:
        weight.assign(-0.5 * weight)
    x = inputs(name)
    ahead, *states = forward(x)
    back, *back_states = backward(x)
    ahead, back = np.asarray(ahead), np.asarray(back)[:, ::-1]
    merged = {
        "concat": np.concatenate([ahead, back], axis=-1),
        "sum": ahead + back,
        "mul": ahead * back,
        "ave": (ahead + back) / 2,
        None: (ahead, back),
    }
    for mode, expected in merged.items():
        both = keras.layers.Bidirectional(kgp.GRUPlus(sizes(name)[1], variant=name, **SEQUENCES), merge_mode=mode)
        both.build(x.shape)
        both.forward_layer.set_weights(forward.get_weights())
        both.backward_layer.set_weights(backward.get_weights())
        close(both(x), [expected, states, back_states])
    first, second = starts(forward, seed=3), starts(backward, seed=4)
    both.merge_mode = "concat"
    got = both(x, initial_state=[*first, *second])
    ahead, *states = forward(x, initial_state=first)
    back, *back_states = backward(x, initial_state=second)
    close(got, [np.concatenate([ahead, back[:, ::-1]], axis=-1), states, back_states])


@every_variant
def test_cells_in_rnn_layers_equal_layers(name):
    units, x = sizes(name)[1], inputs(name)
    one = layer(name, **SEQUENCES)
    rnn = keras.layers.RNN(kgp.GRUPlusCell(units, variant=name), **SEQUENCES)
    rnn.build(x.shape)
    rnn.set_weights(one.get_weights())
    close(rnn(x, mask=MASKS["right"]), one(x, mask=MASKS["right"]))

    stacked = keras.layers.RNN([kgp.GRUPlusCell(units, variant=name) for _ in range(2)], return_sequences=True)
    stacked.build(x.shape)
    randomized(stacked)
    layers = keras.Sequential([keras.Input(x.shape[1:])])
    for cell in stacked.cell.cells:
        layers.add(kgp.GRUPlus(units, variant=name, return_sequences=True))
        layers.layers[-1].set_weights(cell.get_weights())
    close(stacked(x), layers(x))


@every_variant
def test_time_distributed_equals_a_loop(name):
    one = layer(name)
    x = np.stack([inputs(name, seed=seed) for seed in range(3)], axis=1)
    got = keras.layers.TimeDistributed(one)(x)
    close(got, np.stack([one(x[:, i]) for i in range(3)], axis=1))


# -- masks, states, directions --------------------------------------------------------------------------


@every_variant
def test_a_mask_leaves_each_rows_own_steps(name):
    one = layer(name, **SEQUENCES)
    zeros = layer(name, one, zero_output_for_mask=True, **SEQUENCES)
    x, start = inputs(name), starts(one)
    for mask in MASKS.values():
        outputs, *states = map(np.asarray, one(x, mask=mask, initial_state=start))
        zeroed, *same_states = zeros(x, mask=mask, initial_state=start)
        np.testing.assert_array_equal(zeroed, np.where(mask[..., None], outputs, 0))
        close(same_states, states, 0)
        for row in range(BATCH):
            own, first = mask[row], [s[row : row + 1] for s in start]
            if not own.any():  # the states stay, and there is no output
                close([s[row] for s in states], [s[0] for s in first], 0)
                assert not np.any(outputs[row])
                continue
            alone, *alone_states = one(x[row : row + 1, own], initial_state=first)
            close(outputs[row, own], alone[0])
            close([s[row] for s in states], [s[0] for s in alone_states])
            for t in np.flatnonzero(~own):  # elsewhere the last output stands
                np.testing.assert_array_equal(outputs[row, t], outputs[row, t - 1] if t else 0 * outputs[row, t])
    masked = keras.Sequential([keras.Input((None, x.shape[-1])), keras.layers.Masking(-9.0), one])
    close(masked(np.where(MASKS["right"][..., None], x, -9.0)), one(x, mask=MASKS["right"]), 0)


@every_variant
def test_states_go_in_and_out(name):
    one = layer(name, **SEQUENCES)
    x, start = inputs(name), starts(one)
    whole, *last = one(x, initial_state=start)
    first, *middle = one(x[:, :2], initial_state=start)
    second, *end = one(x[:, 2:], initial_state=middle)
    close([np.concatenate([first, second], axis=1), *end], [whole, *last])
    for i in range(len(start)):  # every state matters
        other = [s if j != i else -s for j, s in enumerate(start)]
        assert np.abs(whole - one(x, initial_state=other)[0]).max() > 1e-3
    close(layer(name, one)(x, initial_state=start), whole[:, -1])

    arguments = [keras.Input(x.shape[1:]), *(keras.Input((size,)) for size in one.state_size)]
    model = keras.Model(arguments, one(arguments[0], initial_state=arguments[1:]))
    close(model([x, *start]), [whole, *last])


@every_variant
def test_a_stateful_layer_goes_on_until_it_is_reset(name):
    one = layer(name, return_sequences=True)
    stateful = layer(name, one, stateful=True, return_sequences=True)
    x = inputs(name)
    whole = one(x)
    for _ in range(2):
        first = stateful(x[:, :2])
        close(np.concatenate([first, stateful(x[:, 2:])], axis=1), whole)
        assert np.abs(stateful(x[:, :2]) - first).max() > 1e-3  # it still goes on
        stateful.reset_state()


@every_variant
def test_backwards_is_the_reversed_input_and_unrolled_is_the_loop(name):
    one = layer(name, **SEQUENCES)
    x, start, mask = inputs(name), starts(one), MASKS["right"]
    backwards = layer(name, one, go_backwards=True, **SEQUENCES)
    close(backwards(x, initial_state=start), one(x[:, ::-1], initial_state=start))
    unrolled = layer(name, one, unroll=True, **SEQUENCES)
    close(unrolled(x), one(x))
    close(unrolled(x, mask=mask, initial_state=start), one(x, mask=mask, initial_state=start))


# -- dropout, precision, training ------------------------------------------------------------------------


@every_variant
def test_dropout_follows_its_seed_and_spares_inference(name):
    one, x = layer(name, return_sequences=True), inputs(name)
    plain = np.asarray(one(x))
    kinds = [{"dropout": 0.4}, {"dropout": 0.3, "recurrent_dropout": 0.4}]
    if one.variant.recurrent_kernel:  # else there is nothing to drop
        kinds.append({"recurrent_dropout": 0.4})
    for kind in kinds:
        first, same, other = (layer(name, one, return_sequences=True, seed=seed, **kind) for seed in (3, 3, 4))
        trained = first(x, training=True)
        np.testing.assert_array_equal(same(x, training=True), trained)
        assert np.abs(other(x, training=True) - trained).max() > 1e-3
        assert np.abs(first(x, training=True) - trained).max() > 1e-3  # a new mask for each batch
        if name not in MOVING:
            np.testing.assert_array_equal(first(x), plain)


@every_variant
def test_mixed_precision_stays_near_float_and_trains(name):
    one, x = layer(name), inputs(name)
    exact = np.asarray(one(x))
    for dtype, bits in (("float16", 11), ("bfloat16", 8)):
        mixed = layer(name, one, dtype=f"mixed_{dtype}")
        model = keras.Sequential([keras.Input(x.shape[1:]), mixed])
        output = model(x)
        assert output.dtype == dtype
        # Five steps of some ten roundings, to numbers that may grow beyond 1.
        scale = max(1, np.abs(exact).max())
        np.testing.assert_allclose(
            keras.ops.cast(output, "float32"), exact, rtol=0, atol=50 * 2 ** -(bits + 1) * scale
        )
        before = [keras.ops.convert_to_numpy(w).copy() for w in mixed.trainable_weights]
        model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
        assert np.isfinite(model.train_on_batch(x, np.zeros(exact.shape)))
        for weight, old in zip(mixed.trainable_weights, before, strict=True):
            assert weight.dtype == "float32"
            assert np.isfinite(weight.numpy()).all()
            assert np.any(weight.numpy() != old), weight.path


@every_variant
def test_every_weight_gets_a_gradient_and_training_lowers_the_loss(name):
    one, x = layer(name, return_sequences=True), inputs(name, batch=16)
    with tf.GradientTape() as tape:
        outputs = one(x, initial_state=starts(one, len(x)))
        loss = tf.reduce_sum(outputs * tf.cos(outputs))
    gradients = tape.gradient(loss, [w.value for w in one.trainable_weights])
    assert len(gradients) > 0
    for weight, gradient in zip(one.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.any(gradient), weight.path
        assert np.isfinite(gradient).all(), weight.path

    teacher = layer(name, return_sequences=True)
    for weight in teacher.trainable_weights:
        weight.assign(-0.5 * weight)
    targets = teacher(x)
    fixed = [keras.ops.convert_to_numpy(w).copy() for w in one.non_trainable_weights]
    model = keras.Sequential([keras.Input(x.shape[1:]), one])
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=False)
    before = np.mean((one(x) - targets) ** 2)
    for _ in range(20):
        model.train_on_batch(x, targets)
    assert np.mean((one(x) - targets) ** 2) < 0.8 * before
    if name not in MOVING:
        close(one.non_trainable_weights, fixed, 0)


@each_in_its_tier
def test_compiled_by_xla_training_gives_the_same_weights(name):
    x, trained = inputs(name), []
    for jit_compile in (False, True):
        one = layer(name)
        model = keras.Sequential([keras.Input(x.shape[1:]), one])
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
        model.fit(x, np.zeros((BATCH, sizes(name)[1])), epochs=5, batch_size=2, shuffle=False, verbose=0)
        trained.append(model.get_weights())
    # Ten steps at rate 0.1 of gradients that differ by the order of float32 sums.
    close(trained[1], trained[0], 1e-5)


@each_in_its_tier
def test_keras_own_export_computes_the_same(name, tmp_path):
    """With the batch fixed and the time free; a free batch leaves operators that only TensorFlow has."""
    one, x = layer(name, return_sequences=True), inputs(name)
    model = keras.Sequential([keras.Input((None, x.shape[-1])), one])
    signature = [tf.TensorSpec((BATCH, None, x.shape[-1]), name="x")]
    path = str(tmp_path / "model.tflite")
    model.export(path, format="litert", input_signature=signature, verbose=False)

    interpreter = Interpreter(model_path=path)
    (into,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    for value in (x, inputs(name, timesteps=8)):
        interpreter.resize_tensor_input(into["index"], value.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(into["index"], value)
        interpreter.invoke()
        # Other approximations of tanh and the logistic function, each within some 2^-22, for up to eight steps.
        close(interpreter.get_tensor(out["index"]), one(value), 1e-5)
