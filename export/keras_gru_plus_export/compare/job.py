"""What a comparison is made of, as plain values that go to its workers and into its storage."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..report import versions
from . import tasks
from .plan import Limits, Run, Space
from .search import Search, finalists
from .store import Store


@dataclasses.dataclass(frozen=True)
class Job:
    """A comparison.

    Attributes:
        source, split, standardize: of the data, see `tasks.load`.
        training: how long and how fast.
        space: the models.
        mode, target, recipe, device: see `costs.Target`.
        storage, study: where results are shared, and under which name.
        limits: of a device; with them the space is searched instead of done whole.
        trials, sampler: of the search.
        models: directory of trained models.
    """

    source: str
    split: str | None
    standardize: bool
    training: tasks.Training
    space: Space
    mode: str
    target: str
    recipe: str
    device: str
    storage: str
    study: str
    limits: Limits | None
    trials: int
    sampler: str
    models: str

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Job:
        """Inverse of `to_json`, also after JSON has made lists of tuples."""
        space: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in plain["space"].items()
        }
        limits = None if plain["limits"] is None else Limits(**plain["limits"])
        rest = {"training": tasks.Training(**plain["training"]), "space": Space(**space), "limits": limits}
        return cls(**{**plain, **rest})

    def task(self) -> tasks.Task:
        """The data, to be trained as this job says."""
        task = tasks.load(self.source, split=self.split, standardize=self.standardize)
        return dataclasses.replace(task, training=self.training)

    def settings(self, task: tasks.Task) -> dict[str, Any]:
        """What every result depends on: of a study that goes on it has to be the same."""
        made_with = {name: version for name, version in versions().items() if name != "python"}
        own = {key: getattr(self, key) for key in ("mode", "target", "recipe", "device")}
        data = {"data": task.name, "fingerprint": task.fingerprint()}
        return {**data, **dataclasses.asdict(self.training), **own, **made_with}


class Queue:
    """A job's stores: which run comes next, and what has been found.

    Args:
        job: the comparison.
        task: its data.
    """

    def __init__(self, job: Job, task: tasks.Task) -> None:
        self.job, self.metric = job, task.metric
        settings, best = job.settings(task), "maximize" if task.metric == "accuracy" else "minimize"
        self.search: Search | None = None
        if job.limits is None:
            self.runs = Store(job.storage, job.study, settings, [best])
            return
        # A search's history belongs to its space and limits; the number of trials may grow.
        space = {key: value for key, value in dataclasses.asdict(job.space).items() if key != "seeds"}
        own = {"space": space, "budget": job.limits.given(), "sampler": job.sampler}
        proposals = Store(job.storage, f"{job.study} search", settings | own, [best, "minimize"])
        self.search = Search(proposals, job.space, job.limits, job.trials, job.sampler)
        self.runs = Store(job.storage, f"{job.study} finalists", settings | own, [best])

    def wanted(self) -> list[Run]:
        """Runs to do: the whole space, or once a search is over the finalists with the other seeds."""
        if self.search is None:
            return self.job.space.runs()
        if not self.search.is_over():
            return []
        chosen = finalists(self.search.store.results(), self.search.limits, self.metric)
        return [Run(model, seed) for seed in range(1, self.job.space.seeds) for model in chosen]

    def results(self) -> dict[Run, dict[str, Any]]:
        """All that is done."""
        found = self.runs.results()
        return found if self.search is None else self.search.store.results() | found

    def progress(self) -> tuple[int, int]:
        """Runs done and to do, as far as known."""
        done = self.results()
        if self.search is None:
            wanted = self.wanted()
            return sum(run in done for run in wanted), len(wanted)
        more = min(self.search.trials, len(self.job.space.configurations()))
        if self.search.is_over():
            wanted = [*self.search.store.results(), *self.wanted()]
            return sum(run in done for run in wanted), len(wanted)
        return len(done), more

    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        if self.search is not None and not self.search.is_over():
            return False
        done = self.runs.results()
        return all(run in done for run in self.wanted())

    @property
    def stores(self) -> list[Store]:
        """Every study of the job."""
        return [self.runs] if self.search is None else [self.search.store, self.runs]

    def crashed(self, pid: int, signal: str) -> None:
        """Notes that a signal ended a worker of this machine."""
        for store in self.stores:
            store.crashed(pid, signal)
