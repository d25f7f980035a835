"""Which archive ``archive.uri`` names: its scheme selects a class."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from habitat_like.archive.base import Archive, ArchiveClass
from habitat_like.config.archive_uri import mask as plain_mask
from habitat_like.config.imports import import_path
from habitat_like.config.keys import ArchiveConfig, Config, ConfigError

#: The archives that come with the program, by scheme. Each is imported on use, so that the other's
#: library isn't loaded.
BUILT_IN = {
    "sqlite": "habitat_like.archive.sqlite.SqliteArchive",
    "couchdb": "habitat_like.archive.couch_scheme.CouchScheme",
    "couchdbs": "habitat_like.archive.couch_scheme.CouchScheme",
}
#: The entry points by which an installed package provides archives: the name is the scheme.
GROUP = "habitat_like.archives"


def archive_class(uri: str) -> ArchiveClass:
    """The class that ``uri``'s scheme selects.

    A scheme is built in, an entry point of an installed package, or the dotted path of a class, as
    in ``my_module.MyArchive:anything``. Raises ConfigError.
    """
    scheme, colon, _ = uri.partition(":")
    path = BUILT_IN.get(scheme) or (scheme if "." in scheme and "@" not in scheme else "")
    if not colon or not path:
        from importlib.metadata import entry_points  # noqa: PLC0415 (slow, and few need it)

        found = tuple(entry_points(group=GROUP, name=scheme)) if colon else ()
        if not found:
            text = (
                f"{plain_mask(uri)!r} is neither sqlite:PATH nor couchdb://user@host:5984/database"
            )
            raise ConfigError(text, "archive.uri")
        path = found[0].value.replace(":", ".")
    try:
        made = import_path(path)
    except ValueError as error:
        raise ConfigError(str(error), "archive.uri") from None
    lacking = [name for name in _NEEDED if not callable(getattr(made, name, None))]
    if lacking:
        raise ConfigError(f"{path} is not an archive class: it has no {lacking[0]}", "archive.uri")
    return cast("ArchiveClass", made)


def open_archive(config: ArchiveConfig) -> Archive:
    """The archive that ``archive.uri`` names, not yet connected.

    Does no I/O except reading ``archive.password_file``: a CouchDB that is down, or a file that
    does not exist, shows at the first call. Raises ConfigError when the URI or the password file
    can't be used. The result is for one thread at a time (see ``Archive``).
    """
    return archive_class(config.uri).from_config(config)


def check(config: ArchiveConfig) -> None:
    """Raise ConfigError if ``archive.uri`` names no archive; no I/O but importing its class."""
    archive_class(config.uri).check(config)


def mask(uri: str) -> str:
    """``uri`` without its secrets, whatever it is."""
    try:
        return archive_class(uri).mask(uri)
    except ConfigError:
        return plain_mask(uri)


def disk_places(config: Config) -> dict[str, Path]:
    """The directories that grow with incoming data: the journal's, and an archive file's."""
    places = {"journal": Path(config.journal.path).resolve().parent}
    file = archive_class(config.archive.uri).file(config.archive)
    if file is not None:
        places["archive"] = file.resolve().parent
    return places


_NEEDED = [name for name in vars(ArchiveClass) if not name.startswith("_")]
