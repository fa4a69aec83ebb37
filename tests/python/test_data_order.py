"""The golden orders of training data, worked out once more with numpy.

The tests of exec compare the C++ with the same files.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden"


def rows(name: str) -> list[list[str]]:
    lines = (GOLDEN / name).read_text().splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def test_the_draws_are_numpys() -> None:
    states: dict[int, np.random.RandomState] = {}
    for seed, what, argument, *expected in rows("numpy_random_state.txt"):
        state = states.setdefault(int(seed), np.random.RandomState(int(seed)))
        if what == "shuffle":
            values = np.arange(int(argument))
            state.shuffle(values)
        else:
            values = state.randint(0, int(argument) + 1, size=4, dtype=np.int64)
        assert values.tolist() == [int(value) for value in expected]


def packed(lengths: list[int], seq_length: int, num_samples: int) -> list[int]:
    """Document and offset of every sample's begin, by greedy packing with one token of overlap."""
    index = [0, 0]
    document = offset = 0
    for _ in range(num_samples):
        left = seq_length + 1
        while lengths[document] - offset < left:
            left -= lengths[document] - offset
            document, offset = document + 1, 0
        offset += left - 1
        index += [document, offset]
    return index


def gpt_order(
    lengths: list[int], seed: int, seq_length: int, num_samples: int
) -> dict[str, list[int]]:
    """The three indexes of Megatron's GPTDataset, as training-engine.md §1.16 describes them."""
    tokens = sum(lengths)
    epochs = 1
    while epochs * tokens < num_samples * seq_length + 1:
        epochs += 1
    before_final = ((epochs - 1) * tokens - 1) // seq_length
    from_final = num_samples - before_final
    separate = epochs > 1 and from_final < int(0.80 * ((tokens - 1) // seq_length))
    state = np.random.RandomState(seed)

    def shuffled(values: np.ndarray) -> list[int]:
        state.shuffle(values)
        return values.tolist()

    documents = np.arange(len(lengths), dtype=np.int32)
    first = shuffled(np.tile(documents, epochs - separate))
    order = first + (shuffled(documents.copy()) if separate else [])
    num = (epochs * tokens - 1) // seq_length
    num_first = before_final if separate else num
    shuffle = shuffled(np.arange(num_first, dtype=np.uint32))
    shuffle += shuffled(np.arange(num_first, num, dtype=np.uint32)) if separate else []
    return {
        "document_index": order,
        "sample_index": packed([lengths[i] for i in order], seq_length, num),
        "shuffle_index": shuffle,
    }


def test_the_sample_orders_are_those_of_the_description() -> None:
    case: dict[str, list[int]] = {}
    checked = 0
    for name, *values in rows("gpt_dataset_order.txt"):
        case[name] = [int(value) for value in values]
        if name == "shuffle_index":
            expected = gpt_order(case["lengths"], *case["case"])
            assert {key: case[key] for key in expected} == expected
            checked += 1
    assert checked >= 4


def test_the_published_sample_index() -> None:
    published = [0, 0, 0, 4, 0, 8, 1, 3, 2, 2, 3, 2]
    assert packed([9, 5, 4, 3], 4, 5) == published
