"""`runflat train`: it learns, whatever runs the ranks, says what it does, stops as it should."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from statistics import mean

import pytest
from conftest import COMMAND, Run
from training import CONFIG, NUM_RANKS, TWO_RANKS, losses, read_log, started, steps

from runflat import ParseError
from runflat._core import train_world_size

pytestmark = pytest.mark.usefixtures("text")

# As scripts that read Megatron's logs look for numbers.
LOG_LINE = re.compile(
    r"^ \[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\] iteration +(\d+)/ +(\d+) \|"
    r" consumed samples: +(\d+) \|"
    r" elapsed time per iteration \(ms\): (\d+\.\d) \|"
    r" throughput per GPU \(TFLOP/s/GPU\): (\d+\.\d) \|"
    r" learning rate: (\d\.\d{6}E[+-]\d\d) \|"
    r" global batch size: +(\d+) \|"
    r" lm loss: (\d\.\d{6}E[+-]\d\d) \|"
    r" loss scale: 1\.0 \|"
    r" grad norm: (\d+\.\d{3}) \|"
    r" number of skipped iterations:   0 \|"
    r" number of nan iterations:   0 \|$"
)


def children(pid: int) -> list[int]:
    """In the order in which they were started."""
    text = "".join(
        path.read_text() for path in sorted(Path(f"/proc/{pid}/task").glob("*/children"))
    )
    return sorted(int(word) for word in text.split())


def test_it_learns_and_says_so(run: Run, tmp_path: Path) -> None:
    done = run("train", CONFIG, "--log", "run.jsonl", "--set", "log.tensorboard_dir=events")
    assert done.returncode == 0, done.stderr
    header, records = read_log(tmp_path / "run.jsonl")
    assert header["runflat"] and header["config"]["model"]["name"] == "tiny-llama"
    assert (header["backend"], header["transport"]) == ("cpu", "loopback")
    assert header["world_size"] == NUM_RANKS and header["plan"]["schema"] == 1
    assert [record["step"] for record in records] == list(range(1, 101))
    for record in records:
        assert list(record) == [
            *("step", "loss", "grad_norm", "tokens", "lr"),
            *("step_time_ms", "tflops_per_gpu", "mfu"),
        ]
        assert record["tokens"] == 12 * 64 and record["step_time_ms"] > 0
        assert record["mfu"] is None  # nobody states the peak of a CPU
    found = [record["loss"] for record in records]
    assert abs(found[0] - 5.95) < 0.15  # ln 384: a new model knows nothing
    assert mean(found[-10:]) < 3.4  # below 3.6, what the frequencies of bytes alone would give
    lines = [LOG_LINE.match(line) for line in done.stdout.splitlines()]
    assert all(lines) and len(lines) == 10
    assert [int(line[1]) for line in lines] == list(range(10, 101, 10))
    assert [int(line[3]) for line in lines] == list(range(120, 1201, 120))
    for i, line in enumerate(lines):
        assert float(line[8]) == pytest.approx(mean(found[10 * i : 10 * i + 10]), rel=1e-5)
        assert float(line[6]) == pytest.approx(records[10 * i + 9]["lr"], rel=1e-5)
    (events,) = (tmp_path / "events").iterdir()
    for tag in (b"lm loss", b"learning-rate", b"grad-norm", b"iteration-time", b"throughput"):
        assert events.read_bytes().count(tag) == 100


def test_processes_compute_what_threads_do(run: Run, tmp_path: Path) -> None:
    for transport in ("loopback", "gloo"):
        done = run(
            *("train", CONFIG, *steps(4), "--set", "log.log_interval=4"),
            *("--transport", transport, "--log", f"{transport}.jsonl"),
            *("--timeline", f"{transport}.json"),
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 1
        trace = json.loads((tmp_path / f"{transport}.json").read_text())["traceEvents"]
        spans = [event for event in trace if event["ph"] == "X"]
        assert {event["pid"] for event in spans} == set(range(NUM_RANKS))
        names = {event["name"] for event in spans}
        assert {"forward", "backward", "reshard_to_sync", "reduce", "gather"} <= names
    assert losses(tmp_path / "gloo.jsonl") == pytest.approx(
        losses(tmp_path / "loopback.jsonl"), rel=1e-6
    )


def test_a_launcher_gives_every_process_its_place(run: Run, tmp_path: Path) -> None:
    common = ("train", CONFIG, *TWO_RANKS, *steps(3), "--set=log.log_interval=1")
    assert run(*common, "--log", "threads.jsonl").returncode == 0
    launcher = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": str(os.getpid())}
    ranks = [
        subprocess.Popen(
            [str(COMMAND), *common, "--log", "torchrun.jsonl"],
            env={**os.environ, **launcher, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    assert [len(out.splitlines()) for out, _ in outputs] == [0, 3]  # the last rank speaks
    assert losses(tmp_path / "torchrun.jsonl") == pytest.approx(
        losses(tmp_path / "threads.jsonl"), rel=1e-6
    )


def test_a_launcher_that_does_not_fit_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    done = run("train", CONFIG)
    assert done.returncode == 2
    assert done.stderr == (
        "runflat: torchrun: started 4 processes, and the plan has 6 ranks on 2 nodes\n"
    )
    done = run("train", CONFIG, "--transport", "loopback")
    assert done.returncode == 2 and "one process" in done.stderr
    monkeypatch.setenv("WORLD_SIZE", "6")
    done = run("train", CONFIG)
    assert done.returncode == 2 and "RUNFLAT_STORE: is not set" in done.stderr


@pytest.mark.parametrize("transport", ["loopback", "gloo"])
def test_sigterm_ends_after_a_whole_step(tmp_path: Path, transport: str) -> None:
    with started(tmp_path, "--transport", transport, *TWO_RANKS) as process:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    _, records = read_log(tmp_path / "run.jsonl")
    last = out.splitlines()[-1]
    assert last == f"exiting program after receiving SIGTERM at iteration {len(records)}"


def test_a_killed_rank_is_missed_replaced_and_back(tmp_path: Path) -> None:
    redundant = ("--set=training.redundancy=true", "--set=recovery.restart_delay_s=2")
    with started(tmp_path, "--transport", "gloo", *redundant) as process:
        ranks = children(process.pid)
        assert len(ranks) == NUM_RANKS
        os.kill(ranks[1], signal.SIGKILL)
        lines = [process.stdout.readline()]
        while sum("recovered" in line for line in lines) < 2:
            lines.append(process.stdout.readline())
        assert len(children(process.pid)) == NUM_RANKS
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        killed = "runflat-agent: process 1 was killed by SIGKILL; it is started again\n"
        assert err == killed
    recoveries = [
        json.loads(line)["recovery"]
        for line in (tmp_path / "run.jsonl").read_text().splitlines()
        if line.startswith('{"recovery"')
    ]
    lost, joined = recoveries
    assert (lost["reason"], joined["reason"]) == ("lost 1", "joined by 1")
    assert (lost["cause"], joined["cause"]) == ("exit", "join")
    assert lost["detail"] == "was killed by SIGKILL"
    assert (lost["rung"], lost["num_ranks"], joined["num_ranks"]) == ("in_place", 5, 6)
    spans = lost["spans_ms"]
    assert sum(spans.values()) - spans["redo"] == pytest.approx(lost["total_ms"], abs=1.0)
    _, records = read_log(tmp_path / "run.jsonl")
    assert [record["step"] for record in records] == list(range(1, len(records) + 1))


def test_a_rank_that_hangs_is_left_out_and_comes_back(tmp_path: Path) -> None:
    deadlines = ("training.distributed_timeout_minutes=0.03", "recovery.join_timeout_s=0.5")
    layout = ("layout={data_parallel_size = 2}", "training.zero_stage=0")
    settings = [f"--set={each}" for each in (*deadlines, *layout)]
    fault = "--inject=stop rank=1 step=3 repair_steps=1"
    with started(tmp_path, "--transport", "gloo", *settings, fault) as process:
        recoveries = 0
        while recoveries < 2:
            recoveries += "recovered" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    records = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    lost, joined = (record["recovery"] for record in records if "recovery" in record)
    assert (lost["reason"], lost["cause"], lost["spans_ms"]["detect"]) == ("lost 1", "hang", None)
    assert joined["reason"] == "joined by 1"


@pytest.mark.parametrize("slow", [0, 1])
def test_every_step_is_logged_also_where_the_others_are_done_first(
    run: Run, tmp_path: Path, slow: int
) -> None:
    fault = f"--inject=slow rank={slow} step=3 at=distribute seconds=0.5"
    arguments = ("train", CONFIG, "--transport=gloo", *TWO_RANKS, *steps(3), fault)
    done = run(*arguments, "--log", "run.jsonl")
    assert done.returncode == 0, done.stderr
    _, records = read_log(tmp_path / "run.jsonl")
    assert [record["step"] for record in records] == [1, 2, 3]


def test_a_fault_with_a_time_strikes_in_processes(tmp_path: Path) -> None:
    layout = ("--set=layout={data_parallel_size = 2}", "--set=training.zero_stage=0")
    fault = "--inject=kill rank=1 time_s=0.05 repair_steps=1"
    with started(tmp_path, "--transport", "gloo", *layout, fault) as process:
        while "joined by 1" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    records = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    lost, joined = (record["recovery"] for record in records if "recovery" in record)
    assert (lost["cause"], lost["detail"]) == ("exit", "was killed by SIGKILL")
    assert joined["reason"] == "joined by 1"


def test_state_that_nobody_holds_ends_the_job(tmp_path: Path) -> None:
    with started(tmp_path, "--transport", "gloo") as process:
        ranks = children(process.pid)
        os.kill(ranks[1], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 4
        notice, reason = err.splitlines()
        assert notice.startswith("runflat-agent: process 1 was killed by SIGKILL")
        assert re.fullmatch(
            r"runflat: no GPU that is left holds the optimizer state of elements \d+ to \d+ of "
            r"[\w.]+; there is no checkpoint to load",
            reason,
        )
        assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)


def test_workers_die_with_their_agent(tmp_path: Path) -> None:
    with started(tmp_path, "--transport", "gloo", *TWO_RANKS) as process:
        ranks = children(process.pid)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{rank}").exists() for rank in ranks):
            assert time.monotonic() < deadline
            time.sleep(0.05)


BAD: dict[str, tuple[int, str]] = {
    "training.colour=1": (2, "unknown key"),
    "layout.tensor_model_parallel_size=16": (2, "num_attention_heads 8"),
    "training.global_batch_size=13": (2, "not divisible"),
    "training.zero_stage=3": (3, "cannot be trained yet"),
    "model.vocab_size=100": (2, "vocabulary"),
    "data.data_path=nowhere": (2, "nowhere.idx"),
    "data.split=0, 1": (2, "text: the split gives none"),
    "log.tensorboard_dir=text.idx": (2, "text.idx"),
}


@pytest.mark.parametrize(
    ("transport", "assignment"),
    [("loopback", assignment) for assignment in BAD]
    + [("gloo", assignment) for assignment in list(BAD)[2:5]],
)
def test_a_job_that_cannot_run_is_one_line(
    run: Run, tmp_path: Path, transport: str, assignment: str
) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    expected = BAD[assignment]
    done = run("train", CONFIG, *steps(2), "--set", assignment, "--transport", transport)
    assert (done.returncode, len(done.stderr.splitlines())) == (expected[0], 1), done.stderr
    assert done.stderr.startswith("runflat: ") and expected[1] in done.stderr
    assert done.stdout == "" and {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--backend", "tpu"), "--backend: expected cpu or cuda, found tpu"),
        (("--transport", "mpi"), "--transport: expected loopback, gloo or nccl, found mpi"),
        (("--backend", "cuda", "--transport", "gloo"), "--transport: nccl goes with"),
        (("--ranks-per-gpu", "2"), "--ranks-per-gpu: ranks share GPUs with --backend cuda"),
        (("--log", "no/run.jsonl"), "no/run.jsonl: No such file or directory"),
    ],
)
def test_a_wrong_option_is_named(run: Run, arguments: tuple[str, ...], expected: str) -> None:
    done = run("train", CONFIG, *TWO_RANKS, *steps(1), *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"runflat: {expected}") and len(done.stderr.splitlines()) == 1


def test_shipped_configurations_are_read_by_name(run: Run) -> None:
    done = run("train", "tiny")
    assert done.returncode == 2
    assert done.stderr == (
        "runflat: tiny: expected a .toml or .json file, or one of any-plan-mock, llama-1.5b-bench, "
        "llama3-8b-8layers-bench, tiny-gpt-drill, tiny-gpt-mock, tiny-llama-ntp\n"
    )
    done = run("train", "tiny-gpt-mock", "--set", "training.train_iters=30")
    assert done.returncode == 0, done.stderr
    assert " validation loss at iteration 25 | lm loss value: " in done.stdout


def test_a_plan_of_the_planner_is_trained(run: Run, tmp_path: Path) -> None:
    model = 'name = "tiny", family = "gpt", num_layers = 2, hidden_size = 32, '
    model += "num_attention_heads = 8, seq_length = 16, vocab_size = 64"
    changes = {
        "cluster": '{gpu = "h100", num_nodes = 2, gpus_per_node = 4}',
        "layout": "{tensor_model_parallel_size = 4, data_parallel_size = 2}",
        "model": f"{{{model}}}",
        "training.global_batch_size": "8",
    }
    assignments = [f"--set={key}={value}" for key, value in changes.items()]
    done = run("plan", "small", *assignments, "--failed", "5", "-o", "plan.json")
    assert done.returncode == 0, done.stderr
    (tmp_path / "job.toml").write_text(
        'plan = "plan.json"\n[training]\ntrain_iters = 2\n[optimizer]\nlr = 1e-3\n'
        "[data]\nmock_data = true\n"
    )
    done = run("train", "job.toml", "--log", "run.jsonl")
    assert done.returncode == 0, done.stderr
    header, records = read_log(tmp_path / "run.jsonl")
    assert header["world_size"] == 7 and len(records) == 2


def test_the_size_of_a_job_is_known_before_it_starts(tmp_path: Path) -> None:
    config = tmp_path / "job.toml"
    config.write_text("[training]\n")
    with pytest.raises(ParseError, match=r"job\.toml: layout: is missing"):
        train_world_size(config, [])
