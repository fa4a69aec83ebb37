"""What-ifs over the cross product of values of a scenario's keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from runflat import _core
from runflat.api import MAX_TRIALS
from runflat.grid import Axis, Scalar, Vary, axes_of, grid
from runflat.point_store import Outcome, PointStore
from runflat.scenario_files import load_scenario
from runflat.sweep_point import Point
from runflat.sweep_result import Sweep


@dataclass(frozen=True, slots=True)
class _Options:
    """Of every point's what-if. All of them change the outcome."""

    policies: tuple[str, ...]
    trials: int
    until_ci: float | None
    max_trials: int
    seed: int


@dataclass(frozen=True, slots=True)
class _Job:
    """A point still to do."""

    values: dict[str, Scalar]
    key: str
    scenario: _core.Scenario | None
    reason: str = ""  # why there is no scenario: the values contradict each other


def sweep(
    scenario: _core.Scenario | str | Path,
    vary: Vary,
    *,
    policies: Sequence[str] = (),
    trials: int = 100,
    until_ci: float | None = None,
    max_trials: int = MAX_TRIALS,
    seed: int = 1,
    threads: int = 0,
    executor: Executor | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """A what-if at every point of the grid that `vary` spans.

    `vary` is `{"layout.data_parallel_size": [64, 128]}` or texts as `--vary` takes them. Points run
    here, one after another on `threads` threads, or by `executor`, each on one thread unless
    `threads` says otherwise; the answer is the same. In `folder` every finished point is kept as
    soon as it is finished, and `resume` takes over those that are there. A point that cannot run
    is a row with the reason. Raises ParseError where no point at all makes sense.
    """
    if not isinstance(scenario, _core.Scenario):
        scenario = load_scenario(scenario)
    axes = axes_of(vary)
    options = _Options(tuple(policies), trials, until_ci, max_trials, seed)
    jobs = [_job(scenario, axes, texts, options) for texts in grid(axes)]
    if all(job.scenario is None for job in jobs):
        raise _core.ParseError(jobs[0].reason)
    store = None if folder is None else PointStore(Path(folder), resume=resume)
    outcomes: dict[str, Outcome] = {}
    for job in jobs:
        kept = store.load(job.key) if store else None
        if kept is not None:
            outcomes[job.key] = kept
    todo = [job for job in jobs if job.key not in outcomes]
    num_done = len(jobs) - len(todo)
    for job, outcome in _run(todo, options, threads, executor):
        outcomes[job.key] = outcome
        if store:
            store.save(job.key, outcome)
        num_done += 1
        if progress:
            progress(num_done, len(jobs))
    points = [Point(job.values, **outcomes[job.key]) for job in jobs]
    return Sweep(scenario, axes, asdict(options), points)


def run_point(scenario: _core.Scenario, options: _Options, threads: int) -> Outcome:
    """One point, wherever it runs. Bad options are the same for all points, so they raise."""
    try:
        result = _core.what_if(
            scenario,
            policies=list(options.policies),
            trials=options.trials,
            until_ci=options.until_ci,
            max_trials=options.max_trials,
            seed=options.seed,
            threads=threads,
            trace=None,
            loss_curves=False,
            progress=lambda done, total: None,  # lets an interruption in
        )
    except _core.InfeasibleError as error:
        return _infeasible(str(error))
    document = json.loads(result.to_json())
    for curves in ("goodput_over_time", "loss_vs_failed_fraction"):
        del document[curves]
    return {"reason": "", "document": document}


def _infeasible(reason: str) -> Outcome:
    return {"reason": reason, "document": None}


def _job(
    scenario: _core.Scenario, axes: Sequence[Axis], texts: Sequence[str], options: _Options
) -> _Job:
    overrides = [f"{axis.key}={text}" for axis, text in zip(axes, texts, strict=True)]
    places = [axis.texts.index(text) for axis, text in zip(axes, texts, strict=True)]
    values = {axis.key: axis.values[place] for axis, place in zip(axes, places, strict=True)}
    recipe = {
        "version": _core.__version__,
        "scenario": json.loads(scenario.to_json()),
        "overrides": overrides,
        "options": asdict(options),
    }
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:32]
    try:
        return _Job(values, key, scenario.with_overrides(overrides))
    except _core.ParseError as error:
        return _Job(values, key, None, str(error))


def _run(
    jobs: Sequence[_Job], options: _Options, threads: int, executor: Executor | None
) -> Iterator[tuple[_Job, Outcome]]:
    """Outcomes in the order in which they come."""
    runnable: list[tuple[_Job, _core.Scenario]] = []
    for job in jobs:
        if job.scenario is None:
            yield job, _infeasible(job.reason)
        else:
            runnable.append((job, job.scenario))
    if executor is None:
        for job, scenario in runnable:
            yield job, run_point(scenario, options, threads)
        return
    futures = {
        executor.submit(run_point, scenario, options, threads or 1): job
        for job, scenario in runnable
    }
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()
