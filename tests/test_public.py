"""The public names, in whatever order things are imported."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "lines",
    [
        "from keras_gru_plus_export import analyze, convert, export, Analysis, ConversionError, Report",
        "import keras_gru_plus_export.bundle\nfrom keras_gru_plus_export import analyze, convert, export",
        "import keras_gru_plus_export.convert\nfrom keras_gru_plus_export import analyze, convert, export",
    ],
)
def test_functions_are_not_hidden_by_modules_of_the_same_name(lines):
    check = "assert all(callable(name) for name in (analyze, convert, export)), (analyze, convert, export)"
    subprocess.run([sys.executable, "-c", f"{lines}\n{check}"], check=True, capture_output=True)


def test_every_public_name_is_there():
    import keras_gru_plus

    for name in keras_gru_plus.__all__:
        assert getattr(keras_gru_plus, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        keras_gru_plus.nonsense  # noqa: B018
