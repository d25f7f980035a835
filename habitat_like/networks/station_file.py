"""Changes to the ``stations`` file: entries come and go, the rest stays as written."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import yaml

from habitat_like.config.file import TextLoader
from habitat_like.config.keys import ConfigError
from habitat_like.disk import Directory
from habitat_like.networks import stations
from habitat_like.networks.stations import Station

#: Bytes of the file; ten thousand stations take about two million.
LARGEST = 64 * 1024 * 1024


def add(path: Path, entry: Station) -> None:
    """Add an entry at the end. Raises ConfigError for a file that can't be used, OSError."""
    with _locked(path) as text:
        stations.parse(text, str(path))
        fields = {
            name: value
            for name, value in msgspec.structs.asdict(entry).items()
            if value is not None
        }
        new = yaml.safe_dump([fields], sort_keys=False, allow_unicode=True)
        if _items(text) is None:
            _write(path, new if not text.strip() else f"{text.rstrip()}\n{new}")
        elif _is_block(text):
            _write(path, f"{text.rstrip()}\n{new}")
        else:  # a list in brackets
            kept = yaml.load(text, TextLoader)  # noqa: S506 (derived from the safe loader)
            _write(path, yaml.safe_dump([*kept, fields], sort_keys=False, allow_unicode=True))


def remove(path: Path, callsign: str, network: str | None) -> int:
    """Remove the entries of a callsign, of one network or all; returns how many there were.

    Raises ConfigError for a file that can't be used, OSError.
    """
    with _locked(path) as text:
        entries = stations.parse(text, str(path))
        gone = [
            number
            for number, entry in enumerate(entries)
            if entry.callsign.upper() == callsign.upper() and network in (None, entry.network)
        ]
        if not gone:
            return 0
        if _is_block(text):
            lines = text.splitlines(keepends=True)
            items = _items(text) or []
            for number in reversed(gone):
                first, last = items[number]
                del lines[first:last]
            left = "".join(lines)
        else:
            tree = yaml.load(text, TextLoader)  # noqa: S506 (derived from the safe loader)
            kept = [item for number, item in enumerate(tree) if number not in gone]
            left = yaml.safe_dump(kept, sort_keys=False, allow_unicode=True)
        # What is left must be what was there without them.
        if len(stations.parse(left, str(path))) != len(entries) - len(gone):
            raise ConfigError(f"{path}: can't be changed by a program; remove the entry by hand")
        _write(path, left)
        return len(gone)


def _items(text: str) -> list[tuple[int, int]] | None:
    """First line, and the one after the last, of each entry; None if there is no list."""
    node = yaml.compose(text, TextLoader)
    if not isinstance(node, yaml.SequenceNode):
        return None
    firsts = [item.start_mark.line for item in node.value]
    lasts = [_last_line(item) + 1 for item in node.value]
    return list(zip(firsts, lasts, strict=True))


def _last_line(item: yaml.Node) -> int:
    """The last line with content of an entry: YAML ends a block where the next one begins."""
    if isinstance(item, yaml.MappingNode) and not item.flow_style and item.value:
        return int(item.value[-1][1].end_mark.line)
    return int(item.end_mark.line)


def _is_block(text: str) -> bool:
    node = yaml.compose(text, TextLoader)
    return isinstance(node, yaml.SequenceNode) and not node.flow_style


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[str]:
    """The file's text, "" if there is none, while no other program of ours changes it."""
    with Directory(path.absolute().parent) as directory, directory.locked():
        there = directory.status(path.name) is not None
        data = directory.read(path.name, LARGEST)[0] if there else b""
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ConfigError(f"{path}: not UTF-8 text") from None
        yield text


def _write(path: Path, text: str) -> None:
    """Replace the file in one step, keeping owner and mode. A new one is group-readable."""
    with Directory(path.absolute().parent) as directory:
        before = directory.status(path.name)
        mode = 0o640 if before is None else before.st_mode & 0o777
        with directory.replacing(path.name, mode) as file:
            # By descriptor: the directory's owner may put something else under the name.
            if before is not None and os.geteuid() == 0:
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(file.fileno(), mode)
            file.write(text.encode())
