"""A manifest for Kubernetes with JobSet (jobset.x-k8s.io/v1alpha2): one indexed Job, of a pod for
every node with its agent, and a Redis server where the agents meet.

A pod that fails is replaced as often as it takes, alone, under its old index; only bad input or an
infeasible plan (status 2 and 3 of `runflat train`) ends the Job, and the JobSet starts none again.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml

from runflat._core import ParseError
from runflat.launch_job import LONGEST_NAME, LaunchJob
from runflat.launch_redis import redis_objects
from runflat.launch_store import REDIS

SUBMIT = ("kubectl", "apply", "-f", "-")
ENVIRONMENT = ()
FOREVER = 2**31 - 1
_FINAL_STATUSES = [2, 3]
_MOUNT = "/etc/runflat"
_GRACE_SECONDS = 600  # for a checkpoint
_NAME = "metadata.name"
_POD = "spec.replicatedJobs.0.template.spec"


class _Dumper(yaml.SafeDumper):
    """Files as they stand, and no references."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = "|" if "\n" in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def make_script(job: LaunchJob, options: Sequence[str], image: str) -> str:
    """`options` are `path=value`, of the JobSet. Its metadata.name names all objects: jobs that run
    at the same time need different ones."""
    job = replace(job, name=_name(options, job.name))
    jobset = _jobset(job, image)
    for option in options:
        path, equals, value = option.partition("=")
        if not equals:
            raise ParseError(f"--option {option}: expected path=value, as in spec.suspend=true")
        _set(jobset, path, yaml.safe_load(value))
    _check(jobset)
    objects = [_secret(job), _config_map(job)]
    objects += [] if job.store is not None else redis_objects(job.name)
    namespace = jobset["metadata"].get("namespace")
    for other in objects if namespace else []:
        other["metadata"]["namespace"] = namespace
    return yaml.dump_all([*objects, jobset], Dumper=_Dumper, sort_keys=False, width=100)


def _name(options: Sequence[str], default: str) -> str:
    given = [value for path, _, value in (o.partition("=") for o in options) if path == _NAME]
    name = given[-1] if given else default
    if not re.fullmatch(r"[a-z][-a-z0-9]*[a-z0-9]", name) or len(name) > LONGEST_NAME:
        raise ParseError(
            f"--option {_NAME}={name}: expected up to {LONGEST_NAME} lower-case letters, digits "
            "and hyphens, a letter first"
        )
    return name


def _check(jobset: dict[str, Any]) -> None:
    """ParseError for what would end or restart the pods that survive."""
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    policy = jobset["spec"]["failurePolicy"]
    rules = job.get("podFailurePolicy", {}).get("rules", [])
    fail_job = [rule for rule in rules if rule.get("action") == "FailJob"]
    for is_wrong, what in (
        (policy.get("maxRestarts", 0) != 0, "spec.failurePolicy.maxRestarts: restarts every pod"),
        (policy.get("rules"), "spec.failurePolicy.rules: ends or restarts every pod"),
        (job.get("backoffLimit") != FOREVER, f"{_POD}.backoffLimit: then every pod ends"),
        ("maxFailedIndexes" in job, f"{_POD}.maxFailedIndexes: then every pod ends"),
        ("activeDeadlineSeconds" in job, f"{_POD}.activeDeadlineSeconds: ends every pod"),
        (
            any(rule.get("onExitCodes", {}).get("values") != _FINAL_STATUSES for rule in fail_job),
            f"{_POD}.podFailurePolicy: FailJob ends every pod when one fails",
        ),
    ):
        if is_wrong:
            raise ParseError(f"--option {what}")


def _jobset(job: LaunchJob, image: str) -> dict[str, Any]:
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": job.name},
        "spec": {
            "network": {
                "enableDNSHostnames": True,
                "subdomain": job.name,
                "publishNotReadyAddresses": True,
            },
            "failurePolicy": {"maxRestarts": 0},
            "replicatedJobs": [
                {"name": "agents", "replicas": 1, "template": {"spec": _job(job, image)}}
            ],
        },
    }


def _job(job: LaunchJob, image: str) -> dict[str, Any]:
    return {
        "completionMode": "Indexed",
        "completions": job.num_nodes,
        "parallelism": job.num_nodes,
        "backoffLimit": FOREVER,
        "podReplacementPolicy": "Failed",  # no second agent beside one that is still there
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "Ignore",  # a drained or preempted pod is no failure
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
                {
                    "action": "FailJob",
                    "onExitCodes": {
                        "containerName": "agent",
                        "operator": "In",
                        "values": _FINAL_STATUSES,
                    },
                },
            ]
        },
        "template": {
            "metadata": {"labels": {"runflat/job": job.name}},
            "spec": _pod(job, image),
        },
    }


def _pod(job: LaunchJob, image: str) -> dict[str, Any]:
    resources = {"nvidia.com/gpu": job.gpus_per_node}
    plan = ["--set", f"plan={_MOUNT}/plan.json"] if "plan" in job.document else []
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "agent",
                "image": image,
                "command": [*job.command("runflat", f"{_MOUNT}/{job.config.name}"), *plan],
                "env": _variables(job),
                **({"resources": {"limits": resources}} if job.gpus_per_node else {}),
                "volumeMounts": [
                    {"name": "job", "mountPath": _MOUNT, "readOnly": True},
                    {"name": "shm", "mountPath": "/dev/shm"},
                ],
            }
        ],
        "volumes": [
            {"name": "job", "configMap": {"name": f"{job.name}-job"}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},  # NCCL: the default is 64 MiB
        ],
    }


def _variables(job: LaunchJob) -> list[dict[str, Any]]:
    """Later ones use earlier ones. The Job's uid names the run: pods of an earlier one are none."""
    joint = "." if job.store is not None and urlsplit(job.store).path.strip("/") else "/"
    return [
        {"name": "RUNFLAT_NUM_PODS", "value": str(job.num_nodes)},
        _field("RUNFLAT_HOST", "status.podIP"),
        _field("JOB_UID", "metadata.labels['batch.kubernetes.io/controller-uid']"),
        {
            "name": "STORE_URL",
            "valueFrom": {"secretKeyRef": {"name": f"{job.name}-store", "key": "url"}},
        },
        {"name": "RUNFLAT_STORE", "value": f"$(STORE_URL){joint}$(JOB_UID)"},
    ]


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _secret(job: LaunchJob) -> dict[str, Any]:
    if job.store is not None:
        if not job.store.startswith(REDIS):
            raise ParseError("--store: pods meet in a Redis server; without --store they get one")
        values = {"url": job.store.rstrip("/")}
    else:
        password = secrets.token_urlsafe(24)
        values = {"password": password, "url": f"redis://:{quote(password)}@{job.name}-store:6379"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{job.name}-store"},
        "type": "Opaque",
        "stringData": values,
    }


def _config_map(job: LaunchJob) -> dict[str, Any]:
    files = {job.config.name: job.config.read_text()}
    if "plan" in job.document:
        files["plan.json"] = Path(job.document["plan"]).read_text()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{job.name}-job"},
        "data": files,
    }


def _set(document: Any, path: str, value: Any) -> None:
    """The value at a dotted path; numbers index lists, the number after the last adds an item."""
    *parents, last = path.split(".")
    try:
        for key in parents:
            document = (
                document[int(key)] if isinstance(document, list) else document.setdefault(key, {})
            )
        if isinstance(document, list):
            document[int(last) : int(last) + 1] = [value]
        else:
            document[last] = value
    except (ValueError, IndexError, TypeError, AttributeError):
        raise ParseError(f"--option {path}: there is no such place in the JobSet") from None
