"""``habitat backup``: copies archive, journal and configuration while the gateway runs."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from habitat_like import __version__
from habitat_like import config as configuration
from habitat_like.archive import mask, open_archive
from habitat_like.archive.base import Query, holding
from habitat_like.archive.schemes import archive_class
from habitat_like.cli import backups, options, rights
from habitat_like.cli.backups import BackupError, Item, Manifest
from habitat_like.cli.progress import share_bar, with_progress
from habitat_like.config.keys import Config
from habitat_like.disk import Directory, check_copy, copy_database, is_database
from habitat_like.journal.file import open_file
from habitat_like.networks.stations import key_path

#: The share of a disk that a backup leaves free.
SPARE = 0.05
#: Bytes of a file that the configuration names, at most: a larger one is no list of stations.
MAX_FILE = 16 * 1024 * 1024
MODE, DIRECTORY_MODE = 0o640, 0o750


@click.command(
    cls=options.Command,
    epilog="Example: habitat backup --keep 7 /var/backups/habitat",
)
@options.config_option
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Remove all but the newest N.")
@click.argument("directory", metavar="DIR", type=options.Named(path_type=Path))
def command(config_path: str | None, keep: int | None, directory: Path) -> None:
    """Make a backup in DIR, named by its time, while the gateway runs.

    It has the journal, the archive (a copy of an SQLite file, an export of a CouchDB database),
    and the files of the configuration, each checked after it was written. 'habitat restore' puts
    it back. Readable by the gateway's group.
    """
    config = options.load_config(config_path)
    source = configuration.find(options.chosen_path(config_path))
    owner = rights.gateway_owner(config)
    directory = directory.absolute()
    try:
        with backups.place(directory, owner):
            _check_room(config, directory)
            made = _Backup(config, source, directory, owner[1] if owner else -1).make()
            click.echo(f"{made.path}: {made.documents} messages, {made.size / 1e6:.1f} MB")
            for old in backups.complete(directory)[: -keep if keep else 0]:
                backups.remove(old)
                click.echo(f"removed {old}")
    except OSError as error:
        raise BackupError(f"{error.filename or directory}: {error.strerror}") from None
    except sqlite3.Error as error:
        raise BackupError(f"{directory}: {error}") from None


class _Made(msgspec.Struct):
    path: Path
    documents: int
    size: int


class _Backup:
    """One backup: made in a directory of another name, which is given its own in the end."""

    def __init__(self, config: Config, source: Path | None, directory: Path, group: int) -> None:
        self._config = config
        self._source = source
        self._group = group
        self._now = time.time()
        self._name = backups.new_name(directory, self._now)
        self._directory = directory
        self._part = directory / f"{backups.PART}{self._name}"
        self._items: list[Item] = []

    def make(self) -> _Made:
        """Make all of it."""
        self._part.mkdir(mode=0o700)
        try:
            # The journal first: what it has not archived yet, the archive may have twice, but what
            # leaves it meanwhile is in the archive for sure.
            self._journal()
            documents = self._archive()
            for kind, path in self._files():
                self._copy(kind, path)
            manifest = Manifest(
                format=backups.FORMAT,
                version=__version__,
                made=int(self._now),
                archive=mask(self._config.archive.uri),
                documents=documents,
                items=tuple(self._items),
            )
            with self._new(backups.MANIFEST) as file:
                file.write(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
            self._settle()
        except BaseException:
            shutil.rmtree(self._part, ignore_errors=True)
            raise
        size = sum(item.size for item in self._items)
        return _Made(self._directory / self._name, documents, size)

    def _journal(self) -> None:
        path = Path(self._config.journal.path)
        with contextlib.closing(open_file(path)):
            pass  # it is one, and of a format that we know
        self._database("journal", path, backups.JOURNAL)

    def _archive(self) -> int:
        """Copy or export the archive; how many documents it has."""
        file = archive_class(self._config.archive.uri).file(self._config.archive)
        if file is not None and not file.exists():
            raise BackupError(f"there is no archive at {file}; see habitat doctor")
        if file is None or not is_database(file):
            return self._export()
        self._database("archive", file, backups.ARCHIVE)
        copy = f"file:{self._part / backups.ARCHIVE}?mode=ro&immutable=1"
        with contextlib.closing(sqlite3.connect(copy, uri=True)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM document").fetchone()
        return int(count)

    def _database(self, kind: Any, path: Path, name: str) -> None:
        target = self._part / name
        with self._new(name):
            pass
        with share_bar(f"copying the {kind}") as told:
            copy_database(path, target, told)
        if (problem := check_copy(target)) is not None:
            raise BackupError(f"the copy of {path} is damaged ({problem}); check it, and the disk")
        self._add(kind, path, name)

    def _export(self) -> int:
        count = 0
        everything = Query(order="asc", suspicious=True)
        opened = contextlib.closing(open_archive(self._config.archive))
        with opened as archive, holding(archive):
            with self._new(backups.EXPORT) as raw, gzip.GzipFile("", "wb", 6, raw, 0) as packed:
                for line in with_progress(archive.lines(everything), "exporting the archive"):
                    packed.write(line + b"\n")
                    count += 1
            with gzip.open(self._part / backups.EXPORT) as written:
                found = sum(1 for _ in written)
            if found != count:
                raise BackupError(f"{count} messages were written, and {found} can be read back")
            self._items.append(self._item("export", "", backups.EXPORT, None))
        return count

    def _files(self) -> Iterator[tuple[Any, Path]]:
        """The files that the configuration consists of, each once; passwords for others left out.

        CouchDB's is made anew by ``habitat setup``.
        """
        seen = set()
        for kind, path in _named(self._config, self._source):
            if path not in seen and path.is_file():
                seen.add(path)
                yield kind, path

    def _copy(self, kind: Any, path: Path) -> None:
        name = f"{backups.FILES}{path}"
        # In a directory of the gateway's, a name may have become a link to what is none of its.
        with Directory(path.parent) as place:
            data, status = place.read(path.name, MAX_FILE)
        self._make_directories((self._part / name).parent)
        with self._new(name) as target:
            target.write(data)
        self._items.append(self._item(kind, str(path), name, status))

    def _add(self, kind: Any, path: Path, name: str) -> None:
        self._items.append(self._item(kind, str(path.absolute()), name, path.stat()))

    def _item(self, kind: Any, path: str, name: str, status: os.stat_result | None) -> Item:
        written = self._part / name
        return Item(
            name=name,
            kind=kind,
            path=path,
            owner=backups.user_name(status.st_uid) if status else "",
            group=backups.group_name(status.st_gid) if status else "",
            mode=stat.S_IMODE(status.st_mode) if status else MODE,
            size=written.stat().st_size,
            sha256=backups.digest(written),
        )

    def _make_directories(self, directory: Path) -> None:
        for above in reversed([directory, *directory.parents]):
            if above.is_relative_to(self._part) and not above.exists():
                above.mkdir(mode=0o700)

    @contextlib.contextmanager
    def _new(self, name: str) -> Iterator[Any]:
        """A new file of the backup; on disk at the end."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(os.open(self._part / name, flags, MODE), "wb") as file:  # noqa: PTH123
            os.fchown(file.fileno(), -1, self._group)
            os.fchmod(file.fileno(), MODE)
            yield file
            file.flush()
            os.fsync(file.fileno())

    def _settle(self) -> None:
        """Bring the directories to the disk too, open them to the group, and give the name."""
        for directory, _, _ in os.walk(self._part, topdown=False):
            os.chown(directory, -1, self._group)
            Path(directory).chmod(DIRECTORY_MODE)
            fd = os.open(directory, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        self._part.rename(self._directory / self._name)


def _named(config: Config, source: Path | None) -> Iterator[tuple[str, Path]]:
    """The configuration's file, and the files that it names."""
    if source is not None:
        yield "configuration", source.absolute()
        # Actions, types and sinks of the operator's own are beside it.
        for path in sorted(source.absolute().parent.glob("*.py")):
            yield "file", path
    yield "key", key_path(config.journal.path).absolute()
    for name in (config.stations, config.console.password_file):
        if name is not None:
            yield "file", Path(name).absolute()
    settings = [*(sink.settings for sink in config.sinks), *config.networks.values()]
    for below in settings:
        for key, value in (below or {}).items():
            if isinstance(value, str) and not key.endswith("password_file") and "/" in value:
                yield "file", Path(value).absolute()


def _check_room(config: Config, directory: Path) -> None:
    """Raise BackupError if the copies of databases would fill the disk: stations need it."""
    needed = 0
    paths = [Path(config.journal.path), archive_class(config.archive.uri).file(config.archive)]
    for path in paths:
        for part in (path, Path(f"{path}-wal")) if path is not None else ():
            needed += part.stat().st_size if part.exists() else 0
    usage = shutil.disk_usage(directory)
    if usage.free - needed < SPARE * usage.total:
        raise BackupError(
            f"{directory}: {needed / 1e6:,.0f} MB are needed and {usage.free / 1e6:,.0f} MB are"
            f" free, of which {SPARE * usage.total / 1e6:,.0f} MB stay so: name another disk, or"
            " keep fewer"
        )
