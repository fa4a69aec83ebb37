"""`runflat launch`: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from conftest import Run
from kubernetes_validate import validate

import runflat

CONFIG = "tiny-gpt-mock"  # two pipeline stages of two TP ranks: two nodes of two GPUs
REDIS = "redis://:secret@store:6379/jobs"
KUBERNETES = ("--launcher", "kubernetes", "--image", "registry/runflat:1", "--print")
JOB_PATH = "spec.replicatedJobs.0.template.spec"


@pytest.fixture
def run(run_here: Run) -> Run:
    return run_here


def manifest(run: Run, *options: str, train: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    done = run("launch", CONFIG, *KUBERNETES, *options, "--", *train)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    [found] = [item for item in objects if item["kind"] == kind]
    return found


def test_manifests_are_what_kubernetes_and_jobset_publish(run: Run) -> None:
    schema = json.loads((Path(__file__).parent / "jobset_schema.json").read_text())
    objects = manifest(run, "-O", "metadata.namespace=team", train=("--backend", "cuda"))
    assert {item["metadata"]["namespace"] for item in objects} == {"team"}
    for item in objects:
        if item["kind"] != "JobSet":
            validate(item, "1.34", strict=True)
    jobset = of_kind(objects, "JobSet")
    jsonschema.validate(jobset, schema)
    template = jobset["spec"]["replicatedJobs"][0]["template"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, **template}
    validate(job, "1.34", strict=True)
    with pytest.raises(jsonschema.ValidationError):  # the schema does refuse
        jsonschema.validate({**jobset, "spec": {"failurePolicies": {}}}, schema)


def test_a_manifest_has_a_pod_per_node_with_all_its_gpus(run: Run) -> None:
    objects = manifest(run, train=("--backend", "cuda", "--set", "training.train_iters=3"))
    job = of_kind(objects, "JobSet")["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert (job["completions"], job["parallelism"], job["completionMode"]) == (2, 2, "Indexed")
    [agent] = job["template"]["spec"]["containers"]
    assert agent["resources"]["limits"] == {"nvidia.com/gpu": 2}
    assert agent["command"][:3] == ["runflat", "train", f"/etc/runflat/{CONFIG}.toml"]
    assert agent["command"][-1] == "training.train_iters=3"
    shipped = Path(runflat.__file__).parent / "configs" / f"{CONFIG}.toml"
    assert of_kind(objects, "ConfigMap")["data"] == {f"{CONFIG}.toml": shipped.read_text()}


def test_the_password_of_a_manifest_stands_in_its_secret_alone(run: Run) -> None:
    first, second = manifest(run), manifest(run)
    secrets = [of_kind(objects, "Secret")["stringData"] for objects in (first, second)]
    assert secrets[0]["password"] != secrets[1]["password"]
    assert secrets[0]["password"] in secrets[0]["url"]
    rest = [item for item in first if item["kind"] != "Secret"]
    assert secrets[0]["password"] not in json.dumps(rest)
    own = manifest(run, "--store", REDIS)
    assert {item["kind"] for item in own} == {"Secret", "ConfigMap", "JobSet"}
    assert of_kind(own, "Secret")["stringData"] == {"url": REDIS}


def test_one_name_tells_jobs_apart(run: Run) -> None:
    def names(objects: list[dict[str, Any]]) -> set[tuple[str, str]]:
        return {(item["kind"], item["metadata"]["name"]) for item in objects}

    assert not names(manifest(run)) & names(manifest(run, "-O", "metadata.name=second"))
    done = run("launch", CONFIG, *KUBERNETES, "-O", "metadata.name=2nd")
    assert done.returncode == 2
    assert "a letter first" in done.stderr


def test_a_plan_is_trained_on_made_up_data(run: Run, tmp_path: Path) -> None:
    assert run("plan", "small", "--failed", "3", "-o", "plan.json").returncode == 0
    done = run("launch", "plan.json", *KUBERNETES)
    assert done.returncode == 0, done.stderr
    objects = list(yaml.safe_load_all(done.stdout))
    plan = runflat.Plan.from_json((tmp_path / "plan.json").read_text())
    job = of_kind(objects, "JobSet")["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["completions"] == plan.cluster.num_nodes
    files = of_kind(objects, "ConfigMap")["data"]
    assert runflat.Plan.from_json(files["plan.json"]) == plan
    [agent] = job["template"]["spec"]["containers"]
    assert agent["command"][-1] == "plan=/etc/runflat/plan.json"


@pytest.mark.parametrize(
    ("launcher", "option", "named"),
    [
        ("slurm", "--kill-on-bad-exit", "--kill-on-bad-exit"),
        ("slurm", "--kill-on-bad-exit=1", "--kill-on-bad-exit"),
        ("slurm", "-K", "-K"),
        ("slurm", "-K1", "-K"),
        ("slurm", "--kill-on-bad", "--kill-on-bad"),
        ("slurm", "--no-kill=off", "--no-kill"),
        ("slurm", "--ntasks-per-node=2", "--ntasks-per-node"),
        ("torchrun", "--nproc-per-node=8", "--nproc-per-node"),
        ("torchrun", "--nproc_per_node gpu", "--nproc-per-node"),
        ("torchrun", "--max-restarts=3", "--max-restarts"),
        ("torchrun", "--rdzv-backend c10d", "--rdzv-backend"),
        ("torchrun", "--standalone", "--standalone"),
        ("mpirun", "--disable-recovery", "--disable-recovery"),
        ("mpirun", "--mca orte_abort_on_non_zero_status 1", "orte_abort_on_non_zero_status"),
        ("mpirun", "--mca orte_enable_recovery 0", "orte_enable_recovery"),
        ("mpirun", "-np 8", "-np"),
        ("local", "--anything", "--anything"),
        ("kubernetes", "spec.failurePolicy.maxRestarts=3", "maxRestarts"),
        (
            "kubernetes",
            "spec.failurePolicy.rules=[{name: a, action: FailJobSet}]",
            "failurePolicy.rules",
        ),
        ("kubernetes", f"{JOB_PATH}.backoffLimit=6", "backoffLimit"),
        ("kubernetes", f"{JOB_PATH}.activeDeadlineSeconds=60", "activeDeadlineSeconds"),
        ("kubernetes", f"{JOB_PATH}.podFailurePolicy.rules.1.onExitCodes.values=[1]", "FailJob"),
        ("kubernetes", "spec.replicatedJobs.7.name=x", "spec.replicatedJobs.7.name"),
    ],
)
def test_options_that_end_the_survivors_are_named(
    run: Run, launcher: str, option: str, named: str
) -> None:
    image = ("--image", "x") if launcher == "kubernetes" else ()
    nodes = ("--nodes", "1") if launcher == "local" else ("--nodes", "a,b")
    store = () if launcher == "local" else ("--store", REDIS)
    job = ("launch", CONFIG, "--launcher", launcher, *image, *nodes, *store, "--print")
    assert run(*job).returncode == 0, run(*job).stderr
    done = run(*job, f"--option={option}")
    assert done.returncode == 2
    assert done.stderr.startswith("runflat: --option")
    assert named in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("launcher", "variable"),
    [
        ("slurm", "SLURM_KILL_BAD_EXIT=1"),
        ("slurm", "SBATCH_NO_KILL=off"),
        ("torchrun", "PET_MAX_RESTARTS=2"),
        ("torchrun", "PET_NPROC_PER_NODE=8"),
    ],
)
def test_variables_that_end_the_survivors_are_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, launcher: str, variable: str
) -> None:
    monkeypatch.setenv(*variable.split("="))
    done = run("launch", CONFIG, "--launcher", launcher, "--nodes", "1", "--print")
    assert done.returncode == 2
    assert done.stderr.startswith(f"runflat: {variable}: ")


@pytest.mark.parametrize(
    ("store", "reason"),
    [
        ("redis://store:6379", "without a password"),
        ("redis://user@store:6379", "without a password"),
        ("http://:secret@store", "expected dir:/path, or"),
        ("rediss://user@store", "without a password"),
        ("dir:shared", "is for one host"),
    ],
)
def test_stores_that_cannot_be_or_are_open_are_refused(run: Run, store: str, reason: str) -> None:
    done = run("launch", CONFIG, "--launcher", "mpirun", "--store", store, "--print")
    assert done.returncode == 2
    assert reason in done.stderr
    assert "secret" not in done.stderr


def test_a_store_that_others_can_enter_is_refused(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    folder.mkdir(mode=0o755)
    job = ("launch", CONFIG, "--nodes", "1", "--store", f"dir:{folder}", "--print")
    assert "others can enter it" in run(*job).stderr
    folder.chmod(0o700)
    assert run(*job).returncode == 0


def test_passwords_stand_in_no_script(run: Run) -> None:
    for launcher in ("slurm", "torchrun", "mpirun"):
        job = ("--launcher", launcher, "--nodes", "a,b", "--store", REDIS, "--print")
        done = run("launch", CONFIG, *job)
        assert done.returncode == 0, done.stderr
        assert "secret" not in done.stdout


def test_a_job_is_queued_again_only_where_it_goes_on_from_its_checkpoint(run: Run) -> None:
    slurm = ("launch", CONFIG, "--launcher", "slurm", "--print", "--")
    alone = run(*slurm).stdout
    assert "#SBATCH --no-requeue" in alone
    assert "scontrol requeue" not in alone
    resumable = run(*slurm, "--set", 'checkpoint={save = "ck", load = "ck"}').stdout
    assert "#SBATCH --requeue" in resumable
    assert "scontrol requeue" in resumable


def test_bad_input_is_one_line(run: Run) -> None:
    for arguments, reason in (
        (("nowhere",), "expected a .toml or .json file"),
        ((CONFIG, "--", "--nonsense"), "--nonsense"),
        ((CONFIG, "--", "--backend", "tpu"), "--backend"),
        ((CONFIG, "--", "--set", "training.nonsense=1"), "nonsense"),
        ((CONFIG, "--nodes", "5"), "--nodes: expected 1 to 4"),
        ((CONFIG, "--image", "x"), "--image"),
        ((CONFIG, "--launcher", "kubernetes"), "--image"),
        ((CONFIG, "--launcher", "mpirun"), "--store"),
        ((CONFIG, "--launcher", "torchrun", "--nodes", "2", "--store", REDIS), "their names"),
    ):
        done = run("launch", *arguments)
        assert done.returncode == 2, arguments
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


def test_hazards_are_said() -> None:
    from runflat.launch_checks import hazards

    assert hazards("driver CUDA 13.0, NCCL 2.28.9 (built with 2.28.9)", {}) == []
    assert hazards("", {"NCCL_NVLS_ENABLE": "0"}) == []
    [old, multicast] = hazards("NCCL 2.27.3", {"NCCL_NVLS_ENABLE": "1"})
    assert "2.28.9" in old
    assert "NVLS" in multicast
