"""Damaged files into every command and loader that reads them: an answer or one message, and nothing else.

No traceback, no hang, no memory, no code of the file's, and exit code 0 or 2. The cases run in `fuzz_worker`; what is
hostile on purpose is in `hostile.py`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from . import fuzz_seeds as seeds
from .check import Check, Counts
from .fuzz_inputs import (
    ARRAYS,
    CHANGES,
    HEADERS,
    JSON_CHANGES,
    NAMED,
    RECIPES,
    TABLES,
    Strategy,
    array_of,
    changed,
    changed_archive,
    changed_json,
    csv_of,
    npy_of,
    npy_with,
    npz_of,
)
from .fuzz_tflite import FIELDS, changed_fields
from .fuzz_worker import Worker

#: A directory that keeps the inputs of failures.
KEEP = os.environ.get("KGP_FUZZ_KEEP")
ROWS = "1,0.5,0,-1,2,3\n" * 20


class Bench:
    """Where cases are tried: a directory with whole files, a worker, and the counts."""

    def __init__(self, folder: Path, worker: Worker) -> None:
        self.folder, self.worker, self.counts = folder, worker, Counts()
        self.commands: Counter[str] = Counter()
        self.longest, self.most, self.ended = 0.0, 0, 0

    def put(self, name: str, content: bytes) -> None:
        """A whole file that stays."""
        (self.folder / name).write_bytes(content)

    def try_one(
        self, files: dict[str, bytes], command: list[str], what: str, text: str = "", planted: str = ""
    ) -> None:
        """One case: files, and a command in which their names and `{}`, the directory, are replaced by paths."""
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        arguments = [part.replace("{}", str(self.folder)) for part in command]
        found = self.worker.run(arguments, text, planted)
        counts = self.counts
        counts.cases += 1
        counts.refused += found["code"] == 2
        self.commands[command[0]] += 1
        self.ended += "in a trial" in found["error"]
        self.longest, self.most = max(self.longest, found["seconds"]), max(self.most, found["bytes"])
        if found["wrong"] is not None:
            counts.fail(f"{' '.join(command)}: {found['wrong']} [{what[:600]}]")
            if KEEP:
                place = Path(KEEP, f"{command[0]}-{counts.failed}")
                place.mkdir(parents=True, exist_ok=True)
                for name, content in files.items():
                    (place / name).write_bytes(content)
                (place / "what.txt").write_text(
                    f"{command}\n{found['wrong']}\n{what}\n{text[:1000]}", "utf-8", "replace"
                )
        for name in files:
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / "out", ignore_errors=True)

    def done(self) -> Counts:
        """The counts, with what was measured."""
        self.counts.figures |= {f"{name} cases": count for name, count in sorted(self.commands.items())}
        if self.ended:
            self.counts.figures["trials that the file ended"] = self.ended
        self.counts.figures |= {"longest s": round(self.longest, 1), "most MiB": round(self.most / 2**20)}
        return self.counts


def check(
    claim: str,
    prepare: Callable[[Bench], Strategy],
    do: Callable[[Bench, Any], None],
    sizes: tuple[int, int, int],
    missing: Callable[[], str | None] | None = None,
) -> Check:
    """A check whose cases hypothesis draws."""

    def run(cases: int, seed: int) -> Counts:
        with tempfile.TemporaryDirectory(prefix="kgp-fuzz-") as folder, Worker(Path(folder, "tmp")) as worker:
            bench = Bench(Path(folder), worker)
            strategy = prepare(bench)
            while bench.counts.cases < cases:  # hypothesis may end early where little can vary
                left = cases - bench.counts.cases

                @hypothesis.seed(seed * 1000 + bench.counts.cases)
                @settings(
                    max_examples=left,
                    database=None,
                    deadline=None,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                    derandomize=False,
                )
                @hypothesis.given(strategy)
                def draw(example: Any) -> None:
                    do(bench, example)

                draw()
            return bench.done()

    options = {} if missing is None else {"missing": missing}
    return Check(claim, run, *sizes, **options)


# .tflite

_TFLITE = (
    ["inspect", "{}/m.tflite"],
    ["inspect", "{}/m.tflite", "--operators", "--json"],
    ["run", "{}/m.tflite", "--input", "{}/rows.csv"],
    ["run", "{}/m.tflite", "--input", "-", "--stream", "--format", "csv"],
    ["bench", "{}/m.tflite", "--seconds", "0.01"],
    ["watch", "{}/m.tflite", "--input", "{}/rows.csv"],
    ["runtime", "{}/m.tflite"],
)


def _prepare_tflite(bench: Bench) -> Strategy:
    bench.put("rows.csv", ROWS.encode())
    name = st.sampled_from(sorted(seeds.tflite()))
    change = st.one_of(st.tuples(st.just("bytes"), CHANGES), st.tuples(st.just("fields"), FIELDS))
    return st.tuples(name, change, st.sampled_from(_TFLITE))


def _do_tflite(bench: Bench, example: Any) -> None:
    name, (kind, changes), command = example
    content = seeds.tflite()[name]
    content = changed(content, changes) if kind == "bytes" else changed_fields(content, changes)
    bench.try_one({"m.tflite": content}, command, repr((name, kind, changes)), ROWS)


# .keras and .h5

_KERAS = (
    ["keras_model", "{}/m.keras"],
    ["export", "{}/m.keras", "--calibrate", "{}/missing.npz", "--out", "{}/out"],
    ["export", "{}/m.keras", "--calibrate", "{}/data.npz", "--evaluate", "{}/missing.npz", "--out", "{}/out"],
)


def _prepare_keras(bench: Bench) -> Strategy:
    data = np.random.default_rng(0).normal(size=(8, 10, 6)).astype(np.float32)
    bench.put("data.npz", npz_of({"x": npy_of(data)}))
    files = {**seeds.keras(), **{f"2 {name}": content for name, content in seeds.keras2().items()}}
    _WHOLE.update(files)
    names = [name for name in sorted(files) if name.endswith(".keras")]
    inside = st.sampled_from(["config.json", "model.weights.h5", "metadata.json"])
    change = st.one_of(
        st.tuples(st.just("json"), JSON_CHANGES),
        st.tuples(st.just("json"), JSON_CHANGES),
        st.tuples(st.just("bytes"), CHANGES),
        st.tuples(inside, CHANGES),
    )
    return st.tuples(st.sampled_from(names), change, st.booleans(), st.sampled_from(_KERAS))


_WHOLE: dict[str, bytes] = {}


def _do_keras(bench: Bench, example: Any) -> None:
    name, (kind, changes), deflated, command = example
    content = _WHOLE[name]
    if kind == "bytes":
        content = changed(content, changes)
    elif kind == "json":
        content = changed_archive(
            content, "config.json", lambda old: changed_json(old, changes).encode("utf-8", "replace"), deflated
        )
    else:
        content = changed_archive(content, kind, lambda old: changed(old, changes), deflated)
    bench.try_one({"m.keras": content}, command, repr(example))


def _prepare_h5(bench: Bench) -> Strategy:
    _prepare_keras(bench)
    names = [name for name in sorted(_WHOLE) if name.endswith(".h5")]
    change = st.one_of(st.tuples(st.just("json"), JSON_CHANGES), st.tuples(st.just("bytes"), CHANGES))
    return st.tuples(st.sampled_from(names), change, st.sampled_from(_KERAS))


def _do_h5(bench: Bench, example: Any) -> None:
    name, (kind, changes), command = example
    content = _WHOLE[name]
    if kind == "bytes":
        content = changed(content, changes)
    else:
        content = _with_config(bench.folder / "edited.h5", content, changes)
    bench.try_one({"m.h5": content}, [part.replace("m.keras", "m.h5") for part in command], repr(example))


def _with_config(path: Path, content: bytes, changes: Any) -> bytes:
    import h5py

    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        if "model_config" in file.attrs:
            text = changed_json(file.attrs["model_config"], changes).encode("utf-8", "replace")
            # Long texts do not fit into the attributes of old files.
            file.attrs["model_config"] = text if len(text) < 60_000 else text[:60_000]
    return path.read_bytes()


# .npz and .npy

_ARRAYS = (
    ["data", "{}/functional.keras", "{}/a.npz"],
    ["recording", "{}/a.npz"],
    ["task", "{}/a.npz", ""],
    ["task", "{}/a.npz", "60,20,20"],
    ["data", "{}/functional.keras", "{}/a.npy"],
    ["recording", "{}/a.npy"],
    ["run", "{}/whole.tflite", "--input", "{}/a.npy"],
    ["run", "{}/window.tflite", "--input", "{}/a.npy"],
    ["export", "{}/functional.keras", "--calibrate", "{}/a.npz", "--evaluate", "{}/missing.npz", "--out", "{}/out"],
    ["export", "{}/functional.keras", "--with", "web", "--recording", "{}/a.npz", "--out", "{}/out"],
    ["compare", "{}/a.npz", "--storage", "{}/missing/study.db", "--out", "{}/out", "--split", "60,20,20"],
)


def _prepare_arrays(bench: Bench) -> Strategy:
    bench.put("functional.keras", seeds.keras()["functional.keras"])
    bench.put("whole.tflite", seeds.tflite()["step"])
    bench.put("window.tflite", seeds.tflite()["sequence"])
    one = st.one_of(
        st.tuples(st.just("array"), ARRAYS),
        st.tuples(st.just("header"), HEADERS),
        st.tuples(st.just("changed"), st.tuples(ARRAYS, CHANGES)),
    )
    several = st.one_of(
        st.tuples(st.just("arrays"), NAMED, st.booleans()),
        st.tuples(st.just("headers"), st.dictionaries(st.sampled_from(["x", "y", "mean"]), HEADERS), st.booleans()),
        st.tuples(st.just("changed"), st.tuples(NAMED, CHANGES), st.booleans()),
    )
    return st.tuples(one, several, st.sampled_from(_ARRAYS))


def _do_arrays(bench: Bench, example: Any) -> None:
    (kind, drawn), several, command = example
    if "{}/a.npy" in command:
        content = {
            "array": lambda: npy_of(array_of(drawn)),
            "header": lambda: npy_with(drawn),
            "changed": lambda: changed(npy_of(array_of(drawn[0])), drawn[1]),
        }[kind]()
        bench.try_one({"a.npy": content}, command, repr((kind, drawn)))
        return
    kind, drawn, deflated = several
    if kind == "headers":
        content = npz_of({name: npy_with(header) for name, header in drawn.items()}, deflated)
    else:
        named, changes = drawn if kind == "changed" else (drawn, [])
        content = changed(npz_of({name: npy_of(array_of(each)) for name, each in named.items()}, deflated), changes)
    bench.try_one({"a.npz": content}, command, repr(several))


# Text: CSV, recipes, labels

_TEXTS = (
    ["run", "{}/whole.tflite", "--input", "{}/a.csv"],
    ["run", "{}/window.tflite", "--input", "{}/a.csv", "--format", "csv"],
    ["run", "{}/whole.tflite", "--input", "-", "--stream", "--on-error", "skip"],
    ["run", "{}/whole.tflite", "--input", "-", "--output", "{}/results.npy"],
    ["watch", "{}/whole.tflite", "--input", "{}/a.csv"],
)


def _prepare_csv(bench: Bench) -> Strategy:
    bench.put("whole.tflite", seeds.tflite()["step"])
    bench.put("window.tflite", seeds.tflite()["sequence"])
    return st.tuples(TABLES, st.one_of(st.just([]), CHANGES), st.sampled_from(_TEXTS))


def _do_csv(bench: Bench, example: Any) -> None:
    table, changes, command = example
    content = changed(csv_of(table), changes)
    bench.try_one({"a.csv": content}, command, repr(example), content.decode("utf-8", "surrogateescape"))


_RECIPES = (
    ["recipe", "{}/functional.keras", "{}/a.json"],
    ["export", "{}/functional.keras", "--recipe", "{}/a.json", "--calibrate", "{}/missing.npz", "--out", "{}/out"],
    ["export", "{}/functional.keras", "--labels", "{}/a.json", "--calibrate", "{}/missing.npz", "--out", "{}/out"],
)


def _prepare_recipes(bench: Bench) -> Strategy:
    bench.put("functional.keras", seeds.keras()["functional.keras"])
    return st.tuples(RECIPES, st.one_of(st.just([]), CHANGES), st.sampled_from(_RECIPES))


def _do_recipes(bench: Bench, example: Any) -> None:
    text, changes, command = example
    bench.try_one({"a.json": changed(text.encode("utf-8", "replace"), changes)}, command, repr(example))


END = "an answer, or exit code 2 and one message; never a traceback, 10 s, 2 GiB or anything that the file names."
CHECKS: dict[str, Check] = {
    "fuzzed_tflite": check(f"A damaged .tflite gets {END}", _prepare_tflite, _do_tflite, (30, 500, 8000)),
    "fuzzed_keras": check(f"A damaged .keras gets {END}", _prepare_keras, _do_keras, (0, 250, 3500)),
    "fuzzed_h5": check(f"A damaged .h5 gets {END}", _prepare_h5, _do_h5, (0, 150, 2000)),
    "fuzzed_arrays": check(f"A damaged or odd .npz or .npy gets {END}", _prepare_arrays, _do_arrays, (0, 400, 4000)),
    "fuzzed_csv": check(f"Any table of text gets {END}", _prepare_csv, _do_csv, (30, 300, 2500)),
    "fuzzed_recipes": check(f"Any recipe gets {END}", _prepare_recipes, _do_recipes, (0, 150, 1500)),
}
