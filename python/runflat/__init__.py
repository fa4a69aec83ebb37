"""Plans, simulates and executes LLM training that survives GPU failures."""

from __future__ import annotations

from runflat._core import InfeasibleError, ParseError, Plan, PolicyResult, Scenario, __version__
from runflat.api import Step, plan, step, what_if
from runflat.result import Result
from runflat.scenario_files import load_scenario, shipped_scenarios

__all__ = [
    "InfeasibleError",
    "ParseError",
    "Plan",
    "PolicyResult",
    "Result",
    "Scenario",
    "Step",
    "__version__",
    "load_scenario",
    "plan",
    "shipped_scenarios",
    "step",
    "what_if",
]
