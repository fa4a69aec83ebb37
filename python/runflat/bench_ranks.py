"""Starts the ranks of a benchmark as processes of this host and watches over them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

_GRACE_SECONDS = 30.0  # for ranks to notice that a peer is gone
_PEER_LOST = 4


class _Rank:
    """A rank's process. The last line that it says of itself is kept, all else is passed on."""

    def __init__(self, rank: int, command: Sequence[str], environment: dict[str, str]) -> None:
        self.rank = rank
        self.reason = ""
        self.ended_at: float | None = None
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self._reader = Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def _read_errors(self) -> None:
        for line in self.process.stderr:
            if line.startswith("runflat: "):
                self.reason = line.removeprefix("runflat: ").rstrip()
            else:
                sys.stderr.write(line)

    def has_ended(self) -> bool:
        if self.ended_at is None and self.process.poll() is not None:
            self._reader.join()
            self.ended_at = time.monotonic()
        return self.ended_at is not None

    @property
    def has_failed(self) -> bool:
        return self.has_ended() and self.process.returncode != 0

    @property
    def urgency(self) -> tuple[int, float]:
        """Sorts causes before effects: ranks that lost a peer come last."""
        status = self.process.returncode
        return (0 if status < 0 else 2 if status == _PEER_LOST else 1, self.ended_at)


def run_ranks(command: Sequence[str], world_size: int) -> int:
    """Runs `command` once per rank and gives the exit status of the job.

    When a rank fails, the others end too, and one line on stderr says why. SIGTERM goes to all.
    """
    with TemporaryDirectory(prefix="runflat-") as folder:
        ranks: list[_Rank] = []
        previous = signal.signal(
            signal.SIGTERM, lambda *_: [rank.process.terminate() for rank in ranks]
        )
        try:
            for rank in range(world_size):
                environment = rank_environment(rank, world_size, Path(folder))
                ranks.append(_Rank(rank, command, environment))
            return _watch(ranks)
        finally:
            signal.signal(signal.SIGTERM, previous)
            for rank in ranks:
                rank.process.kill()
                rank.process.wait()


def rank_environment(rank: int, world_size: int, folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(world_size),
        "RUNFLAT_STORE": f"dir:{folder / 'store'}",
    }


def _watch(ranks: Sequence[_Rank]) -> int:
    while not all([rank.has_ended() for rank in ranks]):
        failed = [rank for rank in ranks if rank.has_failed]
        if failed and time.monotonic() > min(rank.ended_at for rank in failed) + _GRACE_SECONDS:
            break
        time.sleep(0.02)
    failed = sorted((rank for rank in ranks if rank.has_failed), key=lambda rank: rank.urgency)
    if not failed:
        return 0
    cause = failed[0]
    status = cause.process.returncode
    reason = cause.reason or f"rank {cause.rank} ended with status {status}"
    if status < 0:
        killed = f"rank {cause.rank} was killed by {signal.Signals(-status).name}"
        peer = _reason_of_a_peer(cause.rank, failed)
        reason, status = f"{killed}: {peer}" if peer else killed, _PEER_LOST
    print(f"runflat: {reason}", file=sys.stderr)
    return status


def _reason_of_a_peer(lost: int, failed: Sequence[_Rank]) -> str:
    """What a rank says that lost this one, not one that lost a rank which had lost it."""
    names_it = re.compile(rf"\(ranks (\d+, )*{lost}[,)]")
    return next((rank.reason for rank in failed if names_it.search(rank.reason)), "")
