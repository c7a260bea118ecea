"""The float layers on Keras' JAX backend, in a process where TensorFlow cannot be imported."""

import keras
import numpy as np
import pytest
from layers import MASKS, NAMES, close, inputs, layer, python, sizes, starts

# Both sides compute the same float32 sums in another order, and the functions exp and tanh come from other
# libraries: some 10 errors of 2^-23 a step, five steps, up to numbers of about 4.
BACKENDS = 1e-5

WITHOUT_TENSORFLOW = """\
    import sys

    class NoTensorFlow:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("tensorflow", "tensorflow_model_optimization"):
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    sys.meta_path.insert(0, NoTensorFlow())
"""

COMPUTE = """\
    import jax, keras, numpy as np
    import keras_gru_plus as kgp
    assert keras.backend.backend() == "jax"
    given, found = np.load(sys.argv[1]), {}

    def keep(key, tensors):
        for i, tensor in enumerate(keras.tree.flatten(tensors)):
            found[f"{key}/{i}"] = np.asarray(tensor)

    def listed(key):
        return [given[each] for each in sorted(given.files) if each.startswith(f"{key}/")]

    for name in given["names"]:
        (x,), start, weights = listed(f"{name}/x"), listed(f"{name}/start"), listed(f"{name}/weight")
        units = int(given[f"{name}/units"])

        def layer(**options):
            made = kgp.GRUPlus(units, variant=str(name), return_sequences=True, **options)
            made.build(x.shape)
            made.set_weights(weights)
            return made

        plain, backwards, zeros = layer(return_state=True), layer(go_backwards=True), layer(zero_output_for_mask=True)
        both = keras.layers.Bidirectional(layer())
        both.build(x.shape)
        both.set_weights(weights + weights)

        @jax.jit  # compiled at once, since each loop alone would take as long
        def computed(x):
            return {
                "started": plain(x, initial_state=start),
                "holes": plain(x, mask=given["holes"]),
                "left": plain(x, mask=given["left"]),
                "backwards": backwards(x),
                "zeros": zeros(x, mask=given["holes"]),
                "both": both(x),
            }

        for kind, tensors in computed(x).items():
            keep(f"{name}/{kind}", tensors)

        one = layer()
        model = keras.Sequential([keras.Input(x.shape[1:]), one])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        keep(f"{name}/loss", model.train_on_batch(x, 0 * one(x)))
        keep(f"{name}/trained", one.get_weights())

        dropped = layer(dropout=0.4, recurrent_dropout=0.4, seed=3)
        assert np.abs(dropped(x, training=True) - dropped(x)).max() > 1e-3
    np.savez(sys.argv[2], **found)
    assert "tensorflow" not in sys.modules
"""


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    """What JAX makes of every variant, by "name/kind/number"."""
    folder = tmp_path_factory.mktemp("jax")
    given = {"names": np.array(NAMES), **MASKS}
    for name in NAMES:
        one = layer(name)
        given |= {f"{name}/x/0": inputs(name), f"{name}/units": np.array(sizes(name)[1])}
        given |= {f"{name}/start/{i}": start for i, start in enumerate(starts(one))}
        given |= {f"{name}/weight/{i:02}": weight for i, weight in enumerate(one.get_weights())}
    np.savez(folder / "given.npz", **given)
    python(WITHOUT_TENSORFLOW + COMPUTE, folder / "given.npz", folder / "found.npz", KERAS_BACKEND="jax")
    with np.load(folder / "found.npz") as found:
        return dict(found)


@pytest.mark.parametrize("name", NAMES)
def test_jax_computes_and_trains_what_tensorflow_does(name, computed):
    def same(kind, tensors):
        flat = keras.tree.flatten(tensors)
        assert len(flat) == sum(key.startswith(f"{name}/{kind}/") for key in computed)
        close([computed[f"{name}/{kind}/{i}"] for i in range(len(flat))], flat, BACKENDS)

    one, x = layer(name, return_sequences=True, return_state=True), inputs(name)
    same("started", one(x, initial_state=starts(one)))
    for kind in ("holes", "left"):
        same(kind, one(x, mask=MASKS[kind]))
    same("backwards", layer(name, return_sequences=True, go_backwards=True)(x))
    same("zeros", layer(name, return_sequences=True, zero_output_for_mask=True)(x, mask=MASKS["holes"]))
    both = keras.layers.Bidirectional(layer(name, return_sequences=True))
    both.build(x.shape)
    both.set_weights(2 * one.get_weights())
    same("both", both(x))

    trained = layer(name, return_sequences=True)
    model = keras.Sequential([keras.Input(x.shape[1:]), trained])
    model.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    same("loss", model.train_on_batch(x, np.zeros_like(trained(x))))
    same("trained", trained.get_weights())


QUANTIZE = """\
    import keras_gru_plus as kgp

    for name in ("quantize_aware", "Recipe"):
        try:
            getattr(kgp, name)
        except ImportError as error:
            print(error)
"""


@pytest.mark.parametrize("before", ["", WITHOUT_TENSORFLOW], ids=["with_tensorflow", "without"])
def test_quantization_on_jax_says_what_it_needs(before):
    expected = (
        "Expected Keras on its TensorFlow backend for quantization, got 'jax'; "
        "set KERAS_BACKEND=tensorflow before Keras is imported."
    )
    assert python(before + QUANTIZE, KERAS_BACKEND="jax").splitlines() == [expected, expected]
