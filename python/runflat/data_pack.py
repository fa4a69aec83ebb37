"""Tokenizes documents with several processes and writes them in the order they came."""

from __future__ import annotations

import errno
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runflat._core import DatasetWriter
from runflat.data_records import Record, in_batches, input_files, read_records
from runflat.data_tokenizer import TextTokenizer, load_tokenizer
from runflat.progress import Report


@dataclass(frozen=True, slots=True)
class Packed:
    """Documents end to end, the tokens of each, and the bytes of their files."""

    tokens: NDArray[np.int32]
    lengths: list[int]
    num_bytes: int


class _Encoder:
    """Turns records into tokens, in this process or in a worker."""

    def __init__(self, tokenizer: TextTokenizer, key: str, append_eod: bool) -> None:
        self._tokenizer = tokenizer
        self._key = key
        self._eod = np.array([tokenizer.eod] if append_eod else [], np.int32)

    def __call__(self, batch: Sequence[Record]) -> Packed:
        documents = self._tokenizer.encode([record.text(self._key) for record in batch])
        # Nothing ends where nothing is, as in Megatron.
        ended = [np.concatenate([ids, self._eod]) if len(ids) else ids for ids in documents]
        return Packed(
            np.concatenate(ended),
            [len(ids) for ids in ended],
            sum(len(record.content) for record in batch),
        )


_encoder_of_worker: _Encoder


def _start_worker(tokenizer: Path | None, key: str, append_eod: bool) -> None:
    global _encoder_of_worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ^C reaches all; the first process ends the rest
    _encoder_of_worker = _Encoder(load_tokenizer(tokenizer, needs_eod=append_eod), key, append_eod)


def _encode_in_worker(batch: Sequence[Record]) -> Packed:
    return _encoder_of_worker(batch)


Encode = Callable[[Iterable[Sequence[Record]]], Iterator[Packed]]


@contextmanager
def _workers(num: int, *settings: object) -> Iterator[Encode]:
    """Gives a map over batches that keeps their order and reads only a little ahead."""
    pool = ProcessPoolExecutor(num, get_context("spawn"), _start_worker, settings)

    def encode(batches: Iterable[Sequence[Record]]) -> Iterator[Packed]:
        ahead: deque[Future[Packed]] = deque()
        for batch in batches:
            ahead.append(pool.submit(_encode_in_worker, batch))
            if len(ahead) > 2 * num:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    try:
        yield encode
    except BrokenProcessPool:
        raise OSError(errno.ECHILD, "a worker has died", "runflat data pack") from None
    finally:
        pool.shutdown(cancel_futures=True)


def pack(
    inputs: Sequence[Path],
    prefix: Path,
    *,
    tokenizer: Path | None = None,
    workers: int = 1,
    append_eod: bool = False,
    key: str = "text",
    report: Report | None = None,
) -> None:
    """Writes PREFIX.bin and PREFIX.idx, the same bytes with any number of workers.

    ParseError names the file and the line that cannot be read; then nothing is left behind.
    """
    loaded = load_tokenizer(tokenizer, needs_eod=append_eod)
    files = input_files(inputs)
    total = sum(file.stat().st_size for file in files)
    batches = in_batches(read_records(files))
    if workers > 1:
        mapping = _workers(workers, tokenizer, key, append_eod)
    else:
        mapping = nullcontext(partial(map, _Encoder(loaded, key, append_eod)))
    with DatasetWriter(prefix, vocab_size=loaded.vocab_size) as writer, mapping as encode:
        _write(writer, encode(batches), total, report)


def _write(
    writer: DatasetWriter, encoded: Iterable[Packed], total: int, report: Report | None
) -> None:
    done = 0
    for packed in encoded:
        writer.add_documents(packed.tokens, packed.lengths)
        done += packed.num_bytes
        if report is not None:
            report(done, total)
