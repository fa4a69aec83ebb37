"""`[checkpoint]` of `runflat train`: jobs that stop and go on are the jobs that did not stop."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from conftest import COMMAND, Run
from test_checkpoints import LLAMA, llama_shapes, write_folder
from training import CONFIG, NUM_RANKS, TWO_RANKS, losses, read_log, started, steps

from runflat._core import Checkpoint

pytestmark = pytest.mark.usefixtures("text")

SAVE = ("--set=checkpoint.save=ck", "--set=log.log_interval=1")
AUTO = (*SAVE, "--set=checkpoint.load=ck")


def every(interval: int) -> str:
    return f"--set=checkpoint.save_interval={interval}"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def without_times(path: Path) -> list[dict[str, object]]:
    timed = ("step_time_ms", "tflops_per_gpu")
    return [
        {key: value for key, value in record.items() if key not in timed}
        for record in read_log(path)[1]
    ]


@pytest.mark.parametrize(("transport", "layout"), [("loopback", ()), ("gloo", TWO_RANKS)])
def test_six_steps_are_three_and_the_three_after_a_resume(
    run: Run, tmp_path: Path, transport: str, layout: tuple[str, ...]
) -> None:
    job = ("train", CONFIG, *layout, *steps(6), "--transport", transport, *SAVE)
    job += ("--set=data.split=90, 10, 0",)
    job += ("--set=training.eval_interval=2", "--set=training.eval_iters=1")
    whole = run(*job, every(3), "--log", "whole.jsonl")
    assert whole.returncode == 0, whole.stderr
    saved = [line for line in whole.stdout.splitlines() if "saved" in line]
    assert saved == [
        f"  successfully saved checkpoint from iteration {step:7} to ck" for step in (3, 6)
    ]
    assert names(tmp_path / "ck") == ["latest", "step_00000003", "step_00000006"]
    third = tmp_path / "ck" / "step_00000003"
    rest = run(*job, f"--set=checkpoint.load={third}", "--log", "rest.jsonl")
    assert rest.returncode == 0, rest.stderr
    assert without_times(tmp_path / "rest.jsonl") == without_times(tmp_path / "whole.jsonl")[3:]
    header, _ = read_log(tmp_path / "rest.jsonl")
    assert header["checkpoint"] == str(third)
    first, *lines = rest.stdout.splitlines()
    assert first == f"  successfully loaded checkpoint from {third} at iteration 3"
    counts = [re.search(r"iteration +(\d+)/ .* samples: +(\d+) ", line) for line in lines]
    batch = header["plan"]["training"]["global_batch_size"]
    assert [(int(count[1]), int(count[2])) for count in counts if count] == [
        (step, step * batch) for step in (4, 5, 6)
    ]
    validations = [
        [line for line in done.stdout.splitlines() if "validation loss" in line]
        for done in (whole, rest)
    ]
    assert len(validations[0]) == 3 and validations[1] == validations[0][1:]


def test_a_job_goes_on_in_another_layout(run: Run, tmp_path: Path) -> None:
    tp2 = ("--set=layout={tensor_model_parallel_size = 2}", "--set=training.zero_stage=0")
    job = ("train", CONFIG, *steps(6), *SAVE)
    assert run(*job, *tp2, every(3), "--log", "tp2.jsonl").returncode == 0
    done = run(*job, "--set=checkpoint.load=ck/step_00000003", "--log", "ntp.jsonl")
    assert done.returncode == 0, done.stderr
    assert read_log(tmp_path / "ntp.jsonl")[0]["world_size"] == NUM_RANKS
    assert losses(tmp_path / "ntp.jsonl") == pytest.approx(
        losses(tmp_path / "tp2.jsonl")[3:], rel=1e-5
    )


@pytest.mark.parametrize("transport", ["loopback", "gloo"])
def test_sigterm_saves_and_the_same_command_goes_on(
    run: Run, tmp_path: Path, transport: str
) -> None:
    job = ("--transport", transport, *TWO_RANKS, *AUTO)
    with started(tmp_path, *job) as process:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    taken = len(losses(tmp_path / "run.jsonl"))
    assert out.splitlines()[-2:] == [
        f"  successfully saved checkpoint from iteration {taken:7} to ck",
        f"exiting program after receiving SIGTERM at iteration {taken}",
    ]
    assert names(tmp_path / "ck") == ["latest", f"step_{taken:08}"]
    with started(tmp_path, *job) as process:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    header, *lines = (tmp_path / "run.jsonl").read_text().splitlines()  # of both runs
    second = json.loads(lines.pop(taken))
    assert json.loads(header)["checkpoint"] is None
    assert second["checkpoint"] == f"ck/step_{taken:08}"
    both = [json.loads(line)["loss"] for line in lines]
    with started(tmp_path, "--transport", transport, *TWO_RANKS) as process:
        while len(losses(tmp_path / "run.jsonl")) < len(both):
            process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert losses(tmp_path / "run.jsonl")[: len(both)] == both


@pytest.mark.parametrize(
    ("keep", "expected"),
    [((), [3, 4, 5]), (("--set=checkpoint.keep=1",), [5]), (("--set=checkpoint.keep=0",), None)],
)
def test_the_last_checkpoints_are_kept(
    run: Run, tmp_path: Path, keep: tuple[str, ...], expected: list[int] | None
) -> None:
    assert run("train", CONFIG, *TWO_RANKS, *steps(5), *SAVE, every(1), *keep).returncode == 0
    kept = expected or [1, 2, 3, 4, 5]
    assert names(tmp_path / "ck") == ["latest", *(f"step_{step:08}" for step in kept)]


def test_a_job_saves_its_end(run: Run, tmp_path: Path) -> None:
    job = ("train", CONFIG, *TWO_RANKS, *steps(2), *AUTO)
    assert run(*job).returncode == 0
    assert names(tmp_path / "ck") == ["latest", "step_00000002"]
    done = run(*job)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "  successfully loaded checkpoint from ck/step_00000002 at iteration 2\n"
    )


def test_a_save_that_fails_ends_the_job_and_leaves_the_last(run: Run, tmp_path: Path) -> None:
    job = ("train", CONFIG, *TWO_RANKS, *AUTO)
    assert run(*job, *steps(2)).returncode == 0
    full = subprocess.run(
        [str(COMMAND), *job, *steps(500), every(2)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert full.returncode == 1
    assert re.fullmatch(
        r"runflat: the checkpoint of step 4 was given up: "
        r"rank [01]: ck/\.step_00000004\.0/rank_0000[01]\.safetensors: File too large\n",
        full.stderr,
    ), full.stderr
    assert names(tmp_path / "ck") == ["latest", "step_00000002"]
    Checkpoint(tmp_path / "ck").verify()


BAD = {
    "load=nowhere": "nowhere: expected a checkpoint, or a folder with a latest one",
    "save=text.idx": "text.idx: ",
    "keep=2": "checkpoint: save_interval and keep go with save",
}


@pytest.mark.parametrize("transport", ["loopback", "gloo"])
@pytest.mark.parametrize("assignment", BAD)
def test_what_cannot_be_is_one_line(run: Run, assignment: str, transport: str) -> None:
    job = ("train", CONFIG, *TWO_RANKS, *steps(2), "--transport", transport)
    done = run(*job, "--set", f"checkpoint.{assignment}")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and BAD[assignment] in done.stderr


def test_hugging_face_weights_are_trained_on(run: Run, tmp_path: Path) -> None:
    write_folder(tmp_path / "hf", LLAMA, llama_shapes())
    assert run("ckpt", "convert", "hf", "-o", "ck").returncode == 0
    job = {
        "model": Checkpoint(tmp_path / "ck").header["model"],
        "layout": {"tensor_model_parallel_size": 1},
        "training": {
            "micro_batch_size": 1,
            "global_batch_size": 2,
            "train_iters": 2,
            "precision": "fp32",
            "rotary_base": LLAMA["rope_theta"],
            "norm_epsilon": LLAMA["rms_norm_eps"],
        },
        "optimizer": {"lr": 1e-3},
        "data": {"mock_data": True},
        "checkpoint": {"load": "ck"},
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    for tp in (1, 2):
        layout = f"--set=layout.tensor_model_parallel_size={tp}"
        done = run("train", "job.json", layout, "--log", f"tp{tp}.jsonl")
        assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "tp2.jsonl") == pytest.approx(losses(tmp_path / "tp1.jsonl"), rel=1e-5)
    for key, other in (("rotary_base", 10000), ("norm_epsilon", 1e-5)):
        done = run("train", "job.json", f"--set=training.{key}={other}")
        assert done.returncode == 2
        assert f"step_00000000/index.json: {key}: the checkpoint has" in done.stderr
