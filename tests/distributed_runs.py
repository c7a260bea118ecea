"""Runs of `test_distributed.py`, each in a process of its own: devices must be set before TensorFlow starts.

`python distributed_runs.py RUN ARGUMENTS` with the arguments as JSON prints what it found as JSON, last.
"""

import json
import os
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf

import keras_gru_plus as kgp
from keras_gru_plus_export import convert

BATCH, TIMESTEPS, FEATURES, UNITS, OUTPUTS = 8, 5, 3, 4, 2
RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (4 * BATCH, TIMESTEPS, FEATURES)).astype(np.float32)
Y = RNG.normal(0, 1, (4 * BATCH, OUTPUTS)).astype(np.float32)
# The second half of each batch, which the second replica gets, has other extremes.
X.reshape(4, 2, -1)[:, 1] *= 2.0

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    # A large epsilon: Adam divides by the gradient's size, and makes steps of the last bits of one near 0.
    "adam": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3),
}


def two_devices():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


HARD = {"activation": "hard_tanh", "recurrent_activation": "hard_sigmoid"}
LAYERS = {
    "gru": lambda: [kgp.GRUPlus(UNITS, name="gru")],
    "mgu": lambda: [kgp.GRUPlus(UNITS, variant="mgu", name="mgu")],
    "hard": lambda: [kgp.GRUPlus(UNITS, variant="mgu", name="hard", **HARD)],
    "stack": lambda: [
        kgp.GRUPlus(UNITS, return_sequences=True, name="first"),
        keras.layers.TimeDistributed(keras.layers.Dense(UNITS, "relu", name="relu"), name="between"),
        kgp.GRUPlus(UNITS, variant="mgu", go_backwards=True, name="second"),
    ],
}


def float_model(layers):
    keras.utils.set_random_seed(1)
    inputs, dense = keras.Input((TIMESTEPS, FEATURES), name="x"), keras.layers.Dense(OUTPUTS, name="y")
    return keras.Sequential([inputs, *LAYERS[layers](), dense])


def new_model(strategy, layers, recipe=None, optimizer="sgd", jit_compile=False):
    with strategy.scope():
        model = float_model(layers)
        if recipe:
            model = kgp.quantize_aware(model, recipe)
        model.compile(OPTIMIZERS[optimizer](), "mse", metrics=["mae"], jit_compile=jit_compile)
    return model


def fit(model, epochs=3, samples=None, **options):
    return model.fit(X[:samples], Y[:samples], BATCH, epochs, shuffle=False, verbose=0, **options)


def values(model):
    return {key_of(weight): keras.ops.convert_to_numpy(weight) for weight in model.weights}


def key_of(weight):
    """Its path without the model's name, which counts up."""
    return weight.path if weight.path.startswith("taps/") else weight.path.split("/", 1)[1]


def trained(model, before):
    """How far training moved the weight that it moved least, ranges left out."""
    moved = {key: np.abs(weight - before[key]).max() for key, weight in values(model).items()}
    return min(float(moved[key]) for key in moved if not key.startswith("taps/"))


def ranges(model):
    return {key: np.stack([end.numpy() for end in tap.range()]) for key, tap in model.taps.learned().items()}


def farthest(got, wanted):
    assert got.keys() == wanted.keys()
    return max(float(np.abs(got[key] - wanted[key]).max()) for key in got)


def replicas_differ(model):
    """Greatest difference between two replicas' copies of any weight, ranges included."""
    copies = [[part.numpy() for part in weight.value.values] for weight in model.weights]
    assert all(len(parts) == 2 for parts in copies)
    return max(float(np.abs(first - second).max()) for first, second in copies)


def compare(model, single, before):
    found = {
        "weights": farthest(values(model), values(single)),
        "trained": trained(model, before),
    }
    if isinstance(model, kgp.QuantizedModel):
        found["ranges"] = farthest(ranges(model), ranges(single))
        found["ranges_set"] = float(keras.ops.convert_to_numpy(model.taps.ranges_set))
    return found


def train_step_loop(strategy, model, epochs=3):
    """A training loop of one's own, as for any Keras model."""
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH, drop_remainder=True)

    def step(x, y):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.reduce_mean((model(x, training=True) - y) ** 2, axis=-1)) / BATCH
        gradients = tape.gradient(loss, model.trainable_weights)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_weights))  # sums them over the replicas

    run = tf.function(lambda batch: strategy.run(step, batch))
    with strategy.scope():
        model.optimizer.build(model.trainable_weights)
    for _ in range(epochs):
        for batch in strategy.experimental_distribute_dataset(data):
            run(batch)


# -- runs -----------------------------------------------------------------------------------------------


def train(layers, recipes, optimizer="sgd", loop="fit"):
    """One device and two, the same data and order."""
    mirrored, single = two_devices(), tf.distribute.get_strategy()
    found = {}
    for recipe in recipes:
        models, logs = [], []
        for strategy in (single, mirrored):
            models.append(new_model(strategy, layers, recipe, optimizer))
            before = values(models[-1])
            if loop == "fit":
                logs.append(fit(models[-1]).history)
            else:
                train_step_loop(strategy, models[-1])
        found[recipe or "float"] = {
            **compare(models[1], models[0], before),
            "replicas": replicas_differ(models[1]),
            "logs": max(float(np.ptp([log[key] for log in logs], axis=0).max()) for key in logs[0]) if logs else 0.0,
        }
    return found


def whole_workflow():
    """Calibrate, train, freeze, save, load in either place, export, train on."""
    mirrored, single = two_devices(), tf.distribute.get_strategy()
    found = {}
    models = [kgp.calibrate(new_model(strategy, "mgu", "int8"), X) for strategy in (single, mirrored)]
    found["calibrated"] = farthest(ranges(models[1]), ranges(models[0]))
    with mirrored.scope():
        inside = kgp.calibrate(new_model(mirrored, "mgu", "int8"), X)
    found["calibrated_in_scope"] = farthest(ranges(inside), ranges(models[0]))
    found["calibrated_replicas"] = replicas_differ(models[1])

    after_epoch = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: after_epoch.append(ranges(models[1])))
    before = values(models[1])
    for model in models:
        fit(model, callbacks=[kgp.FreezeRanges(1), *([note] if model is models[1] else [])])
    found["frozen"] = farthest(after_epoch[2], after_epoch[0])
    found["moved_before"] = farthest(after_epoch[0], ranges(inside))
    found |= compare(models[1], models[0], before)
    found["replicas"] = replicas_differ(models[1])

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        models[1].save(path)
        outside = keras.models.load_model(path)
        with mirrored.scope():
            within = keras.models.load_model(path)
    outside.require_ranges()
    found["files_equal"] = convert(models[1], timesteps=TIMESTEPS) == convert(outside, timesteps=TIMESTEPS)
    found["loaded"] = max(farthest(values(loaded), values(models[1])) for loaded in (outside, within))
    found["outputs"] = max(float(np.abs(loaded(X) - models[1](X)).max()) for loaded in (outside, within))
    for loaded in (outside, within):
        fit(loaded, epochs=1)
    found["trained_on"] = farthest(values(within), values(outside))
    found["trained_on_replicas"] = replicas_differ(within)
    found["moved_on"] = farthest(ranges(within), ranges(models[1]))
    return found


def part_batch():
    """A last batch of one sample leaves one replica without any."""
    models = [new_model(strategy, "gru", "int8") for strategy in (two_devices(), tf.distribute.get_strategy())]
    for model in models:
        fit(model, samples=BATCH + 1, epochs=2)
    # What the input's range sees does not depend on the weights.
    seen = [ranges(model)["x/input"] for model in models]
    return {
        "finite": all(bool(np.isfinite(weight).all()) for weight in values(models[0]).values()),
        "input": float(np.abs(seen[0] - seen[1]).max()),
        "replicas": replicas_differ(models[0]),
    }


def xla(devices):
    """With `jit_compile=True`: the difference on one device, the error on two, with Keras' own layer as well."""
    mirrored = two_devices()
    if devices == 1:
        strategies = (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0"]))
        models = [new_model(strategy, "mgu", "int8", jit_compile=True) for strategy in strategies]
        before = values(models[0])
        for model in models:
            fit(model)
        return compare(models[1], models[0], before)
    with mirrored.scope():
        keras_model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), keras.layers.GRU(OUTPUTS)])
        keras_model.compile("sgd", "mse", jit_compile=True)
    errors = []
    for model in (keras_model, new_model(mirrored, "mgu", "int8", jit_compile=True)):
        try:
            fit(model)
        except tf.errors.InvalidArgumentError as error:
            errors.append(str(error))
    return errors


def worker(recipes):
    """One of several workers, or a single process without a strategy where TF_CONFIG is not set."""
    several = "TF_CONFIG" in os.environ
    strategy = tf.distribute.MultiWorkerMirroredStrategy()  # must be the first thing that TensorFlow does
    found = {}
    with strategy.scope():
        keras_model = keras.Sequential([keras.Input((TIMESTEPS, FEATURES)), keras.layers.GRU(OUTPUTS)])
        keras_model.compile("sgd", "mse")
    try:
        fit(keras_model)
    except ValueError as error:
        found["error"] = str(error)[:200]
    found["enabled"] = fit(kgp.distribution.enable_fit(keras_model)).history
    if not several:
        strategy = tf.distribute.get_strategy()
    for recipe in recipes:
        model = new_model(strategy, "mgu", recipe)
        before = values(model)
        if several:
            kgp.distribution.enable_fit(kgp.distribution.enable_fit(model))  # a second call changes nothing
        callbacks = [kgp.FreezeRanges(2)] if recipe else []
        history = fit(model, validation_data=(X, Y), validation_batch_size=BATCH, callbacks=callbacks).history
        weights = values(model)
        result = {
            "weights": {key: weight.tolist() for key, weight in weights.items()},
            "trained": trained(model, before),
            "history": history,
            "predicted": model.predict(X, BATCH, verbose=0).tolist(),
        }
        if recipe:
            model.require_ranges()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.keras")
            model.save(path)
            loaded = keras.models.load_model(path)
        result["loaded"] = max(float(np.abs(a - b).max()) for a, b in zip(loaded.get_weights(), model.get_weights()))
        found[recipe or "float"] = result
    return found


if __name__ == "__main__":
    runs = {run.__name__: run for run in (train, whole_workflow, part_batch, xla, worker)}
    print(json.dumps(runs[sys.argv[1]](**json.loads(sys.argv[2]))))
