"""Watch activity, 5 seeds: float against int8 on every runtime, calibrated only and fine-tuned.

All choices (epochs, rates, initialization) were made on subject 7; subject 8 is scored here, once a seed.
"""

from __future__ import annotations

import os

import keras
import numpy as np
import tables

from keras_gru_plus.quantization import calibrate, quantize_aware
from keras_gru_plus_export import convert, demo
from keras_gru_plus_export.data import Data
from keras_gru_plus_export.progress import Progress
from keras_gru_plus_export.verify import verify

SEEDS = range(int(os.environ.get("KGP_BENCH_SEEDS", "5")))
UNITS = 32


def main() -> None:
    data = demo.load()
    test = Data({"window": data.test.x}, {"activity": data.test.y})
    budget, quiet = demo.FULL, Progress()
    scores: dict[tuple[str, str], list[float]] = {}

    def note(what: str, where: str, value: float | None) -> None:
        scores.setdefault((what, where), []).append(float("nan") if value is None else value)
        print(f"  {what}, {where}: {scores[what, where][-1]:.4f}", flush=True)

    def on_runtimes(what: str, model: keras.Model, float_model: keras.Model) -> None:
        found = verify(
            model,
            {"sequence": convert(model)},
            test,
            mode="sequence",
            float_model=float_model,
            runtime_python=os.environ.get("KGP_TFLITE_RUNTIME_PYTHON"),
        )
        for result in found.results[1:]:
            note(what, result.runtime, result.score)

    for seed in SEEDS:
        print(f"seed {seed}", flush=True)
        keras.utils.set_random_seed(seed)
        baseline = demo.build(demo.recurrent_layer("keras", UNITS), data)
        demo.fit(baseline, data, budget.epochs, budget.learning_rate, "", quiet)
        note("keras.layers.GRU", "float", demo.accuracy(baseline, data.test))
        for variant in ("mgu", "gru"):
            keras.utils.set_random_seed(seed)
            model = demo.build(demo.recurrent_layer(variant, UNITS), data)
            demo.fit(model, data, budget.epochs, budget.learning_rate, "", quiet)
            note(variant, "float", demo.accuracy(model, data.test))
            quantized = calibrate(quantize_aware(model), data.train.x, percentile=demo.PERCENTILE)
            on_runtimes(f"{variant}, calibrated only", quantized, model)
            demo.fine_tune(quantized, data, budget, quiet)
            on_runtimes(f"{variant}, fine-tuned", quantized, model)
            keras.backend.clear_session()
    wheres = list(dict.fromkeys(where for _, where in scores))
    rows = []
    for model in dict.fromkeys(what for what, _ in scores):
        reference = np.array(scores.get((model.split(",")[0], "float"), []))
        row = {"trained": model}
        for where in wheres:
            values = np.array(scores.get((model, where), []))
            row[where] = "" if not len(values) else tables.percent(values, reference if where != "float" else None)
        rows.append(row)
    every = {f"{what} / {where}": values for (what, where), values in scores.items()}
    tables.write(
        "accuracy",
        rows,
        "Accuracy in %, in brackets the difference to the float model of the same seed in points. Watch activity, "
        f"{UNITS} units, {budget.epochs} epochs float, {budget.fine_tuning} fine-tuning; trained on subjects 1-6, "
        f"tested on subject 8 ({len(data.test)} windows); mean ± standard deviation of {len(SEEDS)} seeds.",
        every,
    )


if __name__ == "__main__":
    main()
