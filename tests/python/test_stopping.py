"""Trials are added until the intervals are narrow."""

from __future__ import annotations

import math

import pytest
from conftest import Run

import runflat

POLICIES = ["dp_drop", "ntp", "ntp_pw"]


def stopped(until_ci: float = 0.01, **options: object) -> runflat.Result:
    return runflat.what_if("small", policies=POLICIES, trials=10, until_ci=until_ci, **options)


def test_intervals_are_as_narrow_as_asked_for_and_say_so() -> None:
    result = stopped()
    widths = [row.goodput_interval.half_width for row in result.rows]
    widths += [item["goodput_ci95_half_width"] for item in result.document["differences"]]
    assert len(widths) == 6
    assert max(widths) <= 0.01
    assert result.document["stopping"] == {
        "ci95_half_width": 0.01,
        "max_trials": 10_000,
        "reached": True,
    }
    assert 10 < result.document["trials"] < 10_000


def test_half_the_width_takes_about_four_times_the_trials() -> None:
    wide, narrow = (stopped(width).document["trials"] for width in (0.01, 0.005))
    assert 2.5 < narrow / wide < 6


def test_threads_do_not_change_the_answer() -> None:
    assert stopped(threads=1).text == stopped(threads=3).text


def test_batches_are_the_trials_that_one_run_would_have() -> None:
    batches = stopped()
    whole = runflat.what_if("small", policies=POLICIES, trials=batches.document["trials"])
    assert whole.document["stopping"] is None
    assert whole.document["policies"] == batches.document["policies"]
    assert whole.document["differences"] == batches.document["differences"]


def test_it_gives_up_at_max_trials_and_says_so() -> None:
    document = stopped(1e-6, max_trials=25).document
    assert document["trials"] == 25
    assert not document["stopping"]["reached"]


def test_differences_on_the_same_failures_are_surer_than_between_strangers() -> None:
    result = runflat.what_if("small", policies=["dp_drop", "ntp"], trials=200)
    drop, ntp = (row.goodput_interval for row in result.rows)
    paired = result.document["differences"][0]
    assert paired["policy"] == "ntp" and paired["minus"] == "dp_drop"
    assert paired["goodput"] == pytest.approx(ntp.mean - drop.mean, abs=1e-12)
    assert paired["goodput_ci95_half_width"] < 0.9 * math.hypot(drop.half_width, ntp.half_width)


def test_one_trial_has_no_interval() -> None:
    document = runflat.what_if("small", policies=POLICIES, trials=1).document
    assert all(policy["goodput_ci95_half_width"] is None for policy in document["policies"])


def test_the_command_prints_differences_with_their_intervals(run: Run) -> None:
    done = run("whatif", "small", "--policies", "dp_drop,ntp", "--trials", 10, "--until-ci", 0.01)
    assert done.returncode == 0
    assert "95 % intervals of \N{PLUS-MINUS SIGN} 1 points reached after" in done.stdout


def test_a_replayed_trace_is_one_trial_and_cannot_get_surer(run: Run) -> None:
    done = run("whatif", "small", "--until-ci", 0.01, "--trace", "trace.csv")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "one trial" in done.stderr


@pytest.mark.parametrize("width", ["0", "-1", "nan", "x"])
def test_a_width_that_is_none_is_refused(run: Run, width: str) -> None:
    done = run("whatif", "small", "--until-ci", width)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "until" in done.stderr
