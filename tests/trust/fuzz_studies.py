"""The storage of a comparison, damaged or edited: what `compare` reads when it goes on."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from hypothesis import strategies as st

from . import fuzz_seeds as seeds
from .check import Check
from .fuzz_inputs import CHANGES, JSON_CHANGES, ODD, Strategy, changed, changed_json
from .fuzzing import END, Bench, check

#: Columns of Optuna's tables that hold what a comparison reads.
_COLUMNS = (
    *(("trial_user_attributes", "value_json"), ("study_user_attributes", "value_json")),
    *(("trial_params", "distribution_json"), ("trial_params", "param_value"), ("trials", "state")),
    *(("trial_values", "value"), ("studies", "study_name"), ("study_directions", "direction")),
    *(("trial_user_attributes", "key"), ("version_info", "schema_version"), ("trials", "number")),
)
_COMMANDS = (
    "DROP TABLE trials",
    "DROP TABLE trial_params",
    "CREATE VIEW more AS SELECT * FROM trials",
    "CREATE TRIGGER more AFTER UPDATE ON trials BEGIN DELETE FROM trials; END",
    "DELETE FROM trials",
    "DELETE FROM studies",
    "INSERT INTO trials (study_id, number, state) VALUES (1, 0, 'RUNNING')",
    "UPDATE trials SET datetime_start = 'x'",
    "UPDATE alembic_version SET version_num = 'v9.9.9'",
)


def _prepare(bench: Bench) -> Strategy:
    bench.put("data.npz", seeds.compared()["data.npz"])
    edit = st.one_of(
        st.tuples(st.just("bytes"), CHANGES),
        st.tuples(st.just("json"), st.integers(0, 99), JSON_CHANGES),
        st.tuples(st.just("json"), st.integers(0, 99), JSON_CHANGES),
        st.tuples(st.just("cell"), st.sampled_from(_COLUMNS), ODD),
        st.tuples(st.just("command"), st.sampled_from(_COMMANDS)),
    )
    return st.one_of(st.tuples(st.just("db"), edit), st.tuples(st.just("journal"), CHANGES))


def _do(bench: Bench, example: Any) -> None:
    ending, edit = example
    content = seeds.compared()[f"study.{ending}"]
    if ending == "journal":
        content = changed(content, edit)
    elif edit[0] == "bytes":
        content = changed(content, edit[1])
    else:
        content = _edited(bench, content, edit)
    name = f"study.{ending}"
    bench.try_one({name: content}, ["study", "{}/out", "{}/data.npz", f"{{}}/{name}"], repr(example))
    for left in bench.folder.glob("study.*"):  # journals and locks
        left.unlink()


def _edited(bench: Bench, content: bytes, edit: Any) -> bytes:
    path = bench.folder / "edited.db"
    path.write_bytes(content)
    base = sqlite3.connect(path)
    try:
        if edit[0] == "command":
            base.execute(edit[1])
        elif edit[0] == "cell":
            (table, column), value = edit[1:]
            text = json.dumps(value) if isinstance(value, list | dict | bool) else value
            text = str(text) if isinstance(text, int) and abs(text) >= 2**63 else text
            text = text.encode("utf-8", "replace").decode() if isinstance(text, str) else text
            base.execute(f"UPDATE {table} SET {column} = ?", (text,))
        else:
            rows = base.execute("SELECT rowid, value_json FROM trial_user_attributes").fetchall()
            row, text = rows[edit[1] % len(rows)]
            base.execute(
                "UPDATE trial_user_attributes SET value_json = ? WHERE rowid = ?", (changed_json(text, edit[2]), row)
            )
        base.commit()
    except sqlite3.IntegrityError:  # such a value cannot be there
        pass
    finally:
        base.close()
    found = path.read_bytes()
    path.unlink()
    return found


CHECKS: dict[str, Check] = {
    "fuzzed_studies": check(f"A damaged or edited storage of compare gets {END}", _prepare, _do, (0, 60, 1000))
}
