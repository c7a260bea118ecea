"""One run: train, fine-tune quantization-aware, export, verify, measure. Its result follows from its parameters."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_gru_plus.atomic import replaced_file, scratch
from keras_gru_plus.datasets import Split
from keras_gru_plus.quantization import QuantizedModel, calibrate, quantize_aware
from keras_gru_plus.runtime.bench import bench

from .. import contents
from ..bundle import export
from ..convert import ConversionError, convert
from ..data import Data, score
from ..directory import replaced_directory
from ..fingerprint import archived
from ..models import ModelError, load_model
from ..progress import Progress
from ..training import Budget, fine_tune, fit
from ..verify import verify
from . import stock
from .costs import OUTPUT, WINDOW, Target, file_of, measured, model_of
from .plan import STOCK, WINNER, Configuration, Run
from .tasks import Task

#: Seconds for which LiteRT is timed.
TIMING = 0.3
#: Runtime that scores the int8 file of a target.
RUNTIME = {"tflm": "tflm", "litert": "litert"}


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run's models before export; `quantized` is None for a baseline."""

    model: keras.Model
    quantized: QuantizedModel | None


def deterministic() -> None:
    """One thread and deterministic kernels in this process; before TensorFlow computes anything."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()


def perform(run: Run, task: Task, target: Target, models: Path | None, progress: Progress) -> dict[str, Any]:
    """What a run finds.

    Args:
        run: its parameters.
        task: the data.
        target: what is measured where.
        models: directory that keeps the trained models, or None.
        progress: told what is going on.

    Returns:
        Plain JSON values: scores of float and int8 (accuracy from 0 to 1, or the mean absolute error in the targets'
        own unit) on the validation and the test part, costs (see `costs.measured`), and under "times" what another
        machine would measure otherwise. {"failed": reason} for a model that cannot be quantized or converted.
    """
    keras.backend.clear_session()
    gc.collect()
    try:
        if run.seed == STOCK:
            return _stock(run.configuration, task, progress)
        trained = train(run, task, target, progress)
        if models is not None:
            save(trained, run, models)
        if trained.quantized is None:
            return _scores("float", trained.model, task) | _weights(trained.model, run.configuration)
        return _measure(trained.model, trained.quantized, task, target, progress)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        return {"failed": str(error).splitlines()[0]}


def train(run: Run, task: Task, target: Target, progress: Progress) -> Trained:
    """The float model, and for a variant also the fine-tuned quantized one."""
    keras.utils.set_random_seed(run.seed)
    training = task.training
    budget = Budget(training.epochs, training.fine_tuning, training.learning_rate, training.fine_tuning_rate)
    model = model_of(run.configuration, task)
    fit(model, task.data, budget.epochs, budget.learning_rate, "training", progress)
    if run.configuration.is_baseline:
        return Trained(model, None)
    progress.say("calibrating")
    quantized = calibrate(
        quantize_aware(model, target.recipe), task.data.train.x, percentile=task.training.percentile
    )
    if budget.fine_tuning:
        fine_tune(quantized, task.data, budget, progress)
    return Trained(model, quantized)


def _measure(
    model: keras.Model, quantized: QuantizedModel, task: Task, target: Target, progress: Progress
) -> dict[str, Any]:
    progress.say("converting")
    own = file_of(quantized, task, target)
    files = {target.mode: own}
    if target.mode != "sequence":
        files["sequence"] = convert(quantized, target=target.target)
    progress.say("verifying")
    test = Data({WINDOW: task.data.test.x}, {OUTPUT: task.data.test.y})
    found = verify(quantized, files, test, mode="sequence", float_model=model, metric=task.metric)
    scores = {row.runtime: row.score * task.unit for row in found.results if row.score is not None}
    progress.say("measuring")
    result = {
        "float": scores["float"],
        "int8": scores[RUNTIME[target.target]],
        "float_validation": _score(model, task.data.validation, task),
        "int8_validation": _score(quantized, task.data.validation, task),
        "runtimes": scores,
        "parameters": int(model.count_params()),
        **measured(own, target, task.data.train.x.shape[1]),
        "sha256": hashlib.sha256(own).hexdigest(),
    }
    # What is fast on TFLite Micro is not what is fast on LiteRT.
    fast = own if target.target == "litert" else convert(quantized, mode=target.mode, target="litert")
    return {**result, "times": {"latency_us": _latency(fast)}}


def _score(model: keras.Model, split: Split, task: Task) -> float:
    prediction = np.asarray(model.predict(split.x, verbose=0, batch_size=256))
    return score(task.metric, prediction, split.y) * task.unit


def _scores(name: str, model: keras.Model, task: Task) -> dict[str, Any]:
    return {
        name: _score(model, task.data.test, task),
        f"{name}_validation": _score(model, task.data.validation, task),
    }


def _weights(model: keras.Model, configuration: Configuration) -> dict[str, Any]:
    """Parameters, and multiply-accumulates of a step: every kernel is used once."""
    kernels = [weight for weight in model.trainable_weights if len(weight.shape) == 2 and "bias" not in weight.name]
    macs = sum(int(np.prod(weight.shape)) for weight in kernels)
    return {"parameters": int(model.count_params()), "macs": macs}


def _latency(file: bytes) -> float:
    """Median microseconds of an invoke on LiteRT, one thread."""
    with scratch() as folder:
        path = folder / "model.tflite"
        path.write_bytes(file)
        return bench(str(path), runtime="litert", seconds=TIMING).microseconds["p50"]


def _stock(configuration: Configuration, task: Task, progress: Progress) -> dict[str, Any]:
    """What TensorFlow's own converters do with a baseline; training would change nothing in it."""
    keras.utils.set_random_seed(0)
    progress.say("trying the stock converters")
    return {"stock": stock.attempts(model_of(configuration, task), [task.data.train.x])}


def paths(run: Run, models: Path) -> tuple[Path, Path]:
    """Where the float and the quantized model of a run are kept."""
    own = run.configuration
    stem = f"{own.variant}-{own.units}-{own.activation}-{own.rank}-{run.seed}"
    return models / f"{stem}-float.keras", models / f"{stem}-quantized.keras"


def save(trained: Trained, run: Run, models: Path) -> None:
    """Keeps a run's models; each file appears whole."""
    models.mkdir(parents=True, exist_ok=True)
    for model, path in zip((trained.model, trained.quantized), paths(run, models)):
        if model is not None:
            with replaced_file(path) as new:
                new.write_bytes(archived(model))


def _kept(places: tuple[Path, Path]) -> Trained | None:
    """The models in two files; None where there are none, or damaged ones."""
    try:
        model, quantized = (load_model(path) for path in places)
    except ModelError:
        return None
    return Trained(model, quantized) if isinstance(quantized, QuantizedModel) else None


def bundle(run: Run, wanted: str, task: Task, target: Target, models: Path, out: Path, progress: Progress) -> None:
    """Writes the winner's directory: what `export` writes, and both `.keras` models.

    Args:
        run: the winner.
        wanted: SHA-256 of the file that was measured.
        models: where its models are kept; one trained on another machine is trained again.
        out: directory, replaced. `WINNER` in it has the run and `wanted`.

    Raises:
        ConversionError: the models do not give the file that was measured.
    """
    keras.backend.clear_session()
    places = paths(run, models)
    kept = _kept(places)
    if kept is not None:
        trained = kept
    else:
        trained = train(run, task, target, progress)
        save(trained, run, models)
    quantized = trained.quantized
    assert quantized is not None, "a baseline is never the winner"
    if hashlib.sha256(file_of(quantized, task, target)).hexdigest() != wanted:
        raise ConversionError(
            f"Expected the winner, {run}, to give the file that was measured, got another one; "
            "if it was trained on another kind of processor, run the command there."
        )
    with replaced_directory(out, force=True) as folder:
        report = export(
            quantized,
            folder,
            mode=target.mode,
            target=target.target,
            evaluation=Data({WINDOW: task.data.test.x}, {OUTPUT: task.data.test.y}),
            labels=list(task.data.classes) or None,
            metric=task.metric,
            progress=progress.say,
        )
        files = {name: path.read_bytes() for path, name in zip(places, ("float.keras", "quantized.keras"))}
        mark = json.dumps({**run.parameters, "sha256": wanted}) + "\n"
        contents.write(folder, report, {**files, WINNER: mark.encode()})
