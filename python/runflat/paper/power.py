"""R16 and R17: what a power boost costs, and how far it carries."""

from __future__ import annotations

from runflat import _core
from runflat.paper.rows import Row, Verdict
from runflat.paper.settings import paper_job

_TDP_SHARE = 1.3


def power_rows() -> list[Row]:
    job = paper_job()

    def speed(power: float) -> float:
        step = _core.replica_step(job, tp_size=30, sync_degree=30, num_microbatches=8, power=power)
        return 1 / float(step["step_time_s"])

    per_watt = {power: 100 * (speed(power) / speed(1.0) / power - 1) for power in (1.1, 1.2)}
    num_gpus = job.cluster.num_gpus
    boosted = 100 * (1 - _core.domain_availability(num_gpus, round(4e-3 * num_gpus), 32))
    whole = [
        rate
        for rate in _core.replica_rates(job, policy="ntp_pw")
        if rate["num_microbatches"] == 8 and rate["tp_size"] < 32
    ]
    least = min(whole, key=lambda rate: rate["tp_size"])
    drawn = [rate["power"] * rate["tp_size"] / 32 for rate in whole]
    close = abs(per_watt[1.1] + 2.8) <= 1 and abs(per_watt[1.2] + 6.5) <= 1
    return [
        Row(
            "R16a",
            "speed per watt at 1.1x and 1.2x power",
            "480B replica at TP30, all of its step",
            "-2.8 %, -6.5 %",
            f"{per_watt[1.1]:.1f} %, {per_watt[1.2]:.1f} %",
            Verdict.CALIBRATED if close else Verdict.DIFFERS,
            "the speed of compute against power is fitted to these two points; communication, "
            "which power does not speed up, comes on top in our step",
            {"at_1.1": per_watt[1.1], "at_1.2": per_watt[1.2]},
        ),
        Row(
            "R16b",
            "NVL domains that are boosted, at worst",
            "NVL32, 0.4 % failed",
            "12 %",
            f"{boosted:.1f} %",
            Verdict.REPRODUCED if abs(boosted - 12) <= 0.2 else Verdict.DIFFERS,
            f"by our cost model a boosted domain draws up to {max(drawn):.2f}x its nominal power: "
            "the budget of its dead GPUs alone does not do",
            {"boosted": boosted, "domain_power": max(drawn)},
        ),
        Row(
            "R17",
            "boost cap",
            "TP8 without one GPU; racks for up to +30 % a GPU",
            "+14.3 % work",
            f"{100 * (8 / 7 - 1):+.1f} %; {_TDP_SHARE}x carries the loss of "
            f"{32 - least['tp_size']} of 32 GPUs ({least['power']:.2f}x)",
            Verdict.REPRODUCED,
            "",
            {"work": 100 * (8 / 7 - 1), "lost_of_32": 32 - least["tp_size"]},
        ),
    ]
