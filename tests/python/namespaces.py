"""Two hosts on one machine: network namespaces, joined by a cable."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True)
class Host:
    name: str
    address: str

    def popen(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["ip", "netns", "exec", self.name, *command], **options)

    def end_all(self) -> None:
        """What a host that loses its power does to its processes."""
        pids = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True)
        for pid in pids.stdout.split():
            subprocess.run(["kill", "-KILL", pid], capture_output=True)


@contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """They reach each other and nothing else. Skips where the kernel or the user may not."""
    names = [f"runflat-{os.getpid()}-{i}" for i in range(2)]
    hosts = (Host(names[0], "10.251.7.1"), Host(names[1], "10.251.7.2"))
    with ExitStack() as made:
        for host in hosts:
            _ip("netns", "add", host.name)
            made.callback(_ip, "netns", "delete", host.name)
            made.callback(host.end_all)
        ends = [f"rf{os.getpid()}{end}" for end in "ab"]
        _ip("link", "add", ends[0], "netns", names[0], *("type", "veth", "peer"), ends[1])
        _ip("link", "set", ends[1], "netns", names[1])
        for host, end in zip(hosts, ends, strict=True):
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", end)
            _ip("-n", host.name, "link", "set", end, "up")
            _ip("-n", host.name, "link", "set", "lo", "up")
        yield hosts


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("network namespaces need the package iproute2")
    if done.returncode != 0:
        pytest.skip(f"no network namespaces here: ip {arguments[0]}: {done.stderr.strip()}")
