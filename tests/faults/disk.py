"""A model of a disk behind a page cache: what a power loss leaves of a recorded run.

A write changes a page in the cache; only a successful fsync of the file brings it to the disk.
Until then each sector of a changed page may be on the disk in any version that it has had since,
and the file's size too. Names of files follow in their order, up to any of them; an fsync of the
directory brings all. After a failed fsync the pages count as clean, with what happens to be on the
disk, as on Linux (https://lwn.net/Articles/752063/): a later fsync writes what was changed since.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from tests.faults.shim import Event, Op

PAGE = 4096
SECTOR = 512
_ZEROS = bytes(PAGE)


class Loss(Enum):
    """What became of the writes since the last fsync."""

    DROPPED = "dropped"
    KEPT = "kept"
    TORN = "torn and reordered"


class _File:
    """One file: what is in the cache, and what may be on the disk."""

    def __init__(self) -> None:
        self._cache: dict[int, bytes] = {}
        self._durable: dict[int, bytes] = {}
        # The versions of each page since the last fsync, and the sizes.
        self._dirty: dict[int, list[bytes]] = {}
        self._size = 0
        self._sizes = [0]

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        for page in range(offset // PAGE, (end + PAGE - 1) // PAGE):
            first = max(offset - page * PAGE, 0)
            part = data[max(page * PAGE - offset, 0) : (page + 1) * PAGE - offset]
            old = self._cache.get(page, _ZEROS)
            self._change(page, old[:first] + part + old[first + len(part) :])
        if end > self._size:
            self._resize(end)

    def truncate(self, size: int) -> None:
        for page in list(self._cache):
            keep = min(max(size - page * PAGE, 0), PAGE)
            if keep < PAGE and size < self._size:
                self._change(page, self._cache[page][:keep] + bytes(PAGE - keep))
        self._resize(size)

    def sync(self) -> None:
        for page, versions in self._dirty.items():
            self._durable[page] = versions[-1]
        self._dirty.clear()
        self._sizes = [self._size]

    def sync_failed(self, rng: random.Random) -> None:
        """The pages are clean now, and the disk has of them what it happens to have."""
        loss = rng.choice(list(Loss))
        for page in self._dirty:
            self._durable[page] = self._left(page, rng, loss)
        self._dirty.clear()

    def left(self, rng: random.Random, loss: Loss) -> bytes:
        """What the disk has after a power loss."""
        size = self._sizes[0]
        if loss is not Loss.DROPPED:
            size = self._size if loss is Loss.KEPT else rng.choice(self._sizes)
        found = bytearray((size + PAGE - 1) // PAGE * PAGE)
        for page in sorted(self._durable.keys() | self._dirty.keys()):
            if page * PAGE < size:
                found[page * PAGE : (page + 1) * PAGE] = self._left(page, rng, loss)
        return bytes(found[:size])

    def _left(self, page: int, rng: random.Random, loss: Loss) -> bytes:
        old = self._durable.get(page, _ZEROS)
        versions = self._dirty.get(page)
        if not versions or loss is Loss.DROPPED:
            return old
        if loss is Loss.KEPT:
            return versions[-1]
        every = [old, *versions]
        return b"".join(rng.choice(every)[at : at + SECTOR] for at in range(0, PAGE, SECTOR))

    def _change(self, page: int, content: bytes) -> None:
        self._cache[page] = content
        self._dirty.setdefault(page, []).append(content)

    def _resize(self, size: int) -> None:
        self._size = size
        self._sizes.append(size)


class Disk:
    """All files below one directory, as the events of a record make them."""

    def __init__(self, root: Path, rng: random.Random) -> None:
        self._root = root
        self._rng = rng
        self._files: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        # The states of the directory since its last fsync.
        self._names: list[dict[str, _File]] = []
        #: Marks of the answers 2xx so far.
        self.answered: set[int] = set()

    def apply(self, event: Event) -> None:
        """Take one more event."""
        name = event.path
        match event.op:
            case Op.REPLY:
                self.answered.add(int(name, 16))
            case Op.CREATE:
                self._files[name] = _File()
                self._names.append(dict(self._files))
            case Op.UNLINK if event.result == 0:
                self._files.pop(name, None)
                self._names.append(dict(self._files))
            case Op.WRITE if event.result > 0:
                self._file(name).write(event.offset, event.data)
            case Op.TRUNCATE if event.result == 0:
                self._file(name).truncate(event.offset)
            case Op.SYNC if Path(name) == self._root:
                if event.result == 0:
                    self._durable_names = dict(self._files)
                    self._names.clear()
            case Op.SYNC if event.result == 0:
                self._file(name).sync()
            case Op.SYNC:
                self._file(name).sync_failed(self._rng)

    def lose_power(self, target: Path, rng: random.Random) -> Loss:
        """Put what is left of all files into the directory ``target``; says what was lost."""
        loss = rng.choice(list(Loss))
        names = self._durable_names
        if self._names and loss is not Loss.DROPPED:
            states = [self._durable_names, *self._names]
            names = states[-1] if loss is Loss.KEPT else rng.choice(states)
        for name, file in names.items():
            (target / Path(name).name).write_bytes(file.left(rng, loss))
        return loss

    def _file(self, name: str) -> _File:
        """The file; one that was there before the recording began is as good as new."""
        return self._files.setdefault(name, _File())


def moments(events: Iterator[Event], disk: Disk, chosen: list[int]) -> Iterator[int]:
    """Apply the events, and stop at each of the chosen places among them."""
    places = iter(sorted(chosen))
    stop = next(places, None)
    for place, event in enumerate(events):
        while stop is not None and place == stop:
            yield place
            stop = next(places, None)
        disk.apply(event)
