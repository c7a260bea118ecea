"""The deliberate errors with which `make trust` tries the tests: each is one, in code that still can be read."""

from __future__ import annotations

import ast

from trust import mutation

import keras_gru_plus as kgp


def test_every_cell_and_every_pass_has_errors_and_a_drawn_sample_has_some_of_each() -> None:
    cells, passes = mutation.of_cells(), mutation.of_passes()
    scopes = {mutant.scope.partition(".")[0] for mutant in mutation.drawn(cells, 60, seed=0)}
    assert {type(kgp.variants.get(name)).__name__ for name in kgp.VARIANTS if name not in ("gru2", "mgu2")} <= scopes
    files = {mutant.path for mutant in passes}
    assert {mutant.path for mutant in mutation.drawn(passes, 30, seed=0)} == files
    assert {path.rpartition("/")[2].removesuffix(".py") for path in files} == mutation.PASS_WORDS.keys()
    assert len(files) + 1 == len(list((mutation.ROOT / mutation.PASSES).glob("*.py")))  # but the package's own
    for mutant in mutation.drawn([*cells, *passes], 100, seed=1):
        original = ast.unparse(ast.parse((mutation.ROOT / mutant.path).read_text()))
        changed = mutant.make().splitlines()
        assert ast.parse("\n".join(changed))
        assert changed != original.splitlines(), mutant
