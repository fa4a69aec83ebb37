"""The report of a result for people who do not run it: one HTML page that needs no network."""

from __future__ import annotations

from html import escape
from importlib import resources
from string import Template
from typing import Any

from runflat import __version__, charts, figure_data
from runflat.figure_data import Document
from runflat.formats import compact, dollars, percent
from runflat.html import policy_table_html, swatch, table
from runflat.table import run_facts
from runflat.vocabulary import CAUSES, policy_term

_GENERAL_TERMS = {
    "goodput": "The training that was kept, as a share of what the same job would have done in the "
    "same time without any failure.",
    "availability": "The share of the time in which the job was up, at whatever speed.",
    "GPU-hours lost": "GPU-hours that were paid for, spares included, and did not become "
    "training that was kept.",
    "NVLink domain": "The GPUs that share one fast NVLink network: a node, or a rack. Tensor "
    "parallelism stays inside one.",
    "spares": "Spare domains that the job owned in this run.",
    "spares 99 %": "Spare domains with which a job that uses this policy would have run at its "
    "full batch for 99 % of the time.",
    "cost": "The price of the GPU-hours lost.",
    "p5-p95": "Of a hundred simulated runs, five came out below the first number and five above "
    "the second.",
}


def report_html(document: Document, scenario: dict[str, Any], command: str) -> str:
    """`scenario` is what the run assumed, as nested tables; `command` is what reproduces it."""
    best = max(document["policies"], key=lambda policy: policy["goodput"]["mean"])
    page = Template(resources.files("runflat").joinpath("templates/report.html").read_text())
    return page.substitute(
        title=escape(f"What failures cost: {document['scenario']}"),
        subtitle=f"{escape(document['description'])}<br>{escape(run_facts(document))}",
        accent=policy_term(best["policy"]).colour,
        script=charts.script(),
        answer=_answer(document, best),
        policy_table=policy_table_html(document),
        loss_by_cause=charts.bars_html(figure_data.loss_by_cause(document), "loss_by_cause"),
        loss_by_cause_caption="GPU-hours that were paid for and did not train, by what took them.",
        goodput_over_time=charts.lines_html(
            figure_data.goodput_over_time(document), "goodput_over_time"
        ),
        goodput_over_time_caption="A curve that falls says that damage piles up faster than it is "
        "repaired.",
        loss_vs_failed_fraction=charts.lines_html(
            figure_data.loss_against_failed_fraction(document), "loss_vs_failed_fraction"
        ),
        loss_vs_failed_fraction_caption="Throughput lost at one moment with this share of the GPUs "
        "down, spread at random.",
        glossary=_glossary(document),
        assumptions=_assumptions(scenario),
        version=__version__,
        command=escape(command),
    )


def _answer(document: Document, best: dict[str, Any]) -> str:
    results = {policy["policy"]: policy for policy in document["policies"]}
    worst = min(document["policies"], key=lambda policy: policy["goodput"]["mean"])
    usual = results.get("restart", worst)
    text = (
        f"<p>{_name(best)} keeps <b>{percent(best['goodput']['mean'], 1)}</b> of the training that "
        "the job would do without failures"
    )
    if usual is not best:
        saved = sum(usual["lost_gpu_hours"].values()) - sum(best["lost_gpu_hours"].values())
        usd = usual["cost"]["usd_lost"] - best["cost"]["usd_lost"]
        text += (
            f", the most of the {len(results)} policies compared; {_name(usual)} keeps "
            f"<b>{percent(usual['goodput']['mean'], 1)}</b>. The difference is {compact(saved)} "
            f"GPU-hours in {document['duration_days']:g} days"
            + (f", worth {dollars(usd)}" if usd else "")
        )
    spares = ", ".join(
        f"{_name(policy)} {policy['spares_for_99pct']}"
        for policy in sorted(document["policies"], key=lambda policy: policy["spares_for_99pct"])
    )
    return (
        f"{text}.</p><p>Spare domains of {document['domain_size']} GPUs with which the job would "
        f"run at its full batch for 99 % of the time: {spares}.</p>"
    )


def _name(policy: dict[str, Any]) -> str:
    return f"<b>{escape(policy_term(policy['policy']).label)}</b>"


def _glossary(document: Document) -> str:
    rows = [(f"<b>{escape(name)}</b>", escape(text)) for name, text in _GENERAL_TERMS.items()]
    for policy in document["policies"]:
        term = policy_term(policy["policy"])
        rows.append((swatch(term.colour, term.label), escape(term.meaning)))
    for term in CAUSES.values():
        rows.append((swatch(term.colour, term.label), escape(term.meaning)))
    return table(("word", "meaning"), rows, text=True)


def _assumptions(scenario: dict[str, Any]) -> str:
    rows = [(f"<code>{escape(key)}</code>", escape(value)) for key, value in _flat(scenario)]
    return table(("key", "value"), rows, text=True)


def _flat(value: Any, path: str = "") -> list[tuple[str, str]]:
    """(`cluster.num_nodes`, `2048`) for every value; an item of an array of tables is a line."""
    if isinstance(value, dict):
        return [pair for key in value for pair in _flat(value[key], f"{path}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [(f"{path}.{index}", _inline(item)) for index, item in enumerate(value)]
    return [(path, str(value))]


def _inline(item: Any) -> str:
    if isinstance(item, dict):
        return ", ".join(f"{key} {_inline(value)}" for key, value in item.items())
    return str(item)
