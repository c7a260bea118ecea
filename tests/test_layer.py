"""`GRUPlus` beside `keras.layers.GRU`, its arguments, files, imports and errors; test_contract.py has the rest."""

import inspect
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from layers import close, python, randomized

import keras_gru_plus as kgp

BATCH, TIMESTEPS, FEATURES, UNITS = 4, 6, 3, 5

X = np.random.default_rng(0).normal(0, 1, (BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
LENGTHS = np.array([6, 4, 1, 0])  # full, two cut, and a row of which nothing is left
RIGHT = np.arange(TIMESTEPS) < LENGTHS[:, None]


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


# -- configs and files --------------------------------------------------------------------------------


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
        ({"variant": "gru9"}, r"Expected `variant` to be one of gru, .*, mgu, .*, got 'gru9'"),
        ({"variant": {"name": "gru9"}}, r"Expected `variant` to be one of gru, .*, mgu, .*, got 'gru9'"),
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
