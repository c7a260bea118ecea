"""`GRUPlus` as a Keras layer: equal to `keras.layers.GRU` where that exists, and to Keras' contract elsewhere."""

import inspect
import json
import os
import pathlib
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_gru_plus as kgp

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5
# Both compute the same float32 sums in another order: at most some 10 roundings of 2^-24 to numbers below 4.
FLOAT32 = 1e-6

X = np.random.default_rng(0).normal(0, 1, (BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
LENGTHS = np.array([6, 4, 1, 0])  # full, two cut, and a row of which nothing is left
RIGHT = np.arange(TIMESTEPS) < LENGTHS[:, None]


def randomized(layer):
    """The layer with all weights, the biases included, drawn at random."""
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(0, 0.7, w.shape).astype(np.float32) for w in layer.get_weights()])
    return layer


def close(got, wanted, tolerance=FLOAT32):
    for a, b in zip(keras.tree.flatten(got), keras.tree.flatten(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


# -- the drop-in ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"), [(kgp.GRUPlus, keras.layers.GRU), (kgp.GRUPlusCell, keras.layers.GRUCell)]
)
def test_the_signature_is_that_of_keras_plus_variant(ours, theirs):
    got = list(inspect.signature(ours.__init__).parameters.values())
    expected = list(inspect.signature(theirs.__init__).parameters.values())
    (variant,) = [p for p in got if p.name == "variant"]
    assert variant.kind is inspect.Parameter.KEYWORD_ONLY
    assert variant.default == "gru"
    got.remove(variant)
    assert [(p.name, p.kind) for p in got] == [(p.name, p.kind) for p in expected]
    auto = ("activation", "recurrent_activation")
    assert [p.default for p in got if p.name not in auto] == [p.default for p in expected if p.name not in auto]
    assert [p.default for p in got if p.name in auto] == ["auto", "auto"]
    assert ours(UNITS).activation is theirs(UNITS).activation
    assert ours(UNITS).recurrent_activation is theirs(UNITS).recurrent_activation


CASES = {
    "default": {},
    "reset_before": {"reset_after": False},
    "no_bias": {"use_bias": False},
    "no_bias_reset_before": {"use_bias": False, "reset_after": False},
    "sequences": {"return_sequences": True},
    "state": {"return_state": True, "return_sequences": True},
    "backwards": {"go_backwards": True, "return_sequences": True},
    "unroll": {"unroll": True},
    "dropout": {"dropout": 0.4, "seed": 3},
    "recurrent_dropout": {"recurrent_dropout": 0.4, "seed": 3},
    "both_dropouts_reset_before": {"dropout": 0.3, "recurrent_dropout": 0.4, "seed": 3, "reset_after": False},
    # use_cudnn: else Keras' own layer stumbles over its list of masks.
    "dropout_per_gate": {"dropout": 0.4, "seed": 3, "implementation": 1, "use_cudnn": False},
    "zero_output": {"zero_output_for_mask": True, "return_sequences": True},
    "other_activations": {"activation": "relu", "recurrent_activation": "hard_sigmoid"},
}
MASKS = {"unmasked": None, "right": RIGHT, "left": RIGHT[:, ::-1], "full": np.ones_like(RIGHT)}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("case", CASES)
def test_gru_takes_keras_weights_and_equals_its_outputs_and_gradients(case, mask):
    if CASES[case].get("unroll") and mask not in ("unmasked", "right"):
        pytest.skip("unrolling does not look at the form of the mask")
    theirs, ours = keras.layers.GRU(UNITS, **CASES[case]), kgp.GRUPlus(UNITS, **CASES[case])
    theirs.build(X.shape)
    ours.build(X.shape)
    ours.set_weights(randomized(theirs).get_weights())
    start = np.random.default_rng(2).uniform(-1, 1, (BATCH, UNITS)).astype(np.float32)
    results = []
    for layer in (theirs, ours):
        x, h = tf.constant(X), tf.constant(start)
        with tf.GradientTape() as tape:
            tape.watch([x, h])
            outputs = layer(x, initial_state=h, mask=MASKS[mask], training=True)
            loss = sum(tf.reduce_sum(o * tf.cos(o)) for o in keras.tree.flatten(outputs))
        variables = [w.value for w in layer.trainable_weights]
        results.append((outputs, tape.gradient(loss, [x, h, *variables])))
    (expected, expected_gradients), (got, got_gradients) = results
    close(got, expected)
    # Sums over rows, steps and outputs: up to some 100 terms of the outputs' tolerance.
    close(got_gradients, expected_gradients, 3e-5)
    assert all(np.any(g) for g in got_gradients)


@pytest.mark.parametrize("reset_after", [True, False])
def test_a_stateful_layer_goes_on_where_it_stopped(reset_after):
    options = {"stateful": True, "reset_after": reset_after}
    theirs, ours = keras.layers.GRU(UNITS, **options), kgp.GRUPlus(UNITS, **options)
    theirs.build(X.shape)
    ours.build(X.shape)
    ours.set_weights(randomized(theirs).get_weights())
    first = np.asarray(ours(X))
    close(first, theirs(X))
    second = np.asarray(ours(X))
    close(second, theirs(X))
    assert np.abs(first - second).max() > 1e-3
    ours.reset_state()
    np.testing.assert_array_equal(ours(X), first)


def test_masks_and_initial_states_of_a_functional_model():
    def model(layer):
        x, h = keras.Input((None, FEATURES)), keras.Input((UNITS,))
        return keras.Model([x, h], [layer(keras.layers.Masking(-9.0)(x)), layer(x, initial_state=h)])

    theirs, ours = model(keras.layers.GRU(UNITS)), model(kgp.GRUPlus(UNITS))
    ours.set_weights(randomized(theirs).get_weights())
    x = np.where(RIGHT[..., None], X, -9.0).astype(np.float32)
    h = np.full((BATCH, UNITS), 0.5, np.float32)
    masked, started = ours([x, h])
    close((masked, started), theirs([x, h]))
    assert not np.any(masked[3])  # the row without a step
    assert np.any(masked[2])
    assert np.abs(started - ours([x, -h])[1]).max() > 1e-3


@pytest.mark.parametrize("variant", kgp.VARIANTS)
def test_the_cell_in_an_rnn_equals_the_layer(variant):
    layer = kgp.GRUPlus(UNITS, variant=variant, return_sequences=True, return_state=True)
    cells = keras.layers.RNN(kgp.GRUPlusCell(UNITS, variant=variant), return_sequences=True, return_state=True)
    cells.build(X.shape)
    layer.build(X.shape)
    layer.set_weights(randomized(cells).get_weights())
    close(cells(X, mask=RIGHT), layer(X, mask=RIGHT))


@pytest.mark.parametrize("variant", kgp.VARIANTS)
def test_stacked_cells_equal_stacked_layers(variant):
    stacked = keras.layers.RNN([kgp.GRUPlusCell(UNITS, variant=variant), kgp.GRUPlusCell(2, variant=variant)])
    stacked.build(X.shape)
    weights = randomized(stacked).get_weights()
    first, second = kgp.GRUPlus(UNITS, variant=variant, return_sequences=True), kgp.GRUPlus(2, variant=variant)
    layers = keras.Sequential([keras.Input(X.shape[1:]), first, second])
    layers.set_weights(weights)
    close(stacked(X), layers(X))


@pytest.mark.parametrize("variant", kgp.VARIANTS)
def test_bidirectional_is_one_layer_each_way_and_can_be_saved(variant, tmp_path):
    both = keras.layers.Bidirectional(kgp.GRUPlus(UNITS, variant=variant, return_sequences=True))
    model = keras.Sequential([keras.Input(X.shape[1:]), both])
    forward = kgp.GRUPlus(UNITS, variant=variant, return_sequences=True)
    backward = kgp.GRUPlus(UNITS, variant=variant, return_sequences=True, go_backwards=True)
    for layer, half in ((forward, both.forward_layer), (backward, both.backward_layer)):
        layer.build(X.shape)
        layer.set_weights(randomized(half).get_weights())
    backward.set_weights([2 * w for w in backward.get_weights()])
    both.backward_layer.set_weights(backward.get_weights())
    expected = np.concatenate([forward(X), np.asarray(backward(X))[:, ::-1]], axis=-1)
    close(model(X), expected)
    model.save(tmp_path / "both.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "both.keras")(X), model(X))


# -- configs and files --------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", kgp.VARIANTS)
def test_a_saved_model_gives_equal_outputs(variant, tmp_path):
    gates = kgp.activations.HardSigmoid(0.3)
    model = keras.Sequential(
        [
            keras.Input((None, FEATURES)),
            kgp.GRUPlus(UNITS, variant=variant, return_sequences=True, dropout=0.2),
            kgp.GRUPlus(2, "hard_tanh", gates, False, variant=variant, go_backwards=True),
        ]
    )
    randomized(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(X), model(X))
    assert [type(layer) for layer in loaded.layers] == [kgp.GRUPlus, kgp.GRUPlus]


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (kgp.GRUPlus, {"variant": "mgu", "use_cudnn": False}),
        (kgp.GRUPlus, {"variant": "coupled", "use_cudnn": "auto", "recurrent_activation": "hard_sigmoid"}),
        (kgp.GRUPlus, {"reset_after": False, "stateful": True, "zero_output_for_mask": True, "dropout": 0.1}),
        (kgp.GRUPlus, {"recurrent_activation": kgp.activations.HardSigmoid(0.3), "seed": 4}),
        (kgp.GRUPlusCell, {"variant": "mgu", "use_bias": False, "recurrent_dropout": 0.2}),
        (kgp.GRUPlusCell, {"variant": kgp.variants.GRU(reset_after=False), "kernel_regularizer": "l2"}),
    ],
)
def test_a_config_keeps_every_argument(cls, options):
    layer = cls(UNITS, **options)
    config = json.loads(json.dumps(layer.get_config()))
    again = cls.from_config(config)
    assert again.get_config() == layer.get_config()
    arguments = set(inspect.signature(cls.__init__).parameters) - {"self", "kwargs"}
    assert arguments <= set(config), f"not in the config: {arguments - set(config)}"
    cell, cell_again = getattr(layer, "cell", layer), getattr(again, "cell", again)
    assert cell_again.variant == cell.variant
    assert cell_again.recurrent_activation == cell.recurrent_activation
    for name in ("use_cudnn", "stateful", "zero_output_for_mask", "dropout", "recurrent_dropout", "use_bias", "seed"):
        assert getattr(again, name, None) == getattr(layer, name, None)
    if "variant" in options:
        assert cell.variant == kgp.variants.get(options["variant"])


def python(code, *arguments, flags=()):
    """The standard output of a fresh process."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a float and a quantized model and what they say of `X`."""
    folder = tmp_path_factory.mktemp("saved")
    model = keras.Sequential([keras.Input(X.shape[1:]), kgp.GRUPlus(UNITS, variant="mgu")])
    quantized = kgp.calibrate(kgp.quantize_aware(model), X)
    for name, each in (("float", model), ("quantized", quantized)):
        each.save(folder / f"{name}.keras")
        np.save(folder / f"{name}.npy", each(X))
    np.save(folder / "x.npy", X)
    return folder


LOAD = """
import numpy as np
for name in ("float", "quantized"):
    model = keras.models.load_model(f"{sys.argv[1]}/{name}.keras")
    got = model(np.load(f"{sys.argv[1]}/x.npy"))
    np.testing.assert_array_equal(got, np.load(f"{sys.argv[1]}/{name}.npy"))
    print(type(model.layers[-1] if name == "float" else model).__name__)
"""


@pytest.mark.parametrize(
    "imports",
    [
        "import sys, keras_gru_plus, keras",
        "import sys, keras, keras_gru_plus",
        "import sys, keras_gru_plus; keras_gru_plus.GRUPlus(3); keras = sys.modules['keras']",
    ],
    ids=["ours_first", "keras_first", "only_ours"],
)
def test_models_load_in_a_fresh_process_whatever_was_imported_first(imports, saved):
    assert python(imports + LOAD, saved).split() == ["GRUPlus", "QuantizedModel"]


def test_importing_the_package_imports_neither_keras_nor_tensorflow():
    code = """
        import sys, keras_gru_plus
        keras_gru_plus.VARIANTS, keras_gru_plus.variants.MGU(), keras_gru_plus.activations.HardSigmoid(0.25)
        print(sorted({"keras", "tensorflow", "tensorflow_model_optimization"} & set(sys.modules)))
    """
    assert python(code) == "[]"


def test_where_keras_is_missing_a_name_says_what_to_install():
    code = """
        import sys
        sys.path.append(sys.argv[1])
        import keras_gru_plus
        print(*keras_gru_plus.VARIANTS)
        for name in ("GRUPlus", "calibrate"):
            try:
                getattr(keras_gru_plus, name)
            except ImportError as error:
                print(error)
    """
    root = pathlib.Path(kgp.__file__).parents[1]
    names, *errors = python(code, root, flags=["-I", "-S"]).splitlines()  # without site-packages
    assert names.split() == list(kgp.VARIANTS)
    assert errors == [f"{name} needs keras: pip install 'keras-gru-plus[train]'" for name in ("GRUPlus", "calibrate")]


# -- errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [kgp.GRUPlus, kgp.GRUPlusCell])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "gru9"}, r"Expected `variant` to be one of gru, mgu, .*, got 'gru9'"),
        ({"variant": {"name": "gru9"}}, r"Expected `variant` to be one of gru, mgu, .*, got 'gru9'"),
        ({"variant": "mgu", "reset_after": False}, r"Expected `reset_after` to be left at True for variant 'mgu'"),
    ],
)
def test_impossible_arguments_are_refused(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(UNITS, **options)


def test_more_impossible_arguments():
    with pytest.raises(TypeError, match=r"Expected `variant` to be a name or an instance such as .*, got 3"):
        kgp.GRUPlus(UNITS, variant=3)
    with pytest.raises(ValueError, match=r"Expected `use_cudnn` to be 'auto', True or False, got 'yes'"):
        kgp.GRUPlus(UNITS, use_cudnn="yes")
    with pytest.raises(ValueError, match="Expected a layer that cuDNN can compute for use_cudnn=True"):
        kgp.GRUPlus(UNITS, variant="mgu", use_cudnn=True)(X)
    with pytest.raises(ValueError, match="Expected `slope` to be above 0, got 0"):
        kgp.activations.HardSigmoid(0)


# -- training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", kgp.VARIANTS)
def test_mixed_precision_trains_a_step(variant):
    model = keras.Sequential([keras.Input(X.shape[1:]), kgp.GRUPlus(UNITS, variant=variant, dtype="mixed_float16")])
    exact = keras.Sequential([keras.Input(X.shape[1:]), kgp.GRUPlus(UNITS, variant=variant)])
    exact.set_weights(randomized(model).get_weights())
    output = model(X)
    assert output.dtype == tf.float16
    # Six steps of some ten roundings to 11 bits, on values below 1.
    np.testing.assert_allclose(output, exact(X), rtol=0, atol=60 * 2**-12)
    before = model.get_weights()
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    loss = model.fit(X, np.zeros(output.shape), verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    after = model.get_weights()
    assert all(np.isfinite(w).all() and w.dtype == np.float32 and np.any(w != b) for w, b in zip(after, before))


@pytest.mark.slow
@pytest.mark.parametrize("variant", kgp.VARIANTS)
def test_compiled_by_xla_training_gives_the_same_weights(variant):
    trained = []
    for jit_compile in (False, True):
        model = keras.Sequential([keras.Input(X.shape[1:]), kgp.GRUPlus(UNITS, variant=variant)])
        randomized(model)
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
        model.fit(X, np.zeros((BATCH, UNITS)), epochs=5, batch_size=2, shuffle=False, verbose=0)
        trained.append(model.get_weights())
    # Ten steps at rate 0.1 of gradients that differ by the order of float32 sums.
    close(trained[1], trained[0], 1e-5)
