"""What every test starts from: a quiet TensorFlow on the CPU, seeds, and few, repeatable hypothesis examples."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
if not os.environ.get("KGP_TEST_GPU"):
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
