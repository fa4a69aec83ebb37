"""Plans, simulates and executes LLM training that survives GPU failures."""

from __future__ import annotations

from runflat._core import InfeasibleError, ParseError, Plan, PolicyResult, Scenario, __version__
from runflat.api import Step, plan, step, what_if
from runflat.campaign import sweep
from runflat.result import Result
from runflat.scenario_files import load_scenario, shipped_scenarios
from runflat.sweep_point import Point
from runflat.sweep_result import Sweep

__all__ = [
    "InfeasibleError",
    "ParseError",
    "Plan",
    "Point",
    "PolicyResult",
    "Result",
    "Scenario",
    "Step",
    "Sweep",
    "__version__",
    "load_scenario",
    "plan",
    "shipped_scenarios",
    "step",
    "sweep",
    "what_if",
]
