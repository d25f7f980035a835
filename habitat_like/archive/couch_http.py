"""CouchLink: one database of a CouchDB, and what its answers mean for an operator."""

from __future__ import annotations

from typing import Any

import msgspec

from habitat_like.archive.base import ArchiveUnavailable
from habitat_like.archive.couch_cluster import CouchCluster
from habitat_like.archive.couch_connection import CouchRefused, one_line
from habitat_like.archive.couch_node import Method

_HOW_TO_LOG_IN = "give the user and the password with archive.uri and archive.password_file"


class NoDatabase(ArchiveUnavailable):
    """There is no such database."""


class CouchLink:
    """The database ``database`` of ``cluster``. One thread at a time; no I/O of its own.

    ``command`` is what an admin runs to make it, where the archive has a command of its own.
    """

    def __init__(self, cluster: CouchCluster, database: str, command: str | None = None) -> None:
        self.cluster = cluster
        self.command = command
        self.user = cluster.user
        self.database = database
        #: The URI with the user but not the password.
        self.name = cluster.name_of(database)

    @property
    def drop_command(self) -> str:
        """What an admin runs to delete it."""
        made = f"curl -X DELETE -u ADMIN {self.base}/{self.database}"
        return self.command.replace("archive make", "archive drop") if self.command else made

    @property
    def base(self) -> str:
        """The address of the host that answered last, for errors."""
        return self.cluster.base

    def request(
        self,
        method: Method,
        *path: str,
        body: bytes | None = None,
        most: int | None = None,
        once: bool = False,
        **parameters: Any,
    ) -> tuple[int, bytes]:
        """Send one request below the database; see ``CouchCluster.request``."""
        return self.cluster.request(
            method, self.database, *path, body=body, most=most, once=once, **parameters
        )

    def read(self, kind: type[Any], data: bytes) -> Any:
        """``data`` as the msgspec type ``kind``. Raises ArchiveUnavailable."""
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self.unreadable(error) from None

    def unreadable(self, error: Exception) -> ArchiveUnavailable:
        """An answer is not what CouchDB says."""
        text = f"sent an answer that can't be read ({one_line(str(error))})"
        return self.unavailable(f"{text}: check that archive.uri leads to CouchDB")

    def unavailable(self, what: str) -> ArchiveUnavailable:
        """The error with the one line "CouchDB at URL WHAT"."""
        return ArchiveUnavailable(f"CouchDB at {self.base} {what}")

    def explain(self, refused: CouchRefused) -> ArchiveUnavailable:  # noqa: PLR0911 (one a status)
        """What a refused request means for the operator."""
        who = f"user {self.user!r}" if self.user else "a request without user"
        said = one_line(refused.reason or refused.error)
        status = refused.status
        if status == 401:
            if self.user is None:
                return self.unavailable(f"requires a password (401): {_HOW_TO_LOG_IN}")
            return self.unavailable(
                f"refused the password of {who} (401): check archive.uri and archive.password_file"
            )
        if refused.is_locked:
            return self.unavailable(
                f"lets {who} in no more for some minutes, after too many wrong passwords (403):"
                " check archive.uri and archive.password_file"
            )
        if status == 403:
            return self.unavailable(
                f"gives {who} no right to database {self.database!r} (403, {said}):"
                f" have an admin put that user into {self.base}/{self.database}/_security"
            )
        if status == 404:
            return NoDatabase(
                f"CouchDB at {self.base} has no database {self.database!r} (404, {said}):"
                " 'habitat serve' creates it, or check archive.uri"
            )
        if 300 <= status < 400:
            return self.unavailable(f"redirects elsewhere ({status}): put that into archive.uri")
        if status == 429 or status >= 500 or refused.error == "nodedown":
            return self.unavailable(f"can't serve now ({status}, {said}): look at its log")
        return self.unavailable(f"refused the request ({refused}): check archive.uri and its log")
