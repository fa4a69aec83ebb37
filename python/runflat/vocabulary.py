"""How policies and causes of loss are named, coloured and explained, the same in every output."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """One word of the results: its label, its colour in every figure, and what it means."""

    label: str
    colour: str
    meaning: str
    dashed: bool = False  # drawn over a solid line that may be the same


# The colours of policies are those of Okabe and Ito, which colour-blind readers can tell apart.
POLICIES = {
    "restart": Term(
        "restart",
        "#7f7f7f",
        "The whole job stops at every failure and starts again from its last checkpoint once "
        "enough healthy hardware is there.",
        dashed=True,
    ),
    "spare_domain": Term(
        "spare domain",
        "#e69f00",
        "A healthy spare domain takes the place of a damaged one and gets its state from the other "
        "replicas; spares are paid for all the time.",
    ),
    "dp_drop": Term(
        "DP drop",
        "#d55e00",
        "Replicas that contain damage are left out until it is repaired.",
    ),
    "uniform_tp": Term(
        "uniform TP",
        "#cc79a7",
        "The whole job restarts at the smaller tensor-parallel degree of the most damaged group.",
        dashed=True,
    ),
    "ntp": Term(
        "NTP",
        "#0072b2",
        "Nonuniform tensor parallelism: only the replicas with failed GPUs shrink, and do less "
        "work.",
    ),
    "ntp_pw": Term(
        "NTP-PW",
        "#009e73",
        "NTP with power: the surviving GPUs of a damaged domain get the power of the dead ones and "
        "run faster, so that their replica keeps up.",
    ),
    "recycle": Term(
        "ReCycle",
        "#56b4e9",
        "The work of a damaged group goes to the same pipeline stage of other replicas, which do "
        "it while they would wait for each other.",
    ),
    "oobleck": Term(
        "Oobleck",
        "#b8a000",
        "The healthy groups form new pipelines, some of them shorter, from prepared templates.",
    ),
    "train_mover": Term(
        "TrainMover",
        "#8c510a",
        "A spare domain that stands by, warm and connected, takes the place of a damaged one.",
        dashed=True,
    ),
    "adaptive": Term(
        "adaptive",
        "#000000",
        "At each event the planner follows the policy that promises the most work until the next.",
        dashed=True,
    ),
}

# Blue: the price of safety. Reds: what an interruption takes. Greys: hardware that does nothing.
CAUSES = {
    "degraded": Term(
        "running slower",
        "#756bb1",
        "The part of a running GPU's time that a reduced plan cannot use.",
    ),
    "checkpoint": Term("checkpoints", "#9ecae1", "Training stands still while its state is saved."),
    "lost_work": Term("lost work", "#cb181d", "Training that was rolled back and done again."),
    "detection": Term("detection", "#fc9272", "From a failure until somebody notices it."),
    "recovery": Term("recovery", "#ef3b2c", "Restarting, connecting, moving state, warming up."),
    "waiting": Term("waiting", "#67000d", "The job cannot run until something is repaired."),
    "idle": Term(
        "idle GPUs",
        "#969696",
        "Healthy GPUs that the plan has no use for: in a dropped replica, say.",
    ),
    "failed": Term("failed GPUs", "#252525", "GPUs that are broken or in repair."),
    "spare": Term("spares", "#fdd0a2", "Healthy spare GPUs that stand by."),
}


def policy_term(name: str) -> Term:
    return POLICIES.get(name) or Term(name, "#000000", "")


def cause_term(name: str) -> Term:
    return CAUSES.get(name) or Term(name.replace("_", " "), "#bdbdbd", "")
