"""The bound C++ values behave like values."""

from __future__ import annotations

import pytest

from runflat import ParseError, _core

LLAMA = {
    "name": "tiny",
    "family": "llama",
    "num_layers": 2,
    "hidden_size": 64,
    "ffn_hidden_size": 256,
    "num_attention_heads": 8,
    "num_query_groups": 4,
    "seq_length": 128,
    "vocab_size": 1000,
}
VALUES = [
    _core.ClusterSpec(gpu="h100", num_nodes=4),
    _core.ModelSpec(**LLAMA),
    _core.ParallelSizes(tensor_model_parallel_size=4, data_parallel_size=2),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_value_survives_json_and_its_own_repr(value: object) -> None:
    assert type(value).from_json(value.to_json()) == value
    assert eval(repr(value), vars(_core)) == value


def test_values_that_differ_are_not_equal() -> None:
    assert _core.ClusterSpec(gpu="h100", num_nodes=4) != _core.ClusterSpec(gpu="h100", num_nodes=5)
    assert _core.ClusterSpec(gpu="h100", num_nodes=4) != 4


def test_counts_follow_from_the_fields() -> None:
    cluster, model, sizes = VALUES
    assert (cluster.num_gpus, cluster.num_domains) == (32, 4)
    assert model.padded_vocab_size == 1024
    assert sizes.num_ranks == 8


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"gpu": "h100", "num_nodes": -1}, "num_nodes: expected an integer from 1"),
        ({"gpu": "h100", "num_nodes": "4"}, "num_nodes: expected an integer"),
        ({"gpu": "h100", "num_nodes": 4, "colour": 1}, "colour"),
        ({"num_nodes": 4}, "gpu: is missing"),
    ],
)
def test_a_constructor_makes_the_checks_of_the_scenario_file(keys: dict, complaint: str) -> None:
    with pytest.raises(ParseError, match=f"ClusterSpec: {complaint}"):
        _core.ClusterSpec(**keys)
