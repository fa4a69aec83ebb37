"""The paper's settings as changes to its scenario."""

from __future__ import annotations

from runflat import _core
from runflat.scenario_files import load_scenario
from runflat.vocabulary import policy_term

POLICIES = ("dp_drop", "ntp", "ntp_pw")

# Cells of the paper's Table 1 that would explain its figures; the table's text is not published.
# A batch of 7 of 8 at TP 30 and 6 of 8 at TP 28 (degrees between idle a GPU), and the power that
# the paper's two points of power against speed give for 32/30 and 32/28 as much work.
TABLE_1 = (
    "reduced_replica=[{tp_size=30, num_microbatches=7, power=1.096},"
    " {tp_size=28, num_microbatches=6, power=1.25}]"
)


def paper_job(*overrides: str) -> _core.Scenario:
    """32,768 B200 in NVL32 domains, 480B parameters, TP 32."""
    return load_scenario("ntp-paper-b200", overrides)


def with_table_1(*overrides: str) -> _core.Scenario:
    return paper_job(TABLE_1, *overrides)


def label(policy: str) -> str:
    return policy_term(policy).label


def colour(policy: str) -> str:
    return policy_term(policy).colour


def percents(values: dict[str, float]) -> str:
    """`12.4 / 2.0 / 0.4 %`."""
    return " / ".join(f"{value:.1f}" for value in values.values()) + " %"
