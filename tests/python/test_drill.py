"""`runflat drill`: faults strike a job, and a table says what became of each."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import Run

CONFIG = "tiny-gpt-drill"


def test_random_faults_end_well(run: Run) -> None:
    done = run("drill", CONFIG, "--faults", "4", "--seed", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == "run fault detected after recovered after steps lost how".split()
    assert len(lines) == 4 + 2
    assert re.match(r"4 faults in \d runs, of which \d stopped for a reason; ", lines[-1])
    differences = re.search(
        r"at most (\S+) from the run planned with those GPUs missing, (\S+) from the", lines[-1]
    )
    assert differences and all(float(text) <= 1e-5 for text in differences.groups())


def test_a_fault_on_demand(run: Run, tmp_path: Path) -> None:
    fields = 'kind = "kill"\nrank = 3\nstep = 2\nat = "update"\nrepair_steps = 2\n'
    (tmp_path / "faults.toml").write_text(f"schema = 1\n[[fault]]\n{fields}")
    for fault in ("kill rank=3 step=2 at=update repair_steps=2", "faults.toml"):
        done = run("drill", CONFIG, "--inject", fault)
        assert done.returncode == 0, done.stdout + done.stderr
        row = done.stdout.splitlines()[1]
        assert re.search(
            r"kill rank=3 step=2 at=update index=0 repair_steps=2 .* 0 +in_place: lost 3$", row
        )


def test_bad_input_is_one_line(run: Run) -> None:
    for fault, reason in (
        ("explode rank=1 step=2", "kill"),
        ("kill rank=99 step=2", "no process of the plan"),
        ("nowhere.toml", "nowhere.toml"),
    ):
        done = run("drill", CONFIG, "--inject", fault)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert reason in done.stderr
