"""The Python API: what the command does, as values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import runflat


def test_rows_and_frame_say_what_the_document_says(small_result: runflat.Result) -> None:
    frame = small_result.frame()
    for index, policy in enumerate(small_result.document["policies"]):
        row = small_result.rows[index]
        assert row.policy == frame["policy"][index] == policy["policy"]
        assert row.goodput.p50 == policy["goodput"]["p50"]
        assert frame["goodput"][index] == policy["goodput"]["mean"]
        assert row.spares_for_99pct == policy["spares_for_99pct"]
        lost = sum(policy["lost_gpu_hours"].values())
        assert frame["lost_gpu_hours"][index] == pytest.approx(lost, rel=1e-9)
    assert {len(column) for column in frame.values()} == {len(small_result.rows)}


def test_quantiles_are_in_order_and_goodput_needs_availability(
    small_result: runflat.Result,
) -> None:
    frame = small_result.frame()
    assert np.all(frame["goodput_p5"] <= frame["goodput_p95"])
    assert np.all(frame["goodput"] <= frame["availability"])


def test_lost_and_useful_gpu_hours_sum_to_all_of_them(small_result: runflat.Result) -> None:
    for policy in small_result.document["policies"]:
        hours = policy["gpu_hours"]
        lost = sum(policy["lost_gpu_hours"].values())
        assert hours["useful"] + lost == pytest.approx(hours["total"], rel=1e-9)


def test_printing_a_result_prints_the_tables(small_result: runflat.Result) -> None:
    for row in small_result.rows:
        assert row.policy in str(small_result)
    assert small_result._repr_html_().count("<tr") == 1 + len(small_result.rows)


def test_progress_counts_up_to_the_total() -> None:
    seen: list[tuple[int, int]] = []
    runflat.what_if(
        "small", policies=["ntp"], trials=3, progress=lambda done, total: seen.append((done, total))
    )
    done, totals = zip(*seen, strict=True)
    assert len(set(totals)) == 1
    assert list(done) == sorted(done) and done[-1] == totals[0]


def test_an_exception_in_progress_reaches_the_caller() -> None:
    def fail(done: int, total: int) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        runflat.what_if("small", policies=["ntp"], trials=2, progress=fail)


def test_overrides_change_the_scenario() -> None:
    scenario = runflat.load_scenario("small")
    document = json.loads(scenario.to_json())
    nodes = document["cluster"]["num_nodes"]
    changed = runflat.load_scenario("small", [f"cluster.num_nodes={nodes}"])
    assert changed == scenario
    assert runflat.load_scenario("small", ["name=other"]) != scenario


def test_every_shipped_scenario_is_read() -> None:
    names = set(runflat.shipped_scenarios())
    assert names == {
        "llama3-405b-h100",
        "ntp-paper-b200",
        "ntp-paper-prototype",
        "small",
        "trace-3k-h100",
    }
    for name in names:
        assert runflat.load_scenario(name).name == name


def test_a_result_is_written_as_it_is(small_result: runflat.Result, tmp_path: Path) -> None:
    small_result.write(tmp_path / "out")
    assert (tmp_path / "out/result.json").read_text() == small_result.text


def test_nothing_is_left_behind_when_writing_fails(
    small_result: runflat.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise OSError("no space")

    monkeypatch.setattr("runflat.report.report_html", fail)
    with pytest.raises(OSError, match="no space"):
        small_result.write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
