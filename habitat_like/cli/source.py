"""Reads the lines of files that may be compressed, and knows how far it is."""

from __future__ import annotations

import codecs
import gzip
import io
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import click

#: A line with more bytes is no document; it is not read into memory.
LONGEST = 64 * 1024 * 1024
_GZIP = b"\x1f\x8b"


class Line(NamedTuple):
    """One line without its end: of which file, which number (from 1), and its text."""

    file: str
    number: int
    text: bytes

    def __str__(self) -> str:
        """Where it is, for people."""
        return f"{self.file} line {self.number}"


class Source:
    """The lines of ``files``, one after the other; ``-`` is standard input.

    What is compressed with gzip is told by its first bytes. For one iteration.
    """

    def __init__(self, files: Sequence[str]) -> None:
        """Look at the files, but don't open them. Raises OSError for one that isn't there."""
        self._files = files
        sizes = [None if file == "-" else _size(Path(file)) for file in files]
        #: The bytes of all files, None where that isn't known.
        self.total = None if None in sizes else float(sum(size or 0 for size in sizes))
        self._before = 0
        self._raw: BinaryIO | None = None

    def done(self) -> float:
        """How many bytes are read, of ``total``."""
        return self._before + (self._raw.tell() if self._raw is not None else 0.0)

    def __iter__(self) -> Iterator[Line]:
        """Every line that is not empty.

        Raises click.ClickException where a file can't be read further, and OSError.
        """
        for file in self._files:
            if file == "-":
                if sys.stdin is None:
                    raise click.ClickException("standard input is closed")
                yield from self._lines("standard input", sys.stdin.buffer)
                continue
            with Path(file).open("rb") as raw:
                self._raw = raw if self.total is not None else None
                yield from self._lines(file, raw)
                self._before += raw.tell() if self._raw is not None else 0
                self._raw = None

    def _lines(self, name: str, raw: BinaryIO) -> Iterator[Line]:
        packed = cast(io.BufferedReader, raw).peek(2)[:2] == _GZIP
        lines = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        number = 0
        try:
            while text := lines.readline(LONGEST):
                number += 1
                if len(text) == LONGEST:
                    raise click.ClickException(
                        f"{name} line {number}: longer than {LONGEST} bytes: this is not NDJSON"
                    )
                if text := text.removeprefix(codecs.BOM_UTF8).strip():
                    yield Line(name, number, text)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            reason = "ends too early" if isinstance(error, EOFError) else str(error)
            raise click.ClickException(
                f"{name}: the compressed file is damaged after line {number}: {reason}"
            ) from None


def _size(path: Path) -> int | None:
    status = path.stat()
    return status.st_size if stat.S_ISREG(status.st_mode) else None
