"""What "agreement" means in a verification, and which targets are taken."""

from __future__ import annotations

import numpy as np
import pytest

from keras_gru_plus_export._report_text import is_worse
from keras_gru_plus_export.data import DataError, checked_target, metric_for
from keras_gru_plus_export.tflite import Grid
from keras_gru_plus_export.verify import _against

GRID = Grid((1 / 256,), (-128,))


@pytest.mark.parametrize(("metric", "agreement"), [("accuracy", 0.5), (None, 0.5), ("mae", 0.75)])
def test_agreement_is_of_classes_or_of_values(metric: str | None, agreement: float) -> None:
    reference = np.float32([[100, 101], [50, 200]]) / 256
    prediction = np.float32([[101, 100], [90, 200]]) / 256  # another class by 1 LSB, another value by 40
    found = _against(prediction, reference, GRID, metric)
    assert found == {"agreement": agreement, "largest_lsb": 40, "mean_lsb": 10.5}


@pytest.mark.parametrize(("metric", "agreement"), [("accuracy", 1.0), (None, 0.5), ("mae", 0.5)])
def test_a_single_output_is_a_class_only_for_accuracy(metric: str | None, agreement: float) -> None:
    reference, prediction = np.float32([[0.25], [0.75]]), np.float32([[0.25], [1.0]])
    assert _against(prediction, reference, GRID, metric)["agreement"] == agreement


def test_worse_is_more_than_a_point_or_two_percent() -> None:
    assert is_worse("accuracy", 0.75, 0.7625)
    assert not is_worse("accuracy", 0.75, 0.7575)
    assert is_worse("mae", 1.03, 1.0)
    assert not is_worse("mae", 1.01, 1.0)
    assert not is_worse("mae", None, 1.0)


def test_metrics_and_targets() -> None:
    assert [metric_for(np.zeros(2, kind)) for kind in ("int64", "bool", "float32")] == ["accuracy", "accuracy", "mae"]
    assert metric_for(None) is None
    assert metric_for(None, "mae") == "mae"
    checked_target("y", np.array([[0], [3]]), "accuracy", (2, 4))
    checked_target("y", np.array([0.0, 1.0]), "accuracy", (2, 1))
    checked_target("y", np.zeros((2, 6, 4)), "mae", (2, 6, 4))
    for target, metric, shape in (
        (np.array([0, 4]), "accuracy", (2, 4)),
        (np.array([0, -1]), "accuracy", (2, 4)),
        (np.array([0.0, 0.5]), "accuracy", (2, 1)),
        (np.zeros((2, 4), int), "accuracy", (2, 4)),
        (np.zeros((2, 3)), "mae", (2, 4)),
        (np.zeros((4, 6)), "mae", (4, 6, 2)),
    ):
        with pytest.raises(DataError, match=r"Expected (classes|targets) .*of.* output 'y'|for output 'y'"):
            checked_target("y", target, metric, shape)
