"""What a file costs on a device, known without training: bytes, arena, instructions, multiply-accumulates."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from keras_gru_plus.activations import HardSigmoid
from keras_gru_plus.quantization import QuantizedModel, calibrate, quantize_aware

from .. import tflite
from ..analyze import analyze
from ..convert import convert
from ..devices import cortex_m55, host
from ..passes.labels import labelled
from ..training import build, recurrent_layer
from .plan import Configuration, cell_of
from .tasks import Task

#: Names of the models' ends, and so of the files'.
WINDOW, OUTPUT = "x", "y"
#: Windows that set the ranges of a model whose weights are random anyway.
SAMPLES = 64


@dataclasses.dataclass(frozen=True)
class Target:
    """Which file is measured, and where.

    Attributes:
        mode, target, recipe: as for `export`.
        device: "cortex-m55" (emulated) or "host".
    """

    mode: str
    target: str
    recipe: str
    device: str


def model_of(configuration: Configuration, task: Task, **options: Any) -> keras.Model:
    """The float model, untrained."""
    memory = task.training.memory
    if configuration.is_baseline:
        layer = recurrent_layer(configuration.variant, configuration.units)
    else:
        if configuration.activation == "saturating":
            options |= {"activation": "hard_tanh", "recurrent_activation": HardSigmoid(0.25)}
        layer = recurrent_layer(cell_of(configuration), configuration.units, memory=memory, **options)
    return build(layer, task.data, WINDOW, OUTPUT, "compare")


def measured(file: bytes, target: Target, timesteps: int) -> dict[str, Any]:
    """Costs of a file.

    Returns:
        flash: bytes of the file. ram: bytes of the arena, on the device or else of a 64-bit host, which needs more.
        insns: of one time step on the device, None without it. macs: multiply-accumulates of one time step.
        trouble: why the device could not run it, if so.
    """
    steps = timesteps if target.mode == "sequence" else 1
    found: dict[str, Any] = {"flash": len(file), "macs": analyze(file).macs / steps, "insns": None, "ram": None}
    if target.device == "cortex-m55":
        try:
            run = cortex_m55.run(file, {}, count=True)
            return {**found, "ram": run.arena, "insns": round(run.instructions / steps)}
        except host.RuntimeFailure as failure:  # an operator that its resolver does not have
            return {**found, "trouble": str(failure)[:200]}
    if host.available("tflm"):
        found["ram"] = host.smallest_arena(file, _zeros(file, target.mode), target.mode)
    return found


def _zeros(file: bytes, mode: str) -> dict[str, np.ndarray[Any, Any]]:
    inputs = [entry for entry in host.describe(tflite.load(file))["inputs"] if not entry["state"]]
    lead = (1,) if mode == "sequence" else (1, 1)
    return {entry["name"]: np.zeros((*lead, *entry["shape"][1:]), entry["dtype"]) for entry in inputs}


def file_of(model: QuantizedModel, task: Task, target: Target) -> bytes:
    """The file that is measured, with its labels: the one that a bundle has."""
    labels = list(task.data.classes) or None
    return labelled(convert(model, mode=target.mode, target=target.target), labels)


def untrained(configuration: Configuration, task: Task, target: Target) -> dict[str, Any]:
    """Costs of a model before any training: they follow from its shape, but for single bytes.

    Random biases, since equal buffers of zeros would be stored once.
    """
    keras.utils.set_random_seed(0)
    normal = keras.initializers.RandomNormal(0, 0.3, seed=0)
    model = model_of(configuration, task, bias_initializer=normal)
    output = model.layers[-1]
    output.bias.assign(normal(output.bias.shape))
    few = task.data.train.x[:SAMPLES]
    quantized: QuantizedModel = calibrate(quantize_aware(model, target.recipe), few)
    return measured(file_of(quantized, task, target), target, task.data.train.x.shape[1])
