"""A Redis server inside a Kubernetes cluster, for the agents of one job and for nobody else."""

from __future__ import annotations

from typing import Any

_IMAGE = "redis:7"
_PORT = 6379
# The password comes from the Secret and stands in no command line.
_COMMAND = (
    r'printf "%s\n" "requirepass $PASSWORD" "appendonly yes" "dir /data" | exec redis-server -'
)


def redis_objects(name: str) -> list[dict[str, Any]]:
    """A Deployment, its Service `NAME-store` and who may reach it. The Secret is NAME-store too."""
    store = f"{name}-store"
    labels = {"runflat/store": name}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": store},
            "spec": {
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _pod(store)},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": store},
            "spec": {"selector": labels, "ports": [{"port": _PORT, "targetPort": _PORT}]},
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": store},
            "spec": {
                "podSelector": {"matchLabels": labels},
                "policyTypes": ["Ingress"],
                "ingress": [
                    {
                        "from": [{"podSelector": {"matchLabels": {"runflat/job": name}}}],
                        "ports": [{"protocol": "TCP", "port": _PORT}],
                    }
                ],
            },
        },
    ]


def _pod(store: str) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "redis",
                "image": _IMAGE,
                "command": ["sh", "-c", _COMMAND],
                "env": [
                    {
                        "name": "PASSWORD",
                        "valueFrom": {"secretKeyRef": {"name": store, "key": "password"}},
                    }
                ],
                "ports": [{"containerPort": _PORT}],
                "readinessProbe": {"tcpSocket": {"port": _PORT}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }
