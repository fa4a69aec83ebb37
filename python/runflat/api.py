"""The questions that RunFlat answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runflat import _core
from runflat.result import Result
from runflat.scenario_files import load_scenario

MAX_TRIALS = 10_000


def what_if(
    scenario: _core.Scenario | str | Path,
    *,
    policies: Sequence[str] = (),
    trials: int = 100,
    until_ci: float | None = None,
    max_trials: int = MAX_TRIALS,
    seed: int = 1,
    threads: int = 0,
    trace: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Simulates the scenario `trials` times under every policy, all on the same failures.

    With `until_ci` there are more trials, up to `max_trials`, until the 95 % confidence interval of
    every policy's goodput, and of the difference between any two, has at most that half width.
    No `policies` means all of them. `trace` replays dated faults instead of drawing them: a CSV
    file, or the TOML that `runflat train --inject` takes. `threads` of 0 means all cores and
    changes nothing in the result. `progress(done, total)` may be called from any thread. Raises
    ParseError for bad input and InfeasibleError where no plan exists.
    """
    if not isinstance(scenario, _core.Scenario):
        scenario = load_scenario(scenario)
    if trace is not None and until_ci is not None:
        raise _core.ParseError("until_ci: a replayed trace is one trial, which has no interval")
    outcome = _core.what_if(
        scenario,
        policies=list(policies),
        trials=trials,
        until_ci=until_ci,
        max_trials=max_trials,
        seed=seed,
        threads=threads,
        trace=None if trace is None else Path(trace),
        progress=progress,
    )
    return Result(scenario, outcome)


def plan(
    scenario: _core.Scenario | str | Path, *, failed: Sequence[int] = (), policy: str = "ntp"
) -> _core.Plan:
    """The plan of this policy for the scenario's job with these GPUs down.

    Raises ParseError for bad input and InfeasibleError where no plan exists.
    """
    if not isinstance(scenario, _core.Scenario):
        scenario = load_scenario(scenario)
    return _core.plan(scenario, failed=list(failed), policy=policy)


@dataclass(frozen=True, slots=True)
class Step:
    """What a plan's step costs: the document as JSON text, and the step as a Chrome trace."""

    text: str
    timeline: str


def step(plan: _core.Plan, release: str = "") -> Step:
    """Prices a plan's step with the parameters of a software release, or of the GPU's default one.

    Raises ParseError for an unknown GPU or release and InfeasibleError where no step exists.
    """
    return Step(*_core.price_plan(plan, release=release))
