"""Types of the C++ module; a test keeps the names here equal to dir(_core).

The constructors take the keys of a scenario file's tables and make the same checks.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__version__: str

class ParseError(ValueError):
    """Bad input by a person; names the file, the key path and what was expected."""

class InfeasibleError(RuntimeError):
    """No plan can satisfy the request; says what a person can do about it."""

class ClusterSpec:
    """`[cluster]`: GPUs in nodes in NVLink domains in racks."""

    def __init__(self, **keys: Any) -> None: ...
    @staticmethod
    def from_json(text: str) -> ClusterSpec: ...
    def to_json(self) -> str: ...
    def __eq__(self, other: object) -> bool: ...
    @property
    def gpu(self) -> str: ...
    @property
    def num_nodes(self) -> int: ...
    @property
    def gpus_per_node(self) -> int: ...
    @property
    def domain_size(self) -> int: ...
    @property
    def domains_per_rack(self) -> int: ...
    @property
    def num_gpus(self) -> int: ...
    @property
    def num_domains(self) -> int: ...

class ModelSpec:
    """`[model]`: a transformer, with Megatron's field names."""

    def __init__(self, **keys: Any) -> None: ...
    @staticmethod
    def from_json(text: str) -> ModelSpec: ...
    def to_json(self) -> str: ...
    def __eq__(self, other: object) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def ffn_hidden_size(self) -> int: ...
    @property
    def num_attention_heads(self) -> int: ...
    @property
    def num_query_groups(self) -> int: ...
    @property
    def seq_length(self) -> int: ...
    @property
    def padded_vocab_size(self) -> int: ...
    @property
    def num_experts(self) -> int: ...
    @property
    def num_parameters(self) -> int: ...
    @property
    def flops_per_sequence(self) -> float: ...

class ParallelSizes:
    """`[layout]`: degrees of parallelism; the constructor takes Megatron's names."""

    def __init__(self, **keys: Any) -> None: ...
    @staticmethod
    def from_json(text: str) -> ParallelSizes: ...
    def to_json(self) -> str: ...
    def __eq__(self, other: object) -> bool: ...
    @property
    def tp(self) -> int: ...
    @property
    def cp(self) -> int: ...
    @property
    def ep(self) -> int: ...
    @property
    def dp(self) -> int: ...
    @property
    def pp(self) -> int: ...
    @property
    def num_ranks(self) -> int: ...

class Scenario:
    """A question to the planner: hardware, job, failures, and what is to be done about them."""

    def with_overrides(self, overrides: Sequence[str]) -> Scenario:
        """Another scenario: this one with `key.path=value` assignments."""
    @staticmethod
    def from_json(text: str) -> Scenario: ...
    def to_json(self) -> str:
        """The document that it was read from, overrides applied."""
    def __eq__(self, other: object) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def cluster(self) -> ClusterSpec: ...
    @property
    def model(self) -> ModelSpec: ...
    @property
    def layout(self) -> ParallelSizes: ...
    @property
    def software_release(self) -> str:
        """Of the hardware parameters; empty: the GPU's default."""

class Plan:
    """Everything about how a job runs at one moment."""

    def __init__(self, **keys: Any) -> None: ...
    @staticmethod
    def from_json(text: str) -> Plan: ...
    def to_json(self) -> str: ...
    def to_megatron(self) -> tuple[str, list[str]]:
        """The settings of Megatron's NTP branch as JSON, and notes on how to use them."""
    def __eq__(self, other: object) -> bool: ...
    @property
    def policy(self) -> str: ...
    @property
    def reasons(self) -> list[str]: ...
    @property
    def cluster(self) -> ClusterSpec: ...
    @property
    def model(self) -> ModelSpec: ...
    @property
    def num_ranks(self) -> int: ...
    @property
    def global_batch_size(self) -> int: ...
    @property
    def failed(self) -> list[int]: ...

class Summary:
    """Over the trials."""

    def __eq__(self, other: object) -> bool: ...
    @property
    def mean(self) -> float: ...
    @property
    def p5(self) -> float: ...
    @property
    def p50(self) -> float: ...
    @property
    def p95(self) -> float: ...

class MeanInterval:
    """A mean and the half width of its 95 % confidence interval; None for fewer than two values."""

    def __eq__(self, other: object) -> bool: ...
    @property
    def mean(self) -> float: ...
    @property
    def half_width(self) -> float | None: ...

class PolicyDifference:
    """How much more one policy has than another, paired trial by trial."""

    @property
    def policy(self) -> str: ...
    @property
    def minus(self) -> str: ...
    @property
    def goodput(self) -> MeanInterval: ...

class PolicyResult:
    """One recovery policy; hours, interruptions and rejoins are means over the trials."""

    @property
    def policy(self) -> str: ...
    @property
    def goodput(self) -> Summary: ...
    @property
    def goodput_interval(self) -> MeanInterval: ...
    @property
    def availability(self) -> Summary: ...
    @property
    def lost_gpu_hours(self) -> float: ...
    @property
    def owned_gpu_hours(self) -> float: ...
    @property
    def spare_domains(self) -> int: ...
    @property
    def spares_for_99pct(self) -> int: ...
    @property
    def peak_spares(self) -> Summary: ...
    @property
    def num_interruptions(self) -> float: ...
    @property
    def num_rejoins(self) -> float: ...
    @property
    def step_time_s(self) -> float: ...

class WhatIfResult:
    @property
    def policies(self) -> list[PolicyResult]: ...
    @property
    def differences(self) -> list[PolicyDifference]: ...
    @property
    def num_trials(self) -> int: ...
    def to_json(self) -> str:
        """The text of result.json."""

def read_scenario(file: Path, overrides: Sequence[str] = ...) -> Scenario: ...
def plan(scenario: Scenario, *, failed: Sequence[int], policy: str) -> Plan: ...
def what_if(
    scenario: Scenario,
    *,
    policies: Sequence[str],
    trials: int,
    until_ci: float | None = ...,
    max_trials: int = ...,
    seed: int,
    threads: int,
    trace: Path | None,
    loss_curves: bool = ...,
    progress: Callable[[int, int], None] | None,
) -> WhatIfResult: ...
def price_plan(plan: Plan, *, release: str, hardware: Path | None = ...) -> tuple[str, str]:
    """The plan's step as JSON, and its simulated timeline as a Chrome trace. `hardware` is a
    parameter file in place of a shipped release."""

def recovery_costs(costs: Path | None, *, old: Plan, next: Plan) -> dict[str, float | None]:
    """Seconds that the `[recovery]` of a file, or the default, charges for this change: quiesce,
    communicators, move, warm_up; the bytes of the busiest GPU, network_bytes and domain_bytes; and
    the table's own detect_crash, detect_hang, restart, communicator_base,
    communicator_per_doubling, state_copy_GBps and nvlink_copy_GBps. move and bytes are None where
    no transition exists."""

def validate_steps(tables: Sequence[Path], *, by: Sequence[str]) -> str:
    """Predicted against measured steps, as JSON."""

def cross_validate_steps(tables: Sequence[Path], *, by: Sequence[str], leave_out: str) -> str:
    """Errors of steps that the parameters were not fitted to, as JSON."""

def calibrate(measured: Path) -> str:
    """The text of a parameter file fitted to microbenchmarks."""

def domain_availability(num_gpus: int, num_failed: int, domain_size: int) -> float:
    """Chance that no GPU of a domain is among the failed ones, placed uniformly at random."""

def down_gpus(
    scenario: Scenario, *, trials: int, seed: int, above: float
) -> list[tuple[float, int, float]]:
    """Of each trial: mean and peak number of GPUs down, share of time with more than `above`."""

def loss_curve(
    scenario: Scenario,
    *,
    policy: str,
    num_failures: Sequence[int],
    gpus_per_failure: int = ...,
    placements: int,
    seed: int,
) -> list[float]:
    """Share of the throughput lost with so many failures at once, placed uniformly at random."""

def replica_rates(scenario: Scenario, *, policy: str) -> list[dict[str, Any]]:
    """What a replica does at every TP degree: tp_size, num_microbatches (0: nothing), power."""

def replica_step(
    scenario: Scenario,
    *,
    tp_size: int,
    sync_degree: int,
    num_microbatches: int,
    power: float = ...,
) -> dict[str, Any]:
    """A replica's step by the cost model; `backward_s` is of one microbatch of a stage. Raises
    InfeasibleError where it cannot run; memory is reported, not refused."""

def fit_faults(
    trace: Path,
    *,
    num_nodes: int,
    gpus_per_node: int,
    domain_size: int,
    observed_days: float,
    replicas: int,
    least_faults: int,
    seed: int,
) -> tuple[str, str]:
    """The failure model fitted to a trace as TOML, and everything found as JSON."""

def sample_faults(file: Path, *, days: float, seed: int) -> str:
    """A trace of the failures of a scenario or of a fitted model, as CSV."""

class DatasetWriter:
    """Writes PREFIX.bin and PREFIX.idx in Megatron's format: uint16 below 65,500 ids, else int32.

    The files appear at the end of a `with` block; an exception leaves nothing behind. OSError for
    what the system refuses.
    """

    def __init__(self, prefix: Path, *, vocab_size: int) -> None: ...
    def add_documents(self, tokens: NDArray[np.integer[Any]], lengths: Sequence[int]) -> None:
        """Documents laid end to end, and how many tokens each has."""

    def __enter__(self) -> DatasetWriter: ...
    def __exit__(self, *error: object) -> None: ...

class IndexedDataset:
    """PREFIX.bin and PREFIX.idx, checked from end to end. ParseError for what is damaged."""

    def __init__(self, prefix: Path) -> None: ...
    @property
    def token_type(self) -> str: ...
    @property
    def num_sequences(self) -> int: ...
    @property
    def num_documents(self) -> int: ...
    @property
    def num_tokens(self) -> int: ...

def train_world_size(config: Path, overrides: Sequence[str]) -> int:
    """How many ranks a configuration for training has. ParseError for one that is not right."""

def train_job(config: Path, overrides: Sequence[str]) -> tuple[Plan, str]:
    """The plan of a configuration for training, and the configuration as JSON, overrides applied.
    ParseError as train_world_size."""

def launcher() -> str | None:
    """The launcher (torchrun, Slurm, ...) that started this process as one of several ranks."""

def count_gpus() -> int:
    """GPUs of this host; 0 without a driver, and in a build without CUDA."""

def gpu_versions() -> str:
    """Driver and libraries of the GPU backend; empty in a build without it."""

class GpuSampler:
    """Reads power and clock of the first GPUs of this process until it is stopped; nothing where
    the driver's library is missing."""

    def __init__(self, num_gpus: int) -> None: ...
    def stop(self) -> list[tuple[float, int, float, float]]:
        """Time in seconds since 1970, GPU, watts, MHz of the SMs."""

class Checkpoint:
    """A checkpoint, or the latest of a folder of them. ParseError for what is damaged."""

    def __init__(self, path: Path) -> None: ...
    @property
    def path(self) -> Path: ...
    @property
    def header(self) -> dict[str, Any]:
        """steps, consumed_samples, dtype, has_moments, rotary_base, norm_epsilon, model."""

    @property
    def params(self) -> list[tuple[str, list[int]]]:
        """Megatron's names and shapes."""

    def read(self, param: str) -> NDArray[Any]:
        """All its elements in unit-major order, float32 or float64 as stored."""

    def verify(self) -> None:
        """Reads everything and compares checksums."""

def complete_model(model: dict[str, Any]) -> dict[str, Any]:
    """A `[model]` with the defaults of its family."""

def model_params(model: dict[str, Any]) -> list[tuple[str, list[int]]]:
    """Megatron's names and shapes of its parameters."""

def write_checkpoint(
    folder: Path, header: dict[str, Any], values_of: Callable[[str], NDArray[Any]]
) -> None:
    """A checkpoint of weights alone, each parameter in unit-major order."""

class SafetensorsFile:
    """A safetensors file, checked as the format demands."""

    def __init__(self, path: Path) -> None: ...
    @property
    def tensors(self) -> list[tuple[str, str, list[int]]]:
        """Names, types and shapes, in the order of the data."""

    @property
    def metadata(self) -> list[tuple[str, str]]: ...
    def read(self, name: str) -> NDArray[np.uint8]: ...

def write_safetensors(
    path: Path,
    tensors: Sequence[tuple[str, str, Sequence[int]]],
    metadata: Sequence[tuple[str, str]],
    data_of: Callable[[str], NDArray[Any]],
) -> None:
    """The file appears whole or not at all."""
