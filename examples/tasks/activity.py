"""Activity: which of seven shoulder exercises a smartwatch sees, from four seconds of motion.

    python activity.py [--epochs N] [--seed N] [--quick] [--out FOLDER]

needs `pip install 'keras-gru-plus[export,tflm,datasets]'`. Subjects 1 to 6 train, 8 is the test.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

import keras_gru_plus as kgp
from keras_gru_plus_export import export

WINDOW = 200  # 4 s at 50 Hz
COMMAND = Path(sys.executable).with_name("keras-gru-plus")


def turned(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each window as a watch would see it that sits a little differently: turned about a random axis."""
    angle = rng.normal(0, 0.3, (len(x), 1))
    axis = rng.normal(size=(len(x), 3))
    axis *= np.sin(angle / 2) / np.linalg.norm(axis, axis=1, keepdims=True)
    q, w = axis[:, None], np.cos(angle / 2)[:, None]  # a rotation as a quaternion
    sensors = x.reshape(len(x), -1, 3)  # acceleration and rotation, each a vector
    across = 2 * np.cross(q, sensors)
    return (sensors + w * across + np.cross(q, across)).reshape(x.shape).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a fraction of the data, once: to see it work")
    parser.add_argument("--out", type=Path, default=Path("activity-output"))
    arguments = parser.parse_args()
    epochs, part = (1, slice(None, None, 20)) if arguments.quick else (arguments.epochs, slice(None))
    keras.utils.set_random_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)

    # Data: training windows overlap by 95 %, those of the test by half. Subject 7 is there to choose by.
    data = kgp.datasets.watch_activity(window=WINDOW, hop=10)
    x, y = data.train.x[part], keras.utils.to_categorical(data.train.y[part])
    test = kgp.datasets.watch_activity(window=WINDOW, hop=100 if not arguments.quick else 500).test

    # Model: the Normalization keeps the sensor's units and costs nothing in int8.
    scale = keras.layers.Normalization(name="scale")
    scale.adapt(x)
    model = keras.Sequential(
        [
            keras.Input((WINDOW, 6), name="window"),
            scale,
            layers.Conv1D(24, 5, strides=2, padding="causal", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv1D(32, 5, strides=2, padding="causal", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.2),
            kgp.GRUPlus(32, name="gru"),
            layers.Dropout(0.3),
            layers.Dense(len(data.classes), activation="softmax", name="activity"),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(x) // 64))
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.05, clipnorm=1.0), loss)
    for epoch in range(epochs):
        model.fit(turned(x, rng), y, batch_size=64, initial_epoch=epoch, epochs=epoch + 1, verbose=2)

    # int8: ranges from the data but for knocks on the watch, then fine-tuning on the float model's own answers.
    quantized = kgp.calibrate(kgp.quantize_aware(model), x, percentile=99)
    quantized.compile(keras.optimizers.Adam(1e-4), "categorical_crossentropy")
    quantized.fit(x, model.predict(x, verbose=0), batch_size=64, epochs=2, verbose=2, callbacks=[kgp.FreezeRanges(1)])

    # Export, and what the file does on each runtime.
    found = export(
        quantized,
        arguments.out,
        target="tflm",
        evaluation=(test.x, test.y),
        labels=list(data.classes),
        force=True,
    )
    score = {result.runtime: 100 * result.score for result in found.verification.results}
    device = [COMMAND, "bench", arguments.out / "model.tflite", "--device", "cortex-m55", "--json"]
    counted = subprocess.run(device, capture_output=True, text=True, check=False)
    instructions = json.loads(counted.stdout)["instructions"] if counted.returncode == 0 else float("nan")
    file, arena = (arguments.out / "model.tflite").stat().st_size / 1000, found.files[0].arena / 1000
    print("task | float | int8, LiteRT | int8, TFLite Micro | file, kB | arena, kB | instructions, k")
    print(
        f"activity, accuracy in % | {score['float']:.2f} | {score['litert']:.2f} | {score['tflm']:.2f} "
        f"| {file:.1f} | {arena:.1f} | {instructions / 1000:.0f}"
    )


if __name__ == "__main__":
    main()
