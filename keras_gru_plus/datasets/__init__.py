"""Real sequence data that comes inside an installed package: nothing is downloaded."""

from .base import Channel, Dataset, Split
from .demand import demand
from .digits import digits_rows, mnist_rows
from .ecg import ecg
from .keywords import keyword_stream, keywords
from .moby_dick import moby_dick
from .speech import spoken_digits
from .watch import watch_activity

__all__ = [
    "Channel",
    "Dataset",
    "Split",
    "demand",
    "digits_rows",
    "ecg",
    "keyword_stream",
    "keywords",
    "mnist_rows",
    "moby_dick",
    "spoken_digits",
    "watch_activity",
]
