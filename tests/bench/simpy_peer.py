"""Two simulations in SimPy and in RunFlat, timed one after the other on this machine.

    python tests/bench/simpy_peer.py build/tests/bench/runflat_bench

Needs SimPy 4 in a virtual environment of its own (pip install 'simpy>=4,<5'). The first is the
bare engine: 1,000 pending timers, each of which starts another when it fires. The second is the
life of one job, AIReSim's default: 4,160 servers and 200 spares for 256 days with 11,000 failures,
exponential repairs of a day, checkpoints and lost work. The SimPy model keeps no ledger and knows
no GPUs: it does less than RunFlat's.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass

import simpy

NUM_TIMERS = 1_000
NUM_TIMER_EVENTS = 1_000_000
SECONDS_PER_DAY = 86_400.0


def timer_events_per_second() -> float:
    delays = random.Random(1)
    environment = simpy.Environment()

    def timer() -> Generator[simpy.Event, None, None]:
        while True:
            yield environment.timeout(delays.expovariate(1e-3))

    for _ in range(NUM_TIMERS):
        environment.process(timer())
    start = time.perf_counter()
    for _ in range(NUM_TIMER_EVENTS):
        environment.step()
    return NUM_TIMER_EVENTS / (time.perf_counter() - start)


@dataclass
class Cluster:
    """Restart on healthy servers from the last checkpoint; waits while there are too few."""

    environment: simpy.Environment
    dice: random.Random
    num_needed: int = 4160
    num_healthy: int = 4360
    failures: int = 0
    kept_seconds: float = 0.0
    checkpoint_interval: float = 600.0
    checkpoint_cost: float = 20.0
    pause: float = 305.0

    def __post_init__(self) -> None:
        self.repaired = self.environment.event()
        self.job = self.environment.process(self.train())
        self.environment.process(self.fail())

    def fail(self) -> Generator[simpy.Event, None, None]:
        rate = 11_000.0 / 256.0 / SECONDS_PER_DAY
        while True:
            yield self.environment.timeout(self.dice.expovariate(rate))
            self.failures += 1
            was_active = self.dice.random() < self.num_needed / max(1, self.num_healthy)
            self.num_healthy -= 1
            self.environment.process(self.repair())
            if was_active:
                self.job.interrupt()

    def repair(self) -> Generator[simpy.Event, None, None]:
        yield self.environment.timeout(self.dice.expovariate(1.0 / SECONDS_PER_DAY))
        self.num_healthy += 1
        repaired, self.repaired = self.repaired, self.environment.event()
        repaired.succeed()

    def train(self) -> Generator[simpy.Event, None, None]:
        cycle = self.checkpoint_interval + self.checkpoint_cost
        while True:
            start = self.environment.now
            try:
                yield self.environment.event()  # trains until interrupted
            except simpy.Interrupt:
                span = self.environment.now - start
                self.kept_seconds += span // cycle * self.checkpoint_interval
            is_up = False
            while not is_up:
                try:
                    yield self.environment.timeout(self.pause)
                    while self.num_healthy < self.num_needed:
                        yield self.repaired
                    is_up = True
                except simpy.Interrupt:
                    continue


def job_milliseconds(num_trials: int) -> float:
    start = time.perf_counter()
    for trial in range(num_trials):
        environment = simpy.Environment()
        cluster = Cluster(environment, random.Random(trial))
        environment.run(until=256 * SECONDS_PER_DAY)
        assert 10_000 < cluster.failures < 12_000, cluster.failures
        assert 0.5 < cluster.kept_seconds / environment.now < 1.0
    return 1e3 * (time.perf_counter() - start) / num_trials


def runflat_times(program: str) -> dict[str, dict[str, float]]:
    pattern = "event_queue/hold/pending/1000$|simulate_job/4360_servers"
    done = subprocess.run(
        [program, f"--benchmark_filter={pattern}", "--benchmark_format=json"],
        check=True,
        capture_output=True,
        text=True,
    )
    return {run["name"]: run for run in json.loads(done.stdout)["benchmarks"]}


def main() -> None:
    runs = runflat_times(sys.argv[1])
    engine = runs["event_queue/hold/pending/1000"]["items_per_second"]
    life = runs["simulate_job/4360_servers_256_days"]["real_time"]
    peer_engine = timer_events_per_second()
    peer_life = job_milliseconds(num_trials=3)
    print(f"# SimPy {simpy.__version__} on Python {sys.version.split()[0]}")
    print(f"{'':<42}{'RunFlat':>12}{'SimPy':>12}{'ratio':>9}")
    print(
        f"{'engine, 1000 pending, million events/s':<42}{engine / 1e6:>12.2f}"
        f"{peer_engine / 1e6:>12.2f}{engine / peer_engine:>9.1f}"
    )
    print(
        f"{'4,360 servers, 256 days, ms a replication':<42}{life:>12.2f}{peer_life:>12.2f}"
        f"{peer_life / life:>9.1f}"
    )


if __name__ == "__main__":
    main()
