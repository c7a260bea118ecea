"""The parts of a comparison: its plan, its data, claims on runs, the table; and one run in this process."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from keras_gru_plus_export.compare import claims, plan, table, tasks
from keras_gru_plus_export.compare.page import render
from keras_gru_plus_export.compare.plan import STOCK, Configuration, Limits, Run, Space
from keras_gru_plus_export.compare.search import Search, finalists
from keras_gru_plus_export.compare.store import Store

RUNS = [Run(Configuration(variant, 4), seed) for seed in range(2) for variant in ("gru", "mgu")]


def arrays(samples: int = 96, seed: int = 0) -> dict[str, np.ndarray]:
    """Which of two channels swings more: learnt within an epoch or two."""
    rng = np.random.default_rng(seed)
    y = np.arange(samples) % 2
    x = rng.normal(0, 1, (samples, 6, 2)) * np.where(y[:, None, None] == [0, 1], 1.5, 0.3)
    return {"x": x.astype(np.float32), "y": y}


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "swings.npz"
    np.savez(path, **arrays())
    return path


# -- plan ------------------------------------------------------------------------------------------


def test_budgets_have_units():
    assert Limits.parse("flash=16k,ram=4KiB,insns=20k") == Limits(16000, 4096, 20000)
    limits = Limits.parse("flash=1.5kB")
    assert limits.fit({"flash": 1500})
    assert not limits.fit({"flash": 1501})
    assert not limits.fit({"ram": 1})
    assert not Limits.parse("insns=9k").fit({"flash": 1, "insns": None}), "unknown is not within"
    for text in ("flash=16q", "insns=4KiB", "flash", "flash=0", "flash=1k,flash=2k", "speed=3", "", "flash=-1k"):
        with pytest.raises(ValueError, match=r"Expected .* got"):
            Limits.parse(text)


def test_a_space_has_no_run_twice():
    space = Space(("mgu", "mingru", "keras.LSTM"), (4, 8), plan.ACTIVATIONS, (0, 4), seeds=2)
    runs = space.runs()
    assert len(runs) == len(set(runs))
    models = {str(model) for model in space.configurations()}
    # mingru takes no rank, a baseline no activation, and a rank of 4 is none for 4 units.
    assert models == {
        *("mgu(4)", "mgu(4) saturating", "mgu(8)", "mgu(8) saturating", "mgu(8) rank 4", "mgu(8) saturating rank 4"),
        *("mingru(4)", "mingru(4) saturating", "mingru(8)", "mingru(8) saturating"),
        *("keras.LSTM(4)", "keras.LSTM(8)"),
    }
    assert sum(run.seed == STOCK for run in runs) == 2
    assert all(Run.of(json.loads(json.dumps(run.parameters))) == run for run in runs)


def test_lists_of_numbers_and_names():
    assert plan.numbers("--units", "8..16:4, 32,8", 1) == (8, 12, 16, 32)
    for text in ("", "a", "8..", "0", "4..2", "8..16:0"):
        with pytest.raises(ValueError, match="--units"):
            plan.numbers("--units", text, 1)
    names, notes = plan.variants_of("all", 8, (4,))
    assert set(plan.cells.VARIANTS) - set(names) == {"grud"}, "eight columns are not values, masks and a time"
    assert len(notes) == 1
    with pytest.raises(ValueError, match="lgu"):
        plan.variants_of("gru,lgu", 8, (4,))


# -- data ------------------------------------------------------------------------------------------


def test_files_are_split_as_stated(npz: Path, tmp_path: Path):
    task = tasks.load(str(npz), split="50,25,25")
    x, y = arrays().values()
    assert [len(getattr(task.data, part)) for part in tasks.PARTS] == [48, 24, 24]
    for part, first in zip(tasks.PARTS, (0, 48, 72)):
        np.testing.assert_array_equal(getattr(task.data, part).y, y[first : first + len(getattr(task.data, part))])
    np.testing.assert_allclose(task.data.train.x.std((0, 1)), 1, rtol=1e-5)
    plain = tasks.load(str(npz), split="50,25,25", standardize=False)
    np.testing.assert_array_equal(plain.data.test.x, x[72:])
    assert len({task.fingerprint(), plain.fingerprint(), tasks.load(str(npz), split="60,20,20").fingerprint()}) == 3
    # Parts of the file: the last of each class validate where it does not say.
    np.savez(tmp_path / "parts.npz", x_train=x[:80], y_train=y[:80], x_test=x[80:], y_test=y[80:])
    held = tasks.load(str(tmp_path / "parts.npz"))
    assert (len(held.data.train), len(held.data.validation), len(held.data.test)) == (68, 12, 16)
    assert np.bincount(held.data.validation.y).tolist() == [6, 6]


def test_forecasts_are_scored_in_their_own_unit(tmp_path: Path):
    x = arrays()["x"]
    y = 500 + 40 * x[:, -1, 0]
    np.savez(tmp_path / "numbers.npz", x=x, y=y)
    task = tasks.load(str(tmp_path / "numbers.npz"), split="50,25,25")
    assert task.metric == "mae"
    np.testing.assert_allclose(task.data.test.y * task.unit + y[:48].mean(), y[72:], rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": None}, "x_train, y_train, x_test, y_test"),
        ({"x": np.zeros((96, 6))}, "timesteps, features"),
        ({"y": np.zeros(95, int)}, "96 samples"),
        ({"x": np.full((96, 6, 2), np.nan)}, "NaN"),
        ({"y": np.zeros(96, int)}, "two classes"),
        ({"x": np.ones((96, 6, 2))}, "constant ones: 0, 1"),
    ],
)
def test_bad_files_are_refused(change: dict[str, Any], words: str, tmp_path: Path):
    content = {key: value for key, value in (arrays() | change).items() if value is not None}
    np.savez(tmp_path / "bad.npz", **content)
    with pytest.raises(ValueError, match=words):
        tasks.load(str(tmp_path / "bad.npz"), split="50,25,25" if "y" in content else None)


# -- claims ----------------------------------------------------------------------------------------


def opened(place: Path, name: str = "study", **settings: Any) -> Store:
    return Store(str(place), name, settings, ["maximize"])


@pytest.mark.parametrize("suffix", ["db", "journal"])
def test_two_processes_never_do_the_same_run(suffix: str, tmp_path: Path):
    one, two = (opened(tmp_path / f"s.{suffix}", epochs=3) for _ in range(2))
    done = []
    for store in (one, two, two, one):
        claimed = store.claim(RUNS)
        assert claimed is not None
        done.append(claimed)
    assert [run for run, _ in done] == RUNS
    assert one.claim(RUNS) is None
    for store, (run, trial) in zip((two, one, one, two), done):
        store.finish(trial, {"int8": run.seed}, [1.0])
    assert one.results() == two.results() == {run: {"int8": run.seed} for run in RUNS}
    assert opened(tmp_path / f"s.{suffix}", epochs=3).claim(RUNS) is None


def test_a_run_whose_process_is_gone_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = opened(tmp_path / "s.db")
    program = (
        "import sys, time\n"
        "from keras_gru_plus_export.compare.store import Store\n"
        "from keras_gru_plus_export.compare.plan import Configuration, Run\n"
        f"store = Store({str(tmp_path / 's.db')!r}, 'study', {{}}, ['maximize'])\n"
        "print(store.claim([Run(Configuration('gru', 4), 0)]), flush=True)\n"
        "time.sleep(100)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert "seed=0" in other.stdout.readline()
        assert store.claim(RUNS[:1]) is None, "it lives"
        other.kill()
    claimed = store.claim(RUNS[:1])
    assert claimed is not None
    # Elsewhere only the signs of life tell.
    monkeypatch.setattr(claims, "machine", lambda: "another")
    monkeypatch.setattr(claims, "GRACE", 0.2)
    far = opened(tmp_path / "s.db")
    for count in range(3):
        assert far.claim(RUNS[:1]) is None
        time.sleep(0.15)
        far.alive(claimed[1], count)
    assert far.claim(RUNS[:1]) is None
    time.sleep(0.3)
    assert far.claim(RUNS[:1]) is not None
    store.finish(claimed[1], {"int8": 1}, [1.0])  # late: given up, so it stays as it was left
    assert far.results() == {}


def test_a_model_that_crashes_its_worker_is_a_result_and_a_kill_is_not(tmp_path: Path):
    store = opened(tmp_path / "s.db")
    for signal, runs in (("SIGKILL", RUNS[:1]), ("SIGSEGV", RUNS[1:2])):
        for _ in range(2):
            claimed = store.claim(runs)
            assert claimed is not None
            store.crashed(os.getpid(), signal)
    assert store.results() == {RUNS[1]: {"failed": "crash: SIGSEGV"}}
    assert store.claim(RUNS[:1]) is not None


def test_storage_of_something_else_is_refused(tmp_path: Path):
    opened(tmp_path / "s.db", epochs=3, fingerprint="a")
    with pytest.raises(ValueError, match=r"epochs 3 there, 4 now; fingerprint 'a' there, 'b' now"):
        opened(tmp_path / "s.db", epochs=4, fingerprint="b")
    (tmp_path / "text.db").write_text("no database, but long enough to be taken for one" * 30)
    for place in (tmp_path / "text.db", tmp_path / "s.txt", tmp_path / "missing" / "s.db"):
        with pytest.raises(ValueError, match=r"Expected .* got"):
            opened(place)


# -- table -----------------------------------------------------------------------------------------


def made_up(scores: dict[str, list[float]]) -> dict[Run, dict[str, Any]]:
    """Results of models `variant` with the given scores a seed; costs grow with the variant's place."""
    return {
        Run(Configuration(variant, 4), seed): {
            **dict.fromkeys(("float", "int8", "int8_validation", "float_validation"), value),
            "parameters": 10,
            "flash": 1000 * (place + 1),
            "ram": None,
            "insns": 7,
            "macs": 5.0,
            "sha256": "0",
        }
        for place, (variant, values) in enumerate(scores.items())
        for seed, value in enumerate(values)
    }


def test_intervals_ties_and_fronts():
    found = made_up(
        {"gru": [0.90, 0.92, 0.94], "mgu": [0.89, 0.91, 0.93], "ran": [0.5, 0.51, 0.52], "atr": [0.6, 0.6]}
    )
    one = table.make(found, "accuracy", len(found))
    rows = {row.configuration.variant: row for row in one.rows}
    # Student's t with two degrees of freedom is 4.3027; the deviation of each is 0.02, over the root of 3.
    assert rows["gru"].int8 is not None
    assert rows["gru"].int8.half == pytest.approx(4.30265 * 0.02 / 3**0.5, rel=1e-5)
    assert [table.tie_text(row, one) for row in one.rows] == ["best", "tie", "worse", "worse"]
    assert [rows[name].fronts for name in ("gru", "mgu")] == [("flash", "insns"), ()]
    assert one.winner == Run(Configuration("gru", 4), 2)
    # With the error to be small all is the other way round, and four models are on the front of the file's size.
    error = table.make(found, "mae", len(found), Limits(flash=3500))
    assert [row.configuration.variant for row in error.rows] == ["ran", "atr", "mgu", "gru"]
    assert [row.fits for row in error.rows] == [True, False, True, True]
    assert {row.configuration.variant for row in error.rows if "flash" in row.fronts} == {"gru", "mgu", "ran"}
    assert error.winner == Run(Configuration("ran", 4), 0)


def test_one_seed_has_no_interval_and_order_does_not_show():
    found = made_up({"gru": [0.9, 0.8], "mgu": [0.7]}) | {Run(Configuration("ran", 4), 0): {"failed": "no <form>"}}
    texts, pages = set(), set()
    for seed in range(5):
        keys = list(found)
        random.Random(seed).shuffle(keys)
        shuffled = {key: found[key] for key in keys}
        one = table.make(shuffled, "accuracy", 4)
        texts.add(table.to_csv(one) + json.dumps(table.to_json(one, shuffled)))
        plain = {
            "data": {"name": "d", "samples": dict.fromkeys(tasks.PARTS, 3), "timesteps": 4, "features": 1},
            "settings": {"epochs": 1, "fine_tuning": 1, "recipe": "int8", "mode": "step", "target": "tflm"},
            "budget": None,
            "notes": [],
        }
        plain["data"] |= {"classes": ["a"], "note": "made up"}
        pages.add(render(one, plain))
    assert len(texts) == len(pages) == 1
    assert one.rows[1].tie is None
    page = pages.pop()
    assert [page.count(text) for text in ("no &lt;form&gt;", "<title>gru(4)", "<svg")] == [1, 3, 3]
    assert len(page) < 60_000, "opens offline, and at once"


# -- search ----------------------------------------------------------------------------------------


def test_a_search_trains_only_what_fits(tmp_path: Path):
    space = Space(("gru", "mgu"), tuple(range(4, 33, 4)), plan.ACTIVATIONS)
    asked: list[Configuration] = []

    def costs(model: Configuration) -> dict[str, Any]:
        asked.append(model)
        return {"flash": 1000 + 100 * model.units * (2 if model.variant == "gru" else 1), "ram": 500, "insns": None}

    limits = Limits(flash=2600)
    trained = []
    for sampler in ("tpe", "nsga2"):
        store = Store(str(tmp_path / f"{sampler}.db"), "study", {}, ["maximize", "minimize"])
        search = Search(store, space, limits, 5, sampler)
        while not search.is_over():
            claimed = search.claim(costs)
            if claimed is not None:
                run, trial = claimed
                result = {**costs(run.configuration), "int8_validation": run.configuration.units / 40}
                store.finish(trial, result, search.values(result))
                trained.append(run.configuration)
        assert len(set(trained)) == len(trained) == 5
        assert all(limits.fit(costs(model)) for model in trained)
        pruned = [trial for trial in store.trials() if trial.state == optuna.trial.TrialState.PRUNED]
        assert all(sum(trial.constraints.values()) > 0 for trial in pruned)
        best = finalists(store.results(), limits, "accuracy")
        assert best[0].units == max(model.units for model in trained)
        trained.clear()
    assert any(not limits.fit(costs(model)) for model in asked), "nothing was proposed that does not fit"


def test_a_search_goes_on_with_the_model_it_was_killed_at(tmp_path: Path):
    store = Store(str(tmp_path / "s.db"), "study", {}, ["maximize", "minimize"])
    search = Search(store, Space(("gru", "mgu"), (4, 8)), Limits(flash=5000), 2)
    first = search.claim(lambda model: {"flash": 1})
    assert first is not None
    store.crashed(os.getpid(), "SIGKILL")
    again = search.claim(lambda model: pytest.fail("costs are known"))
    assert again is not None
    assert again[0] == first[0]
    assert again[1] != first[1]


# -- one run ---------------------------------------------------------------------------------------


def test_a_run_follows_from_its_parameters(npz: Path, tmp_path: Path):
    import keras

    from keras_gru_plus_export.compare.costs import Target, untrained
    from keras_gru_plus_export.compare.work import paths, perform
    from keras_gru_plus_export.progress import Progress

    task = tasks.load(str(npz), split="50,25,25")
    task = dataclasses.replace(task, training=tasks.Training(2, 1, 1e-2))
    target = Target("step", "tflm", "int8", "host")
    run = Run(Configuration("mgu", 4, "saturating"), 1)
    first = perform(run, task, target, tmp_path / "models", Progress())
    keras.utils.set_random_seed(99)
    keras.layers.Dense(3)(np.zeros((2, 2)))
    second = perform(run, task, target, None, Progress())
    for result in (first, second):
        assert result.pop("times")["latency_us"] > 0
    assert first == second
    assert first["runtimes"].keys() >= {"float", "litert", "tflm"}
    assert abs(first["int8"] - first["float"]) <= 2 / 24
    known = untrained(run.configuration, task, target)
    # Equal constants are stored once, so a trained file may be some bytes shorter or longer.
    assert known["flash"] == pytest.approx(first["flash"], abs=64)
    assert known["ram"] == pytest.approx(first["ram"], abs=64)
    # MGU has two gates; each reads two features and four units. Then two classes.
    assert first["macs"] == 2 * 4 * (2 + 4) + 4 * 2
    baseline = perform(Run(Configuration("keras.LSTM", 4), 0), task, target, None, Progress())
    assert baseline["macs"] == 4 * 4 * (2 + 4) + 4 * 2
    assert baseline["parameters"] == baseline["macs"] + 4 * 4 + 2
    quantized = keras.saving.load_model(paths(run, tmp_path / "models")[1])
    prediction = np.asarray(quantized.predict(task.data.validation.x, verbose=0)).argmax(-1)
    assert (prediction == task.data.validation.y).mean() == pytest.approx(first["int8_validation"])


def test_a_model_that_cannot_be_made_is_a_result(npz: Path):
    from keras_gru_plus_export.compare.costs import Target
    from keras_gru_plus_export.compare.work import perform
    from keras_gru_plus_export.progress import Progress

    task = tasks.load(str(npz), split="50,25,25")
    task = dataclasses.replace(task, training=tasks.Training(1, 0))
    sideways = Target("sideways", "tflm", "int8", "host")
    found = perform(Run(Configuration("mgu", 4), 0), task, sideways, None, Progress())
    assert found["failed"].startswith("Expected `mode`")
