"""Writes a recording for `keras-gru-plus export --with web --recording`: one exercise after the other.

    python recording.py recording.npz [--seconds 4]

It is put together from the watch activity data set (Burns et al. 2018, in seglearn, BSD-3-Clause), of subject 8, who
is in none of its training data.
"""

from __future__ import annotations

import argparse

import numpy as np

from keras_gru_plus.datasets import watch_activity


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help=".npz to write")
    parser.add_argument("--seconds", type=int, default=4, help="of each exercise")
    options = parser.parse_args()
    standardized = watch_activity().standardized()
    rows = int(options.seconds * (standardized.rate or 50))
    data = watch_activity(window=rows, hop=rows)
    # The middle of each exercise's first recording: at its ends the arm is at rest.
    chosen = [np.flatnonzero(data.test.y == index)[1] for index in range(len(data.classes))]
    np.savez(
        options.path,
        x=data.test.x[chosen].reshape(-1, len(data.channels)),
        y=np.repeat(data.test.y[chosen], rows),
        rate=np.float64(standardized.rate or 50),
        channels=[channel.name for channel in data.channels],
        units=[channel.unit for channel in data.channels],
        mean=standardized.mean,
        std=standardized.std,
        title="Watch activity, subject 8",
        note="Recording: Burns et al. 2018, doi:10.1088/1361-6579/aacfd9, from seglearn (BSD-3-Clause).",
    )


if __name__ == "__main__":
    main()
