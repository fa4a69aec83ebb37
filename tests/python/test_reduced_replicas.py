"""Scenarios may say what a reduced replica does, instead of the cost model."""

from __future__ import annotations

import pytest

import runflat
from runflat import _core

LISTED = "reduced_replica=[{tp_size=6, num_microbatches=20, power=1.2}, {tp_size=4, \
num_microbatches=10}]"


def rates(policy: str) -> dict[int, tuple[int, float]]:
    found = _core.replica_rates(runflat.load_scenario("small", [LISTED]), policy=policy)
    return {rate["tp_size"]: (rate["num_microbatches"], rate["power"]) for rate in found}


def test_only_the_listed_degrees_are_used() -> None:
    nothing = dict.fromkeys((1, 2, 3, 5, 7), (0, 1.0))
    assert rates("ntp") == nothing | {4: (10, 1.0), 6: (20, 1.0), 8: (32, 1.0)}
    assert rates("ntp_pw") == nothing | {4: (10, 1.0), 6: (32, 1.2), 8: (32, 1.0)}


def test_a_lost_gpu_costs_what_the_list_says() -> None:
    """One of four replicas runs at TP 6 with 20 or all of its 32 microbatches; the other three
    reshard for it."""
    scenario = runflat.load_scenario("small", [LISTED])
    even, resharding = (
        _core.replica_step(scenario, tp_size=8, sync_degree=degree, num_microbatches=32)
        for degree in (8, 6)
    )
    slowdown = resharding["step_time_s"] / even["step_time_s"]
    for policy, share in (("dp_drop", 0.0), ("ntp", 20 / 32), ("ntp_pw", 1.0)):
        loss = _core.loss_curve(scenario, policy=policy, num_failures=[1], placements=3, seed=1)
        throughput = 3 / 4 if policy == "dp_drop" else (3 + share) / 4 / slowdown
        assert loss[0] == pytest.approx(1 - throughput)


@pytest.mark.parametrize(
    ("item", "key"),
    [
        ("{tp_size=8, num_microbatches=1}", "tp_size"),
        ("{tp_size=0, num_microbatches=1}", "tp_size"),
        ("{tp_size=4, num_microbatches=33}", "num_microbatches"),
        ("{tp_size=4, num_microbatches=1, power=0.5}", "power"),
        ("{tp_size=4}", "num_microbatches"),
        ("{tp_size=4, num_microbatches=1, batch=2}", "batch"),
        ("4", "a table"),
    ],
)
def test_bad_lists_name_the_key(item: str, key: str) -> None:
    with pytest.raises(runflat.ParseError, match=rf"reduced_replica.*{key}"):
        runflat.load_scenario("small", [f"reduced_replica=[{item}]"])


def test_the_share_of_time_with_a_full_batch_grows_with_spares() -> None:
    document = runflat.what_if("small", policies=["dp_drop"], trials=20).document
    policy = document["policies"][0]
    share = policy["full_batch_share"]
    assert share == sorted(share)
    assert share[-1] == 1.0
    assert share[policy["spares_for_99pct"]] >= 0.99
    assert policy["spares_for_99pct"] == 0 or share[policy["spares_for_99pct"] - 1] < 0.99
    assert policy["peak_spares"]["p95"] <= len(share) - 1
