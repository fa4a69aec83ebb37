"""The numbers of the nonuniform-TP paper (arXiv 2504.06095), and how close ours have to be.

Exact formulas to 0.2 points, Monte-Carlo means to 1 point. What rests on the unpublished cells of
its Table 1 must be marked so.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from conftest import Run

from runflat import _core
from runflat.paper import Reproduction, Verdict, reproduce

pytestmark = pytest.mark.xdist_group("paper")  # one reproduction for all

EXACT, MONTE_CARLO = 0.2, 1.0
ROWS = "R1 R2 R3 R4 R5 R6 R7 R12 R13 R14 R15 R16a R16b R17 R20".split()


@pytest.fixture(scope="module")
def paper() -> Reproduction:
    return reproduce(trials=100, placements=200, seed=1)


def test_every_row_that_can_be_checked_is_there_with_a_verdict(paper: Reproduction) -> None:
    assert [row.id for row in paper.rows] == ROWS
    for row in paper.rows:
        assert row.values
        assert row.why or row.verdict is Verdict.REPRODUCED
    assert {row.id for row in paper.rows if row.verdict is Verdict.NOT} == {"R1", "R5", "R15"}
    assert {row.id for row in paper.rows if row.verdict is Verdict.DIFFERS} == {"R16a"}


@pytest.mark.parametrize(
    ("failed", "tp", "available"),
    # C(N - D, n) / C(N, n) of N = 32,768; the paper prints 94 % for the one of TP 64 at 0.1 %.
    [
        (16, 8, 99.61),
        (33, 8, 99.20),
        (33, 16, 98.40),
        (33, 32, 96.83),
        (33, 64, 93.75),
        (66, 64, 87.88),
        (131, 32, 87.96),
        (131, 64, 77.37),
    ],
)
def test_availability_is_the_closed_form(failed: int, tp: int, available: float) -> None:
    ours = 100 * _core.domain_availability(32_768, failed, tp)
    assert ours == pytest.approx(available, abs=EXACT)


def test_r4_availability_at_tp_64(paper: Reproduction) -> None:
    row = paper.row("R4")
    assert row.values["tp64"] == pytest.approx(93.75, abs=EXACT)
    assert row.verdict is Verdict.REPRODUCED


def test_r1_and_r5_are_bracketed_not_claimed(paper: Reproduction) -> None:
    values = paper.row("R1").values
    assert values["packed"] == pytest.approx(3.61, abs=MONTE_CARLO)
    assert values["in_place"] == pytest.approx(22.8, abs=EXACT)
    assert values["packed"] < 10 < values["in_place"]
    assert paper.row("R5").values["gpus"] == pytest.approx(2048, abs=EXACT / 100 * 32_768)


def test_r2_and_r3_small_domains_lose_at_scale(paper: Reproduction) -> None:
    values = paper.row("R2").values
    assert values["nvl32"] == pytest.approx(87, abs=5)
    assert values["nvl8"] == pytest.approx(68, abs=5)
    kept = paper.row("R3").values
    assert kept["kept_32k"] < kept["kept_8k"] - 10


def test_r6_time_above_a_thousandth(paper: Reproduction) -> None:
    values = paper.row("R6").values
    assert values["above"] == pytest.approx(81, abs=3)  # the paper's one sample
    assert values["above"] == pytest.approx(82.0, abs=MONTE_CARLO)  # the mean of the same process
    assert values["above_3_days"] == pytest.approx(63.2, abs=MONTE_CARLO)
    assert values["peak"] == pytest.approx(73, abs=3)


def test_r7_three_times_the_rate(paper: Reproduction) -> None:
    values = paper.row("R7").values
    assert values["peak"] == pytest.approx(129, abs=5)
    assert values["lowest"] == pytest.approx(77.7, abs=MONTE_CARLO)
    assert values["lowest"] == pytest.approx(80, abs=3)


def test_r12_loss_with_a_free_batch(paper: Reproduction) -> None:
    row = paper.row("R12")
    assert row.values["dp_drop"] == pytest.approx(12, abs=MONTE_CARLO)
    assert row.values["ntp"] <= 3
    assert row.values["ntp_pw"] < 1
    assert row.values["ntp_model"] <= 3 + MONTE_CARLO
    assert row.values["ntp_pw_model"] < 1
    assert row.verdict is Verdict.CALIBRATED


def test_r13_spare_domains_for_a_fixed_batch(paper: Reproduction) -> None:
    row = paper.row("R13")
    assert row.values["ntp"] == 16
    assert row.values["ntp_pw"] == 0
    # One sampled trace of the paper needed 90; 90 +- 20 is among what ours need.
    assert row.values["dp_drop_p95"] >= 70
    assert row.values["dp_drop_slow"] == pytest.approx(90, abs=20)
    # Simulated with a fixed batch and the paper's 90, 16 and 0 spares: next to no waiting.
    assert row.values["dp_drop_paused"] < 0.2
    assert row.values["ntp_paused"] < 0.2
    assert row.values["ntp_pw_paused"] == 0
    assert row.verdict is Verdict.CALIBRATED


def test_r13_power_is_best_without_spares(paper: Reproduction) -> None:
    """R13's `0 spares, < 1 % loss`; ours counts checkpoints and recovery too, within 1 point."""
    chart = paper.charts["throughput_vs_spares"]
    power = next(curve for curve in chart.curves if curve.label == "NTP-PW")
    assert power.x[0] == 0
    assert power.y[0] == max(power.y) >= 100 - 1 - MONTE_CARLO
    assert paper.row("R13").values["ntp_pw_loss"] == pytest.approx(100 - power.y[0])
    drop = next(curve for curve in chart.curves if curve.label == "DP drop")
    assert drop.y[0] < 10
    assert max(drop.y) < power.y[0] - 5  # reserves cost a DP-drop job what they are


def test_r14_dropping_does_not_care_about_the_radius(paper: Reproduction) -> None:
    values = paper.row("R14").values
    for radius in (1, 2, 4):
        assert values[f"dp_drop_{radius}"] == pytest.approx(3.6, abs=0.3)
        assert values[f"ntp_{radius}"] < 0.6 * values[f"dp_drop_{radius}"]
        assert values[f"ntp_pw_{radius}"] < values[f"ntp_{radius}"]
    assert values["ntp_1"] < values["ntp_2"] < values["ntp_4"]


def test_r16_and_r17_power(paper: Reproduction) -> None:
    values = paper.row("R16a").values
    assert values["at_1.1"] == pytest.approx(-2.8, abs=MONTE_CARLO)
    # Communication is not sped up, which the paper's -6.5 % seems to leave out; the row says so.
    assert values["at_1.2"] < -6.5 - MONTE_CARLO
    assert paper.row("R16a").verdict is Verdict.DIFFERS
    assert paper.row("R16b").values["boosted"] == pytest.approx(12.0, abs=EXACT)
    assert paper.row("R17").values["work"] == pytest.approx(14.3, abs=EXACT)


def test_r20_reshards_hide_behind_the_backward(paper: Reproduction) -> None:
    values = paper.row("R20").values
    assert values["visible"] <= 4
    assert values["total"] > values["visible"]


def test_a_reproduction_is_written_with_its_figures(paper: Reproduction, tmp_path: Path) -> None:
    paper.write(tmp_path / "out")
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {
        "reproduction.json",
        "reproduction.csv",
        "availability_vs_failures.png",
        "loss_vs_failed_fraction.png",
        "throughput_vs_spares.png",
        "loss_vs_blast_radius.png",
        "reshard_overhead.png",
    }
    document = json.loads((tmp_path / "out" / "reproduction.json").read_text())
    assert [row["id"] for row in document["rows"]] == ROWS
    rows = list(csv.DictReader((tmp_path / "out" / "reproduction.csv").open()))
    assert [row["verdict"] for row in rows] == [str(row.verdict) for row in paper.rows]


def test_the_command_prints_paper_and_ours_side_by_side(run: Run) -> None:
    done = run("reproduce", "ntp-paper", "--trials", 5, "--placements", 5)
    assert done.returncode == 0
    assert "93.75 %" in done.stdout
    assert "not reproducible" in done.stdout
    assert "reproducing: 8/8" in done.stderr


@pytest.mark.parametrize("arguments", [["no-such-paper"], ["ntp-paper", "--trials", "0"]])
def test_bad_input_is_one_line(run: Run, arguments: list[str]) -> None:
    done = run("reproduce", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
