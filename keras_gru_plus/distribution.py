"""Keras' `fit` with several workers (`tf.distribute.MultiWorkerMirroredStrategy`)."""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf


def enable_fit(model: keras.Model) -> keras.Model:
    """Makes `fit` and `evaluate` work for a model of several workers, in place, and returns the model.

    Keras' own raise ValueError there, for any layer, in two places: before the first step they average the
    tuple `(x, y)` over the workers, and after each step they average the step's scalar results along an axis
    that scalars do not have. Here each worker builds from its own part of the first batch, and results have
    that axis. With a single worker nothing changes.

    Args:
        model: created in the scope of a `MultiWorkerMirroredStrategy`.

    Raises:
        ValueError: a model of another strategy.
    """
    strategy = model.distribute_strategy
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        raise ValueError(
            "Expected `model` to be created in the scope of a tf.distribute.MultiWorkerMirroredStrategy, got one of "
            f"{type(strategy).__name__}, for which Keras' fit works as it is."
        )
    if len(strategy.cluster_resolver.cluster_spec().as_dict().get("worker", ())) > 1:
        # From the class, so that a second call changes nothing.
        model.train_step = functools.partial(_step, type(model).train_step, model)
        model.test_step = functools.partial(_step, type(model).test_step, model)
        model._maybe_symbolic_build = functools.partial(_build, model)
    return model


def _step(step: Any, model: keras.Model, data: Any) -> Any:
    return keras.tree.map_structure(lambda result: tf.expand_dims(result, 0), step(model, data))


def _build(model: keras.Model, iterator: Any = None, data_batch: Any = None) -> None:
    strategy = model.distribute_strategy
    if iterator is not None:
        for _, _, batches in iterator:
            data_batch = keras.tree.map_structure(
                lambda part: strategy.experimental_local_results(part)[0], next(batches)
            )
            break
    type(model)._maybe_symbolic_build(model, data_batch=data_batch)
