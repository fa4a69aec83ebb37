"""`runflat data`: text in, Megatron's files out, read here by a reader of their own."""

from __future__ import annotations

import json
import random
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from runflat import ParseError
from runflat._core import DatasetWriter, IndexedDataset
from runflat.data_pack import pack

TEXTS = ["Hello", "", "naïve 🙂\n", "\0 and more"]
DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}


def read(prefix: Path) -> tuple[str, list[list[int]]]:
    """Numpy's name of the token type and the documents, by the description of the format."""
    idx = prefix.with_suffix(".idx").read_bytes()
    assert idx[:9] == b"MMIDIDX\0\0"
    version, code, num_sequences, num_indices = struct.unpack_from("<QBQQ", idx, 9)
    assert version == 1
    dtype = np.dtype(DTYPES[code])
    lengths = np.frombuffer(idx, "<i4", num_sequences, 34)
    pointers = np.frombuffer(idx, "<i8", num_sequences, 34 + 4 * num_sequences)
    bounds = np.frombuffer(idx, "<i8", num_indices, 34 + 12 * num_sequences)
    assert len(idx) == 34 + 12 * num_sequences + 8 * num_indices
    tokens = prefix.with_suffix(".bin").read_bytes()
    assert len(tokens) == lengths.sum() * dtype.itemsize
    sequences = [
        np.frombuffer(tokens, dtype, length, pointer).tolist()
        for length, pointer in zip(lengths, pointers, strict=True)
    ]
    documents = [
        [token for sequence in sequences[first:last] for token in sequence]
        for first, last in pairwise(bounds)
    ]
    return dtype.name, documents


def write_jsonl(path: Path, texts: list[str], key: str = "text") -> Path:
    path.write_text("".join(json.dumps({"id": 1, key: text}) + "\n" for text in texts))
    return path


def tokenizer_file(path: Path, extra: str = "<|endoftext|>") -> Path:
    """Words are tokens; it would also cut, pad and begin texts, if one let it."""
    vocabulary = {"[UNK]": 0, "a": 1, "b": 2, "c": 3, "[BOS]": 4, extra: 9}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A", special_tokens=[("[BOS]", 4)]
    )
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(path))
    return path


def test_bytes_are_tokens_without_a_tokenizer(run: Run, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "in.jsonl", TEXTS)
    file.write_text(file.read_text() + "\n  \n")  # blank lines are no documents
    done = run("data", "pack", file, "-o", "out")
    assert done.returncode == 0, done.stderr
    assert read(tmp_path / "out") == ("uint16", [list(text.encode()) for text in TEXTS])
    assert run("data", "pack", file, "-o", "out", "--append-eod").returncode == 0
    expected = [[*text.encode(), 256] if text else [] for text in TEXTS]
    assert read(tmp_path / "out") == ("uint16", expected)
    info = run("data", "info", "out")
    assert info.stdout == "out: 4 documents, 3 sequences, 30 tokens, uint16\n"
    assert {path.name for path in tmp_path.iterdir()} == {"in.jsonl", "out.bin", "out.idx"}


def test_a_tokenizer_adds_nothing_but_the_end(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "in.jsonl", ["a b c a", "", "b d"], key="body")
    pack(
        [file],
        tmp_path / "out",
        tokenizer=tokenizer_file(tmp_path / "tokenizer.json"),
        append_eod=True,
        key="body",
    )
    assert read(tmp_path / "out") == ("uint16", [[1, 2, 3, 1, 9], [], [2, 0, 9]])


def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path / "out", vocab_size=65500) as writer:
        writer.add_documents(np.array([70000, 1, 2]), [1, 0, 2])
    assert read(tmp_path / "out") == ("int32", [[70000], [], [1, 2]])


def test_text_files_and_folders_are_documents(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "b").mkdir(parents=True)
    (folder / "c.txt").write_text("third")
    (folder / "b" / "second").write_text("second")
    (folder / "image.png").write_bytes(b"\x89PNG\xff")
    (folder / "again.txt").symlink_to("c.txt")
    write_jsonl(folder / "a.jsonl", ["first"])
    pack([folder, folder / "c.txt"], tmp_path / "out")
    _, documents = read(tmp_path / "out")
    texts = [bytes(document).decode() for document in documents]
    assert texts == ["first", "second", "third", "third"]


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    dice = random.Random(1)
    texts = ["".join(dice.choices("abc ", k=dice.randrange(200_000))) for _ in range(60)]
    file = write_jsonl(tmp_path / "in.jsonl", texts)
    reports: list[tuple[int, int]] = []
    options = {"tokenizer": tokenizer_file(tmp_path / "tokenizer.json"), "append_eod": True}
    pack([file], tmp_path / "one", report=lambda *done: reports.append(done), **options)
    pack([file], tmp_path / "two", workers=2, **options)
    for suffix in (".idx", ".bin"):
        one, two = ((tmp_path / name).with_suffix(suffix) for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    assert len(reports) > 3 and reports[-1] == (file.stat().st_size,) * 2
    assert reports == sorted(reports)


GOOD = b'{"text": "fine"}\n'
BAD_LINES = {
    b'{"text": "cut\n': "expected a JSON object",
    b'["text"]\n': "expected a JSON object",
    b"[" * 100_000 + b"\n": "expected a JSON object",
    b'{"txt": "x"}\n': 'expected text under the key "text"',
    b'{"text": 3}\n': 'expected text under the key "text"',
    b'{"text": "\xff"}\n': "expected UTF-8, found byte 0xff",
    b'{"text": "\\ud800"}\n': "expected text that is valid Unicode",
}


@pytest.mark.parametrize(("line", "expected"), BAD_LINES.items(), ids=BAD_LINES.values())
def test_a_bad_line_is_named_and_nothing_is_left(
    tmp_path: Path, line: bytes, expected: str
) -> None:
    (tmp_path / "in.jsonl").write_bytes(GOOD + b"\n" + line + GOOD)
    with pytest.raises(ParseError) as raised:
        pack([tmp_path / "in.jsonl"], tmp_path / "out")
    assert str(raised.value) == f"{tmp_path / 'in.jsonl'}: line 3: {expected}"
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_is_one_line_and_keeps_the_files_of_before(
    run: Run, tmp_path: Path, workers: int
) -> None:
    pack([write_jsonl(tmp_path / "old.jsonl", ["old"])], tmp_path / "out")
    (tmp_path / "in.jsonl").write_bytes(GOOD + b"{}\n")
    done = run("data", "pack", "in.jsonl", "-o", "out", "--workers", workers)
    assert done.returncode == 2
    assert done.stderr == 'runflat: in.jsonl: line 2: expected text under the key "text"\n'
    assert read(tmp_path / "out") == ("uint16", [list(b"old")])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"old.jsonl", "in.jsonl", "out.bin", "out.idx"}


def test_files_that_cannot_be_used_are_named(run: Run, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", ["x"])
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    tokenizer_file(tmp_path / "endless.json", extra="<end>")
    with DatasetWriter(tmp_path / "cut", vocab_size=257) as writer:
        writer.add_documents(np.array([1, 2]), [2])
    (tmp_path / "cut.bin").write_bytes(b"\1")
    (tmp_path / "empty").mkdir()
    before = {path.name for path in tmp_path.iterdir()}
    cases = {
        "no.jsonl: No such file": ("pack", "no.jsonl", "-o", "out"),
        "bad.txt: expected UTF-8": ("pack", "bad.txt", "-o", "out"),
        "empty: expected a folder with": ("pack", "empty", "-o", "out"),
        "no/out.bin: No such file": ("pack", "in.jsonl", "-o", "no/out"),
        "no.json: No such file": ("pack", "in.jsonl", "-o", "out", "--tokenizer", "no.json"),
        "bad.json: expected a tok": ("pack", "in.jsonl", "-o", "out", "--tokenizer", "bad.json"),
        "endless.json: --append-eod needs": (
            "pack", "in.jsonl", "-o", "out", "--append-eod", "--tokenizer", "endless.json",
        ),
        "cut.bin: sequence 0: expected 4 bytes": ("info", "cut"),
        "out.idx: cannot be read: No such file": ("info", "out"),
    }  # fmt: skip
    for expected, arguments in cases.items():
        done = run("data", *arguments)
        assert done.returncode == 2, arguments
        assert done.stderr.startswith(f"runflat: {expected}"), done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == before


def test_an_interrupted_block_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), DatasetWriter(tmp_path / "x", vocab_size=9) as writer:
        writer.add_documents(np.array([1]), [1])
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with DatasetWriter(tmp_path / "x", vocab_size=9) as writer, pytest.raises(ValueError):
        writer.add_documents(np.array([1]), [2])
    assert IndexedDataset(tmp_path / "x").num_documents == 0
