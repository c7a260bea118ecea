"""A comparison's memory: an Optuna study in a database or journal that several processes share.

A result depends on nothing but its run and the study's settings, so that order, kills and the number of workers do
not show in it. A run is claimed by adding a running trial; of two that claimed the same the older trial stays.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.storages import journal
from optuna.trial import FrozenTrial, TrialState, create_trial

from keras_gru_plus import cells

from . import claims, memory
from .plan import ACTIVATIONS, BASELINES, Run

#: How often a run may end its worker by a signal of its own making before that is its result, and by one that others
#: send (or the system, out of memory).
CRASHES, KILLS = 2, 10
_SENT = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP")
_MOST = 2**31 - 1
_DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "variant": CategoricalDistribution((*cells.VARIANTS, *BASELINES)),
    "units": IntDistribution(1, _MOST),
    "activation": CategoricalDistribution(ACTIVATIONS),
    "rank": IntDistribution(0, _MOST),
    "seed": IntDistribution(-1, _MOST),
}


def open_storage(place: str) -> optuna.storages.BaseStorage:
    """The storage at a place: a `.db` file (SQLite), a `.journal` file (also on network drives), or a database's URL.

    Raises:
        ValueError: another place, or one that cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = Path(place)
    url = place if "://" in place else f"sqlite:///{path}" if path.suffix == ".db" else None
    if url is None and path.suffix != ".journal":
        raise ValueError(f"Expected `--storage` to be a .db or .journal file or a database's URL, got {place!r}.")
    try:
        if url is None:
            backend = journal.JournalFileBackend(str(path))
            return optuna.storages.JournalStorage(backend)
        if path.suffix == ".db":
            memory.check_sqlite(path)
        options = {"connect_args": {"timeout": 100}} if url.startswith("sqlite:") else {}
        return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except Exception as error:  # noqa: BLE001 (every database has errors of its own)
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"Expected a storage that can be opened at {place!r}, got: {words}.") from None


class Store:
    """One study: runs claimed, finished and failed.

    Args:
        place: see `open_storage`.
        name: of the study.
        settings: what results depend on; of a study that exists they must be the same.
        directions: of its objectives, "maximize" or "minimize".

    Raises:
        ValueError: see `open_storage`; a study with other settings, says which; or one that is damaged.
    """

    def __init__(self, place: str, name: str, settings: Mapping[str, Any], directions: list[Any]) -> None:
        self.storage = open_storage(place)
        self._where = f"study {name!r} in {place!r}"
        # As JSON has them: tuples are lists.
        wanted = json.loads(json.dumps(dict(settings)))
        with self._whole():
            self.study = optuna.create_study(
                storage=self.storage, study_name=name, directions=directions, load_if_exists=True
            )
            self._id = self.storage.get_study_id_from_name(name)
            present = self.study.user_attrs.get("settings")
            if present is None:
                self.study.set_user_attr("settings", wanted)
                present = wanted
            if not isinstance(present, dict):
                raise ValueError(f"settings {str(present)[:80]!r}")
        self._watch = claims.Watch()
        changed = [key for key in {**present, **wanted} if present.get(key) != wanted.get(key)]
        if changed:
            what = "; ".join(f"{key} {present.get(key)!r} there, {wanted.get(key)!r} now" for key in changed)
            raise ValueError(
                f"Expected study {name!r} in {place!r} to be of these settings, got others: {what}; "
                "choose another --out, --storage or --study."
            )

    def trials(self) -> list[FrozenTrial]:
        """All trials, oldest first.

        Raises:
            ValueError: they cannot be read, or one is not as a comparison writes it.
        """
        with self._whole():
            found = sorted(self.study.get_trials(deepcopy=False), key=lambda trial: trial._trial_id)
            for trial in found:
                if reason := memory.fault(trial.user_attrs):
                    raise ValueError(f"trial {trial.number} with {reason}")
            return found

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """Whatever a database or Optuna has to say of a damaged study, as one message."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 (every database has errors of its own)
            words = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            raise ValueError(
                f"Expected {self._where} to be as a comparison wrote it, got: {words}; choose another --out, "
                "--storage or --study, or begin anew with --force."
            ) from None

    def results(self) -> dict[Run, dict[str, Any]]:
        """What every finished run found; {"failed": reason} for one that cannot be done."""
        found: dict[Run, dict[str, Any]] = {}
        crashes: dict[Run, list[str]] = {}
        for trial in self.trials():
            run = run_of(trial)
            if run is None:
                continue
            if "result" in trial.user_attrs and trial.state.is_finished():
                found.setdefault(run, trial.user_attrs["result"])
            elif "crash" in trial.user_attrs:
                crashes.setdefault(run, []).append(trial.user_attrs["crash"])
        for run, signals in crashes.items():
            own = [name for name in signals if name not in _SENT]
            if len(own) >= CRASHES or len(signals) - len(own) >= KILLS:
                found.setdefault(run, {"failed": f"crash: {(own or signals)[-1]}"})
        return found

    def running(self) -> dict[Run, int]:
        """Runs that a living process works on, with their trials; those of processes that are gone are given up."""
        found: dict[Run, int] = {}
        for trial in self.trials():
            if trial.state != TrialState.RUNNING:
                continue
            if self._watch.is_gone(trial._trial_id, trial.user_attrs):
                self.end(trial._trial_id, TrialState.FAIL)
                continue
            run = run_of(trial)
            if run is not None:
                found.setdefault(run, trial._trial_id)
        return found

    def claim(self, runs: Iterable[Run]) -> tuple[Run, int] | None:
        """The first of `runs` that is neither finished nor claimed, now claimed, with its trial."""
        taken = {*self.results(), *self.running()}
        for run in runs:
            if run not in taken:
                own = self.add(run, run.parameters, _DISTRIBUTIONS)
                if own is not None:
                    return run, own
        return None

    def add(
        self, run: Run, parameters: dict[str, Any], distributions: Mapping[str, BaseDistribution], **known: Any
    ) -> int | None:
        """A running trial of this process; None if another one has the run.

        Args:
            run: to work on.
            parameters, distributions: of the trial.
            known: further user attributes.
        """
        template = create_trial(
            state=TrialState.RUNNING,
            params=parameters,
            distributions=dict(distributions),
            user_attrs={"run": run.parameters, "owner": claims.owner(), **known},
        )
        own = self.storage.create_new_trial(self._id, template_trial=template)
        if self.running().get(run) == own and run not in self.results():
            return own
        self.end(own, TrialState.FAIL)
        return None

    def finish(self, trial: int, result: Mapping[str, Any], values: list[float] | None) -> None:
        """Keeps a result; without `values` it is one that no score belongs to, or a failure.

        A trial that others gave up in the meantime stays as they left it: it is done again, with the same result.
        """
        without = TrialState.FAIL if "failed" in result else TrialState.PRUNED
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(trial, "result", dict(result))
            self.storage.set_trial_state_values(trial, without if values is None else TrialState.COMPLETE, values)

    def crashed(self, pid: int, signal: str) -> None:
        """Notes on the trials of a worker of this machine that a signal ended."""
        for trial in self.trials():
            whose = trial.user_attrs.get("owner", {})
            if trial.state == TrialState.RUNNING and whose.get("pid") == pid and whose["machine"] == claims.machine():
                self.crash(trial._trial_id, signal)

    def crash(self, trial: int, signal: str) -> None:
        """Ends a trial whose process, or a child of it, was ended by a signal."""
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(trial, "crash", signal)
        self.end(trial, TrialState.FAIL)

    def alive(self, trial: int, count: int) -> None:
        """A sign of life of a trial's worker."""
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.storage.set_trial_user_attr(trial, "alive", count)

    def end(self, trial: int, state: TrialState) -> None:
        """Ends a trial without a result, unless it has ended."""
        with self._whole(), contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            self.storage.set_trial_state_values(trial, state)


@functools.cache
def _run(text: str) -> Run:
    return Run.of(json.loads(text))


def run_of(trial: FrozenTrial) -> Run | None:
    """The run of a trial, None while a search has not said."""
    parameters = trial.user_attrs.get("run")
    return None if parameters is None else _run(json.dumps(parameters, sort_keys=True))
