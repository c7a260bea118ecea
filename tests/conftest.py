"""What every test starts from: a quiet TensorFlow on the CPU, seeds, and few, repeatable hypothesis examples."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import sys

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=8, database=None)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def seeded(request):
    """The same initial weights in every run and in any order; tests without Keras do not import it."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture(scope="module")
def registered():
    """The cells of another shape in test_cells.py are variants too."""
    from test_cells import OTHERS

    import keras_gru_plus as kgp

    with pytest.MonkeyPatch.context() as patch:
        for name, (cell, _) in OTHERS.items():
            patch.setitem(kgp.VARIANTS, name, kgp.VARIANTS.get(name, cell))
        yield
