"""Handwritten digits, read row by row, inside scikit-learn."""

from __future__ import annotations

import numpy as np

from .base import Channel, Dataset, Split, installed_file

_SIDE = 8
_PARTS = ((0, 1000), (1000, 1297), (1297, 1797))


def digits_rows() -> Dataset:
    """Load 1797 handwritten digits of 8 × 8 pixels as sequences of eight rows, from top to bottom.

    A pixel counts 0 to 16 dots of ink; here it is -1 (paper) to 1 (ink), and needs no standardizing, which would
    blow up the margins, where ink is rare.

    The first 1000 digits of the file are the train part, the next 297 validation, the last 500 test: neighbours in
    the file resemble each other, so that a shuffled split would flatter a model.

    Licence: BSD-3-Clause as part of scikit-learn; the UCI repository gives the data under CC BY 4.0.

    Raises:
        ModuleNotFoundError: If scikit-learn, which contains the data, is not installed.

    Source: Alpaydin and Kaynak 1998, doi:10.24432/C50P49.

    Example:
        >>> data = digits_rows()
        >>> data.train.x.shape
        (1000, 8, 8)
        >>> data.classes[data.test.y[0]]
        '0'
    """
    path = installed_file(
        "sklearn",
        "datasets",
        "data",
        "digits.csv.gz",
        loader="digits_rows",
        install="scikit-learn: pip install 'keras-gru-plus[datasets]'",
    )
    content = np.loadtxt(path, delimiter=",", dtype=np.int64)
    if content.shape != (1797, _SIDE**2 + 1):
        raise ValueError(f"Expected scikit-learn's digits to be 1797 rows of 65 numbers, got {content.shape}")
    x = (content[:, :-1].reshape(-1, _SIDE, _SIDE) / 8 - 1).astype(np.float32)
    train, validation, test = (Split(x=x[first:last], y=content[first:last, -1]) for first, last in _PARTS)
    return Dataset(
        train=train,
        validation=validation,
        test=test,
        classes=tuple(map(str, range(10))),
        channels=tuple(Channel(f"column {i}", "1") for i in range(_SIDE)),
        rate=None,
        licence="BSD-3-Clause",
        citation=(
            "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning Repository, "
            "1998. doi:10.24432/C50P49"
        ),
    )
