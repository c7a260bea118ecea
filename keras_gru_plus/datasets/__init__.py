"""Real sequence data that comes inside an installed package: nothing is downloaded."""

from .base import Channel, Dataset, Split
from .digits import digits_rows
from .speech import spoken_digits
from .watch import watch_activity

__all__ = ["Channel", "Dataset", "Split", "digits_rows", "spoken_digits", "watch_activity"]
