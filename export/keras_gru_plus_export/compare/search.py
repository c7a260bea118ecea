"""The search inside a device's limits: Optuna proposes a model, its costs are known before it is trained."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from . import claims
from .plan import Limits, Run, Space, effective
from .store import Store, run_of

SAMPLERS = ("tpe", "nsga2")
#: Proposals for each model that is trained, at most: the others do not fit the device or were proposed before.
PROPOSALS = 12
#: Share by which instructions may change with the weights (2 % were seen); what is above the limit after training is
#: no candidate, as a file or an arena that is too large.
SLACK = {"insns": 0.03}
#: Models that all seeds are trained of at the end.
FINALISTS = 3

Costs = Callable[[Any], Mapping[str, Any]]


class Search:
    """Proposes models within limits.

    Args:
        store: whose study has two objectives, the validation score and the largest share of a limit.
        space: to search in; the first seed only.
        limits: of the device.
        trials: models to train.
        sampler: "tpe" or "nsga2".
        seed: of the sampler.
    """

    def __init__(
        self, store: Store, space: Space, limits: Limits, trials: int, sampler: str = "tpe", seed: int = 0
    ) -> None:
        self.store, self.space, self.limits, self.trials = store, space, limits, trials
        self.sampler, self.seed = sampler, seed

    def is_over(self) -> bool:
        """Whether enough models were trained, or nothing new is left or likely to fit."""
        return not self.store.running() and (len(self._trained()) >= self.trials or self._is_exhausted())

    def _trained(self) -> list[FrozenTrial]:
        """Trials of models that were trained, each once."""
        complete = (trial for trial in self.store.trials() if trial.state == TrialState.COMPLETE)
        return [trial for trial in complete if "copy" not in trial.user_attrs]

    def _is_exhausted(self) -> bool:
        known = [trial for trial in self.store.trials() if "costs" in trial.user_attrs]
        settled = {run_of(trial) for trial in known if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)}
        failed = {run for run, result in self.store.results().items() if "failed" in result}
        return len(known) >= PROPOSALS * self.trials or len(settled | failed) >= len(self.space.configurations())

    def claim(self, costs: Costs) -> tuple[Run, int] | None:
        """A model that fits and was not trained yet, with its trial; None if this proposal was not one.

        Args:
            costs: gives the costs of a configuration without training it.
        """
        if len(self._trained()) + len(self.store.running()) >= self.trials or self._is_exhausted():
            return None
        return self._again() or self._new(costs)

    def _again(self) -> tuple[Run, int] | None:
        """A model that a process began to train and did not finish."""
        taken = {*self.store.results(), *self.store.running()}
        for trial in self.store.trials():
            run = run_of(trial)
            left = trial.state == TrialState.FAIL and "costs" in trial.user_attrs
            if left and self._may_fit(trial.user_attrs["costs"]) and run is not None and run not in taken:
                known = {"costs": trial.user_attrs["costs"]}
                own = self.store.add(run, trial.params, trial.distributions, **known)
                return None if own is None else (run, own)
        return None

    def _new(self, costs: Costs) -> tuple[Run, int] | None:
        study = self.store.study
        study.sampler = self._sampler(len(self.store.trials()))
        trial = study.ask()
        run = Run(self._proposed(trial), 0)
        trial.set_user_attr("owner", claims.owner())
        trial.set_user_attr("run", run.parameters)
        own = trial._trial_id
        earlier = [old for old in self.store.trials() if run_of(old) == run and old._trial_id < own]
        known = next((old.user_attrs["costs"] for old in earlier if "costs" in old.user_attrs), None)
        found = dict(costs(run.configuration)) if known is None else known
        self._limit(trial, found)
        trial.set_user_attr("costs", found)
        done = next((old for old in earlier if old.state == TrialState.COMPLETE), None)
        if not self._may_fit(found):
            study.tell(trial, state=TrialState.PRUNED)
        elif done is not None:
            trial.set_user_attr("copy", done.number)
            study.tell(trial, values=done.values)
        elif run in self.store.results() or self.store.running().get(run, own) != own:
            self.store.end(own, TrialState.FAIL)
        else:
            return run, own
        return None

    def values(self, result: Mapping[str, Any]) -> list[float] | None:
        """The objectives of a trained model, whose file may differ by some bytes from the untrained one's."""
        if "failed" in result:
            return None
        return [result["int8_validation"], 1 + max(self.limits.excess(result).values())]

    def _may_fit(self, costs: Mapping[str, Any]) -> bool:
        excess = self.limits.excess(costs)
        known = "failed" not in costs and len(excess) == len(self.limits.given())
        return known and all(value <= SLACK.get(name, 0.0) for name, value in excess.items())

    def _limit(self, trial: optuna.Trial, costs: Mapping[str, Any]) -> None:
        excess = self.limits.excess(costs)
        for name in self.limits.given():
            trial.set_constraint(name, excess.get(name, 1.0) - SLACK.get(name, 0.0))

    def _proposed(self, trial: optuna.Trial) -> Any:
        space = self.space
        return effective(
            trial.suggest_categorical("variant", space.variants),
            _chosen(trial, "units", space.units),
            trial.suggest_categorical("activation", space.activations),
            _chosen(trial, "rank", space.ranks),
        )

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """A new one for each proposal, so that a search goes on after a kill as if there had been none."""
        seed = self.seed + number
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if self.sampler == "nsga2":
                return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, self.trials // 4))
            return optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=True, n_startup_trials=max(4, self.trials // 3)
            )


def _chosen(trial: optuna.Trial, name: str, choices: tuple[int, ...]) -> int:
    """A number out of several, as a place in their order, so that a sampler knows neighbours."""
    ordered = sorted(choices)
    return ordered[trial.suggest_int(name, 0, len(ordered) - 1)]


def finalists(results: Mapping[Run, Mapping[str, Any]], limits: Limits, metric: str) -> list[Any]:
    """The models that fit, best on the validation part first, as many as get all seeds."""
    fitting = [run for run, result in results.items() if "int8_validation" in result and limits.fit(result)]
    sign = -1 if metric == "accuracy" else 1
    fitting.sort(key=lambda run: (sign * results[run]["int8_validation"], results[run]["flash"], run))
    return list(dict.fromkeys(run.configuration for run in fitting))[:FINALISTS]
