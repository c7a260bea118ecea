"""Tests notice a single error: one is put into each equation of a cell and each pass, and its own tests must fail.

KGP_TRUST_LOG names a file that gets a line for each error as it was tried.
"""

from __future__ import annotations

import ast
import collections
import functools
import inspect
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from . import mutants
from .check import Check, Counts
from .mutants import Mutant

ROOT = Path(__file__).parents[2]
CELLS, PASSES = "keras_gru_plus/cells", "export/keras_gru_plus_export/passes"
COPIED = ("keras_gru_plus", "export", "tests", "examples/web")
#: Times as long as without an error, and seconds beyond, after which a run counts as one that does not end.
PATIENCE, SPARE = 6, 30

#: Errors after which the code computes the same, or which no result can depend on, each with the reason.
EQUIVALENT: dict[str, str] = {}

CELL_TESTS = ("tests/test_cells.py",)
#: What all cells share is tried with some of them.
BASE_TESTS = ("tests/test_cells.py", "tests/test_layer.py", "tests/test_catalogue.py")
BASE_VARIANTS = ("gru", "mgu", "qrnn", "fastgrnn", "grud")
PASS_TESTS = ("tests/test_passes.py", "tests/test_passes_by_hand.py")
#: File of a pass → words, one of which the name of a test that tries it has.
PASS_WORDS = {
    "break_ties": "break_ties or products_in_the_middle",
    "call_steps": "call_steps or called_steps",
    "carried_state": "carried or constant_start or another_grid",
    "common_operators": "tflm_lacks",
    "dead_loop_variables": "dead_loop_variables or counter_nobody",
    "float_io": "float_ends",
    "full_offsets": "a_table_has",
    "labels": "labels",
    "loops": "unroll_while or call_steps or no_number_of_steps or one_loop",
    "merge_loops": "one_loop",
    "narrow_shapes": "narrow",
    "kernel_scales": "kernel_scales",
    "relabel_inputs": "relabel or far_zero_point",
    "reshape_options": "reshape or computed_stays",
    "rows_of_input": "rows_of_input or row_by_row or far_zero_point",
    "scale_inputs": "inputs_are_scaled",
    "shared_memory": "shared_memory or plan_places",
    "signature": "renamed",
    "strip": "strip or labels",
    "subtract_by_adding": "difference",
    "table_activations": "marked or a_table_has",
    "table_gates": "a_table_has or float_gate",
    "unroll_while": "unroll_while or no_number_of_steps",
    "widen": "wide_file_computes or no_wide_form or widen_refuses",
    "zero_biases": "zero_biases",
}


class Runs:
    """A copy of the source tree and a process in it that runs tests; a context.

    Args:
        models: modules of tests whose models are converted once for all runs.
    """

    def __init__(self, *models: str) -> None:
        self._models = models
        self._seconds: dict[tuple[Any, ...], float] = {}

    def __enter__(self) -> Runs:
        self._folder = tempfile.TemporaryDirectory(prefix="kgp-mutants-")
        copy = Path(self._folder.name)
        self._errors = tempfile.TemporaryFile("w+")
        for name in COPIED:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        environment = {
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
            "OMP_NUM_THREADS": "1",
        }
        paths = (copy, copy / "export", copy / "tests")
        environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trust.forking", *self._models],
            cwd=copy,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()
        self._folder.cleanup()

    def run(
        self, tests: tuple[str, ...], words: tuple[str, ...], chosen: str = "", mutant: Mutant | None = None
    ) -> str:
        """ "passed", "failed", "crashed" or "endless".

        Raises:
            AssertionError: if the tests do not pass without an error.
        """
        key = (tests, words, chosen)
        if mutant is not None and key not in self._seconds:
            self.run(*key)
        timeout = 900.0 if mutant is None else PATIENCE * self._seconds[key] + SPARE
        request = {"tests": tests, "words": words, "chosen": chosen, "timeout": timeout}
        if mutant is not None:
            request |= {"path": mutant.path, "source": mutant.make()}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"the process that runs tests ended: {self._errors.read()[-2000:]}")
        answer = json.loads(line)
        code = answer["code"]
        outcome = "endless" if code is None else {0: "passed", 1: "failed"}.get(code, "crashed")
        if mutant is None:
            assert outcome == "passed", f"{key} without an error: {outcome}\n{answer['log']}"
            self._seconds[key] = answer["seconds"]
        return outcome


def of_cells() -> list[Mutant]:
    """Every error in a file of cells."""
    return list(_of(CELLS, mutants.of_cells))


def of_passes() -> list[Mutant]:
    """Every error in a file of passes."""
    return list(_of(PASSES, mutants.of_passes))


def _of(folder: str, points: Any) -> Iterator[Mutant]:
    for file in sorted((ROOT / folder).glob("*.py")):
        path = str(file.relative_to(ROOT))
        yield from (each for each in mutants.mutants(path, file.read_text(), points) if str(each) not in EQUIVALENT)


def drawn(found: list[Mutant], cases: int, seed: int) -> list[Mutant]:
    """So many of them, each file and each class in one before any has two, in the order of the files."""
    generator = random.Random(seed)
    groups = collections.defaultdict(list)
    for place, each in enumerate(found):
        groups[each.path, each.scope.partition(".")[0] if each.path.startswith(CELLS) else ""].append(place)
    for group in groups.values():
        generator.shuffle(group)
    rounds = [
        group[turn]
        for turn in range(max(map(len, groups.values())))
        for group in groups.values()
        if turn < len(group)
    ]
    return [found[place] for place in sorted(rounds[:cases])]


@functools.cache
def variants_of(path: str) -> dict[str, list[str]]:
    """Class of a file of cells → the variants that are it or inherit from it; "" → all variants that the file has."""
    from keras_gru_plus.cells import VARIANTS

    module = f"keras_gru_plus.cells.{Path(path).stem}"
    tree = ast.parse((ROOT / path).read_text())
    names = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    found = {
        name: [
            v
            for v, cell in VARIANTS.items()
            if (module, name) in {(c.__module__, c.__name__) for c in inspect.getmro(cell)}
        ]
        for name in names
    }
    return found | {"": sorted({variant for own in found.values() for variant in own})}


def tests_of_cells(mutant: Mutant) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files of tests, and the variants whose tests are run."""
    stem = Path(mutant.path).stem
    if stem in ("base", "__init__"):
        return BASE_TESTS, BASE_VARIANTS
    own = variants_of(mutant.path)
    return CELL_TESTS, tuple(own.get(mutant.scope.partition(".")[0], own[""]))


def tests_of_passes(mutant: Mutant) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Files of tests, and words for those of the pass."""
    stem = Path(mutant.path).stem
    files = ("tests/test_passes_by_hand.py", "tests/test_int16.py") if stem == "widen" else PASS_TESTS
    return files, (), PASS_WORDS[stem]


def _checked(found: list[Mutant], tests_of: Any, cases: int, seed: int, *models: str) -> Counts:
    counts, outcomes = Counts(), collections.Counter[str]()
    with Runs(*models) as runs:
        for mutant in drawn(found, cases, seed):
            outcome = runs.run(*tests_of(mutant), mutant=mutant)
            counts.cases += 1
            outcomes[outcome] += 1
            if outcome == "passed":
                counts.fail(f"survived: {mutant} (line {mutant.line})")
            if log := os.environ.get("KGP_TRUST_LOG"):
                with Path(log).open("a") as file:
                    file.write(f"{outcome}: {mutant} (line {mutant.line})\n")
    counts.figures = {
        "of": len(found),
        "noticed": counts.cases - counts.failed,
        "of these by a crash": outcomes["crashed"],
        "without an end": outcomes["endless"],
    }
    return counts


def cells(cases: int, seed: int) -> Counts:
    """An error in the equations of cells, and the tests of the variants that have it."""
    return _checked(of_cells(), tests_of_cells, cases, seed)


def passes(cases: int, seed: int) -> Counts:
    """An error in a pass, and the tests of passes."""
    return _checked(of_passes(), tests_of_passes, cases, seed, "tiny_models")


CHECKS = {
    "mutants_of_cells": Check(
        "The tests of a variant fail after any single error in its equation.", cells, quick=0, sample=50, whole=2000
    ),
    "mutants_of_passes": Check(
        "The tests of passes fail after any single error in one of them.", passes, quick=0, sample=30, whole=2000
    ),
}
