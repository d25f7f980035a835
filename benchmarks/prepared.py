"""Journals and archives full of documents, for what is measured on large ones."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

from benchmarks.place import DATA
from habitat_like.archive import open_archive
from habitat_like.config.keys import ArchiveConfig
from habitat_like.journal.journal import Journal, Row

#: Documents have this many callsigns, so a thousandth of them are of any one.
CALLSIGNS = 1000
FIRST_TIME = 1295103598
#: Documents in one commit while something is made ready.
_BATCH = 5000


def callsign(number: int) -> str:
    """The callsign of every document whose number is ``number`` modulo ``CALLSIGNS``."""
    return f"S{number % CALLSIGNS:04d}"


def rows(count: int, first: int = 0) -> Iterator[Row]:
    """Documents as the gateway makes them, ten a second, each with its id."""
    for number in range(first, first + count):
        created = FIRST_TIME + number // 10
        digest = blake2b(b"%d" % number, digest_size=12).hexdigest()
        identifier = f"{created:010d}-{digest}"
        document = (
            f'{{"_id":"{identifier}","type":"RECEIVED_TELEM","callsign":"{callsign(number)}",'
            f'"ip":"127.0.0.1","time_created":{created},"time_uploaded":{created + 9},"data":'
            f'{{"frequency":434075199.23,"string":"JCRoYWJpdGF0{number:012d}'
            'LDUxLjUwODEsLTAuMTI4NCwxMjM0NSwyMy41LDkuODEK"},"gateway":"bench"}'
        )
        yield identifier, document.encode()


def batches(documents: Iterator[Row], size: int) -> Iterator[list[Row]]:
    """The rows in lists of ``size``."""
    while batch := list(itertools.islice(documents, size)):
        yield batch


def journal(path: Path, count: int) -> None:
    """Put a journal of ``count`` messages at ``path``; no sink has seen any of them."""
    kept = DATA / "prepared" / f"journal-{count}.sqlite"
    if not kept.exists():
        with making(kept) as unfinished:
            made = Journal(unfinished, sync="normal")
            for batch in batches(rows(count), _BATCH):
                made.write(batch)
                made.checkpoint()
            made.close()
            Path(f"{unfinished}.lock").unlink()
    shutil.copyfile(kept, path)


def archive(count: int) -> Path:
    """The path of an embedded archive of ``count`` documents, for reading."""
    kept = DATA / "prepared" / f"archive-{count}.sqlite"
    if not kept.exists():
        with making(kept) as unfinished:
            made = open_archive(ArchiveConfig(uri=f"sqlite:{unfinished}"))
            made.prepare()
            for batch in batches(rows(count), _BATCH):
                made.store([document for _, document in batch])
            made.close()
    return kept


@contextlib.contextmanager
def making(path: Path) -> Iterator[Path]:
    """A name that becomes ``path`` when what stands there is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    for leftover in path.parent.glob(f"{unfinished.name}*"):
        leftover.unlink()
    yield unfinished
    os.sync()  # or the disk would still be busy with it while something is measured
    unfinished.rename(path)
