"""``habitat restore``: puts a backup back, in place of nothing, or of what is there."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import click

from habitat_like import config as configuration
from habitat_like.archive import open_archive
from habitat_like.archive.base import ArchiveError
from habitat_like.archive.schemes import archive_class
from habitat_like.cli import backups, options
from habitat_like.cli.backups import BackupError, Item, Manifest
from habitat_like.cli.import_ import Import
from habitat_like.cli.progress import share_bar
from habitat_like.cli.source import Source
from habitat_like.config.keys import Config, ConfigError
from habitat_like.disk import Directory
from habitat_like.journal.file import JournalError, LockFile

#: What was in the place of a restored file keeps its name with this behind it.
BEFORE = ".before-restore"
#: SQLite's files beside a database, which belong to the one that was there.
BESIDE = ("-wal", "-shm")
DATABASES = ("journal", "archive")


@click.command(
    cls=options.Command,
    epilog=(
        "\b\n"
        "Examples: habitat restore /var/backups/habitat\n"
        "          habitat restore --force /var/backups/habitat/habitat-20261126T031700Z"
    ),
)
@options.config_option
@click.option("--force", is_flag=True, help=f"Replace what is there; it is kept as NAME{BEFORE}.")
@click.option(
    "--data-only",
    is_flag=True,
    help="Only journal and archive, to where the present configuration has them.",
)
@click.argument("backup", metavar="BACKUP", type=options.Named(path_type=Path))
def command(*, config_path: str | None, force: bool, data_only: bool, backup: Path) -> int:
    """Put back a backup, or the newest of a directory of backups, while the gateway is stopped.

    The backup is checked before anything is changed. Files go where they were, with their owners;
    an export goes into the CouchDB database that the configuration names.
    """
    backup = _chosen(backup.absolute())
    manifest = backups.read_manifest(backup)
    chosen = options.chosen_path(config_path)
    try:
        _check(backup, manifest)
        config = _config(backup, manifest, chosen, data_only)
        targets = list(_targets(manifest, config, chosen, data_only))
        return _Restore(backup, config).run(targets, manifest, force)
    except OSError as error:
        raise BackupError(f"{error.filename or backup}: {error.strerror or error}") from None


class _Restore:
    """One restoring."""

    def __init__(self, backup: Path, config: Config) -> None:
        self._backup = backup
        self._config = config

    def run(self, targets: list[tuple[Item, Path]], manifest: Manifest, force: bool) -> int:
        """Restore all; the exit code."""
        for item, _ in targets:
            _numbers(item)
        journal = Path(self._config.journal.path).absolute()
        owned = next((item for item, path in targets if path == journal), None)
        with self._no_gateway(journal, owned):
            pending = [(item, path) for item, path in targets if not _is_so(item, path)]
            if (there := [path for _, path in pending if os.path.lexists(path)]) and not force:
                names = ", ".join(map(str, there[:5])) + (", …" if len(there) > 5 else "")
                raise BackupError(
                    f"in the way: {names}; --force replaces them, and keeps each as NAME{BEFORE}"
                )
            for item, path in pending:
                self._put(item, path)
                click.echo(f"restored {path}")
        if not pending:
            click.echo("everything is as in the backup")
        code = 0
        if (export := manifest.of("export")) is not None:
            code = self._import(self._backup / export.name)
        click.echo("next: habitat setup --yes, which starts the gateway and tries it")
        return code

    @contextlib.contextmanager
    def _no_gateway(self, journal: Path, item: Item | None) -> Iterator[None]:
        """Hold the journal's lock, so that no gateway runs or starts meanwhile."""
        if item is not None:
            _make_directories(journal.parent, item)
        try:
            lock = LockFile(journal)
        except JournalError as error:
            raise BackupError(f"{error} (systemctl stop habitat.socket habitat)") from None
        try:
            if item is not None and os.geteuid() == 0:
                with Directory(journal.parent) as place:
                    place.give(f"{journal.name}.lock", *_numbers(item))
            yield
        finally:
            lock.close()

    def _put(self, item: Item, path: Path) -> None:
        """Put one file in its place: at no moment is there half of it, nor another one's log."""
        _make_directories(path.parent, item)
        hashed = hashlib.sha256()
        with Directory(path.parent) as place:
            place.remove_leftovers(path.name)
            with place.replacing(path.name, 0o600) as target:
                with share_bar(f"restoring {path.name}") as told:
                    done = 0
                    with (self._backup / item.name).open("rb") as source:
                        while piece := source.read(backups.PIECE):
                            target.write(piece)
                            hashed.update(piece)
                            done += len(piece)
                            told(done / item.size)
                if hashed.hexdigest() != item.sha256:
                    raise BackupError(f"{self._backup / item.name} has changed meanwhile")
                if os.geteuid() == 0:
                    os.fchown(target.fileno(), *_numbers(item))
                os.fchmod(target.fileno(), item.mode)
                for name in [path.name, *(f"{path.name}{end}" for end in BESIDE)]:
                    is_beside = name != path.name
                    if is_beside and item.kind not in DATABASES:
                        continue
                    if place.status(name) is not None:
                        place.rename(name, f"{path.name}{BEFORE}{name.removeprefix(path.name)}")

    def _import(self, export: Path) -> int:
        """Import into the archive that the configuration names; what is there already stays."""
        try:
            with contextlib.closing(open_archive(self._config.archive)) as archive:
                archive.prepare()
                return Import(archive, self._config.archive, False).run(Source([str(export)]))
        except (ArchiveError, ConfigError) as error:
            raise BackupError(
                f"all but the archive is restored: {error}; then: habitat import {export}"
            ) from None


def _chosen(path: Path) -> Path:
    """The backup itself, or the newest in a directory of them. Raises BackupError."""
    if not (path / backups.MANIFEST).exists() and path.is_dir():
        found = backups.complete(path)
        if not found:
            raise BackupError(f"there is no backup in {path}")
        path = found[-1]
    backups.check_roots_own(path)
    return path


def _check(backup: Path, manifest: Manifest) -> None:
    """Raise BackupError unless each file is as it was written."""
    for item in manifest.items:
        path = backup / item.name
        if backups.digest(path) != item.sha256:
            raise BackupError(f"{path} is damaged; take another backup")


def _config(backup: Path, manifest: Manifest, chosen: str | None, data_only: bool) -> Config:
    """The configuration that says where journal and archive go."""
    item = manifest.of("configuration")
    if data_only or item is None:
        return options.load_config(chosen)
    return configuration.load(str(backup / item.name), {})


def _targets(
    manifest: Manifest, config: Config, chosen: str | None, data_only: bool
) -> Iterator[tuple[Item, Path]]:
    """Each file of the backup that is to be restored, and where to."""
    journal = Path(config.journal.path).absolute()
    for item in manifest.items:
        if item.kind == "journal":
            yield item, journal
        elif item.kind == "key":
            yield item, journal.with_name(Path(item.path).name)
        elif item.kind == "archive":
            file = archive_class(config.archive.uri).file(config.archive)
            if file is None:
                raise BackupError(
                    "the archive in the backup is an SQLite file, and archive.uri names none: see"
                    " habitat import"
                )
            yield item, file.absolute()
        elif item.kind == "configuration" and not data_only:
            yield item, Path(chosen or item.path)
        elif item.kind == "file" and not data_only:
            yield item, Path(item.path)


def _is_so(item: Item, path: Path) -> bool:
    """Whether the file is there already, as in the backup."""
    beside = item.kind in DATABASES and any(Path(f"{path}{end}").exists() for end in BESIDE)
    try:
        return (
            not beside
            and path.stat().st_size == item.size
            and (backups.digest(path) == item.sha256)
        )
    except FileNotFoundError:
        return False


def _numbers(item: Item) -> tuple[int, int]:
    """The ids of the file's owner and group here. Raises BackupError."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        return pwd.getpwnam(item.owner).pw_uid, grp.getgrnam(item.group).gr_gid
    except KeyError:
        raise BackupError(
            f"this machine has no user {item.owner} or group {item.group}: install the package, or"
            " run habitat setup, before"
        ) from None


def _make_directories(directory: Path, item: Item) -> None:
    """Make the missing ones: of the gateway's user for its files, for all for root's."""
    missing = [above for above in (directory, *directory.parents) if not above.exists()]
    user, group = _numbers(item)
    for above in reversed(missing):
        with Directory(above.parent) as place:
            place.make_directory(above.name, 0o755 if user == 0 else 0o750, user, group)
