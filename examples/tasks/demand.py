"""Demand: a country's electricity demand tomorrow, half hour by half hour, from the last two days.

    python demand.py [--epochs N] [--seed N] [--quick] [--out FOLDER]

needs `pip install 'keras-gru-plus[export,tflm,datasets]'`. 2012 and 2013 train, July to December 2014 is the test.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import keras
from keras import layers

import keras_gru_plus as kgp
from keras_gru_plus_export import export

COMMAND = Path(sys.executable).with_name("keras-gru-plus")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a fraction of the data, once: to see it work")
    parser.add_argument("--out", type=Path, default=Path("demand-output"))
    arguments = parser.parse_args()
    epochs, part = (1, slice(None, None, 20)) if arguments.quick else (arguments.epochs, slice(None))
    keras.utils.set_random_seed(arguments.seed)

    # Data: demand in GW around the mean is what is to be forecast.
    data = kgp.datasets.demand(hop=4)
    mean = data.train.y.mean()
    x, y = data.train.x[part], (data.train.y[part] - mean) / 1000
    test = kgp.datasets.demand().test
    test = kgp.datasets.Split(test.x[part], (test.y[part] - mean) / 1000)

    # Model: the Normalization takes MW and °C as they are and costs nothing in int8.
    scale = keras.layers.Normalization(name="scale")
    scale.adapt(x)
    model = keras.Sequential(
        [
            keras.Input((96, 6), name="half_hours"),
            scale,
            kgp.GRUPlus(48, name="gru"),
            layers.Dropout(0.1),
            layers.Dense(64, activation="relu"),
            layers.Dense(48, name="demand"),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(3e-3, epochs * -(-len(x) // 64))
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.05, clipnorm=1.0), "mae")
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=2)

    # int8: ranges from the data, then fine-tuning on the float model's own answers.
    quantized = kgp.calibrate(kgp.quantize_aware(model), x[::4])
    quantized.compile(keras.optimizers.Adam(1e-4), "mae")
    quantized.fit(x, model.predict(x, verbose=0), batch_size=64, epochs=3, verbose=2, callbacks=[kgp.FreezeRanges(2)])

    # Export, and what the file does on each runtime.
    found = export(
        quantized,
        arguments.out,
        target="tflm",
        evaluation=(test.x, test.y),
        force=True,
    )
    score = {result.runtime: result.score for result in found.verification.results}
    device = [COMMAND, "bench", arguments.out / "model.tflite", "--device", "cortex-m55", "--json"]
    counted = subprocess.run(device, capture_output=True, text=True, check=False)
    instructions = json.loads(counted.stdout)["instructions"] if counted.returncode == 0 else float("nan")
    file, arena = (arguments.out / "model.tflite").stat().st_size / 1000, found.files[0].arena / 1000
    print("task | float | int8, LiteRT | int8, TFLite Micro | file, kB | arena, kB | instructions, k")
    print(
        f"demand, MAE in GW | {score['float']:.4f} | {score['litert']:.4f} | {score['tflm']:.4f} "
        f"| {file:.1f} | {arena:.1f} | {instructions / 1000:.0f}"
    )


if __name__ == "__main__":
    main()
