"""The tables that `runflat whatif` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from runflat.formats import compact, dollars, percent
from runflat.vocabulary import cause_term

if TYPE_CHECKING:
    from runflat.figure_data import Document


POLICY_COLUMNS = (
    "goodput",
    "p5-p95",
    "available",
    "GPU-hours lost",
    "spares",
    "spares 99 %",
    "cost",
)


def policy_cells(policy: dict[str, Any]) -> tuple[str, ...]:
    """One policy of a result, in the order of POLICY_COLUMNS."""
    goodput = policy["goodput"]
    return (
        percent(goodput["mean"]),
        f"{100 * goodput['p5']:.2f}-{percent(goodput['p95'])}",
        percent(policy["availability"]["mean"]),
        compact(sum(policy["lost_gpu_hours"].values())),
        str(policy["spare_domains"]),
        str(policy["spares_for_99pct"]),
        dollars(policy["cost"]["usd_lost"]),
    )


def run_facts(document: Document) -> str:
    """What the result is about, in a line."""
    return (
        f"{document['num_gpus']:,} GPUs, {document['duration_days']:g} days, "
        f"step {document['policies'][0]['step_time_s']:.2f} s, "
        f"{document['trials']} trials, seed {document['seed']}"
    )


def policy_table(document: Document) -> Table:
    """One row per policy: what it keeps, what it loses, what it needs."""
    table = _new_table(f"{document['scenario']}: {run_facts(document)}")
    table.add_column("policy")
    for name in POLICY_COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    for policy in document["policies"]:
        table.add_row(policy["policy"], *policy_cells(policy))
    return table


def cause_table(document: Document) -> Table:
    """GPU-hours lost: a row per cause, a column per policy, the losses of `policy_table` below."""
    policies = document["policies"]
    table = _new_table("GPU-hours lost by cause")
    table.add_column("cause")
    for policy in policies:
        table.add_column(policy["policy"], justify="right")
    for cause in policies[0]["lost_gpu_hours"]:
        hours = (policy["lost_gpu_hours"][cause] for policy in policies)
        table.add_row(cause_term(cause).label, *map(compact, hours))
    totals = (sum(policy["lost_gpu_hours"].values()) for policy in policies)
    table.add_row("all", *map(compact, totals), style="bold")
    return table


def interval(value: float, half_width: float | None) -> str:
    """A difference of shares in percentage points with its confidence interval."""
    around = "" if half_width is None else f" \N{PLUS-MINUS SIGN} {100 * half_width:.2f}"
    return f"{100 * value:+.2f}{around}"


def stopping_note(document: Document) -> str:
    """What became of the wish for narrow intervals."""
    stopping = document["stopping"]
    wish = f"95 % intervals of \N{PLUS-MINUS SIGN} {100 * stopping['ci95_half_width']:g} points"
    if stopping["reached"]:
        return f"{wish} reached after {document['trials']} trials"
    return f"{wish} not reached in {document['trials']} trials"


def difference_table(document: Document) -> Table:
    """How much more goodput every policy has than the first one and the best one, in percentage
    points on the same failures; result.json has all pairs."""
    policies = document["policies"]
    best = max(policies, key=lambda policy: float(policy["goodput"]["mean"]))["policy"]
    gains = {(item["policy"], item["minus"]): (1, item) for item in document["differences"]}
    gains |= {(item["minus"], item["policy"]): (-1, item) for item in document["differences"]}
    table = _new_table("Goodput, in points more than")
    table.add_column("policy")
    others = dict.fromkeys([policies[0]["policy"], best])
    for other in others:
        table.add_column(other, justify="right", no_wrap=True)
    for policy in policies:
        cells = []
        for other in others:
            sign, item = gains.get((policy["policy"], other), (0, None))
            width = item and item["goodput_ci95_half_width"]
            cells.append(interval(sign * item["goodput"], width) if item else "")
        table.add_row(policy["policy"], *cells)
    return table


def _new_table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
