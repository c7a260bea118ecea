"""Keywords: which of twelve words was said, from a second of sound as TensorFlow Lite Micro's front end hears it.

    python keywords.py [--epochs N] [--seed N] [--quick] [--out FOLDER]

needs `pip install 'keras-gru-plus[export,tflm,datasets]'`. A synthesizer speaks: the figures say nothing of people.
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

COMMAND = Path(sys.executable).with_name("keras-gru-plus")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a fraction of the data, once: to see it work")
    parser.add_argument("--out", type=Path, default=Path("keywords-output"))
    arguments = parser.parse_args()
    epochs, part = (1, slice(None, None, 19)) if arguments.quick else (arguments.epochs, slice(None))
    keras.utils.set_random_seed(arguments.seed)

    # Data: utterances are made anew for each seed; with more draws a voice is not mistaken for a word.
    draws = [kgp.datasets.keywords(seed=seed) for seed in range(1 if arguments.quick else 2)]
    data = draws[0]
    x = np.concatenate([draw.train.x for draw in draws])[part]
    y = keras.utils.to_categorical(np.concatenate([draw.train.y for draw in draws])[part], len(data.classes))
    test = kgp.datasets.Split(data.test.x[part], data.test.y[part])

    # Model
    scale = keras.layers.Normalization(name="scale")
    scale.adapt(x)
    model = keras.Sequential(
        [
            keras.Input((49, 40), name="frames"),
            scale,
            layers.Conv1D(64, 5, strides=2, padding="causal", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.3),
            kgp.GRUPlus(64, name="gru"),
            layers.Dropout(0.3),
            layers.Dense(len(data.classes), activation="softmax", name="word"),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(x) // 64))
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.05, clipnorm=1.0), loss)
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=2)

    # int8: ranges from the data, then fine-tuning on the float model's own answers.
    quantized = kgp.calibrate(kgp.quantize_aware(model), x[::4])
    quantized.compile(keras.optimizers.Adam(1e-4), "categorical_crossentropy")
    quantized.fit(x, model.predict(x, verbose=0), batch_size=64, epochs=1, verbose=2, callbacks=[kgp.FreezeRanges(1)])

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
        f"keywords, accuracy in % | {score['float']:.2f} | {score['litert']:.2f} | {score['tflm']:.2f} "
        f"| {file:.1f} | {arena:.1f} | {instructions / 1000:.0f}"
    )


if __name__ == "__main__":
    main()
