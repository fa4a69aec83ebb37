"""Plans, simulates and executes LLM training that survives GPU failures."""

from __future__ import annotations

from runflat._core import InfeasibleError, ParseError, Plan, Scenario, __version__
from runflat.api import plan, what_if
from runflat.result import PolicyRow, Result
from runflat.scenario_files import load_scenario, shipped_scenarios

__all__ = [
    "InfeasibleError",
    "ParseError",
    "Plan",
    "PolicyRow",
    "Result",
    "Scenario",
    "__version__",
    "load_scenario",
    "plan",
    "shipped_scenarios",
    "what_if",
]
