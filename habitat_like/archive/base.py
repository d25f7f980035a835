"""What an archive must do: the interface of the archive sink and the operator's commands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import msgspec

from habitat_like.times import MAX_TIME

if TYPE_CHECKING:
    from habitat_like.config.keys import ArchiveConfig

Document = dict[str, Any]


def to_json(document: Any) -> bytes:
    """``document`` as one line of JSON in UTF-8."""
    try:
        return msgspec.json.encode(document)
    except (OverflowError, UnicodeEncodeError):
        # Integers over 64 bits and lone surrogates, which other writers of the database may leave.
        return json.dumps(document, separators=(",", ":")).encode("ascii")


class ArchiveError(Exception):
    """The archive could not do what was asked; the text is one line saying what to do."""


class ArchiveUnavailable(ArchiveError):
    """The archive can't be used now (down, slow, wrong password, no rights): try again later."""


class Rejected(msgspec.Struct, frozen=True):
    """One document that the archive refuses for good.

    ``index`` is its position in the batch passed to ``store``, ``reason`` one line.
    """

    index: int
    reason: str


class Node(msgspec.Struct, frozen=True):
    """One of the servers that hold an archive.

    ``state`` is "left" after a failure, until it works again; then ``problem`` is one line, and
    ``since`` when it began, in UNIX seconds.
    """

    name: str
    state: Literal["ok", "left", "not asked yet"]
    problem: str | None = None
    since: float | None = None


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Selects archived messages.

    Times are UNIX seconds and compare with ``time_created``; ``since`` is inclusive, ``until``
    exclusive. ``limit`` is the maximum number of documents, None for all. Documents marked as
    suspicious are left out unless ``suspicious`` is set.

    ``after`` is the ``time_created`` and ``_id`` of a document, which need not exist: only
    documents after it in the query's order match. So the last document of a page leads to the
    next page, however far on and whatever has been archived meanwhile.
    """

    callsign: str | None = None
    type: str | None = None
    since: int = 0
    until: int = MAX_TIME + 1
    limit: int | None = None
    order: Literal["asc", "desc"] = "desc"
    suspicious: bool = False
    after: tuple[int, str] | None = None


class Archive(Protocol):
    """A store of immutable documents, each known by its ``_id``.

    An archive object is used by one thread at a time, except ``interrupt``, which any thread may
    call. Every method but ``interrupt`` and ``close`` raises ``ArchiveUnavailable`` when the
    archive can't be used now.
    """

    @property
    def name(self) -> str:
        """The archive's address for display, without secrets."""

    def prepare(self) -> list[str]:
        """Make the database and sync its indexes and views, where their content differs.

        Returns one-line warnings about what could not be set up (missing rights) when documents
        can still be stored. Raises ArchiveUnavailable.
        """

    def store(self, documents: Sequence[bytes]) -> list[Rejected]:
        """Store ``documents`` (each the JSON bytes of one document, with its ``_id``) durably.

        On return, every document is in the archive and survives a power loss, except those in
        the returned list, which the archive refuses for good. A document whose ``_id`` is
        already archived counts as stored and leaves the archived one unchanged. Raises
        ArchiveUnavailable when any of the batch may not be durable; storing the same batch
        again is then correct and harmless.
        """

    def query(self, query: Query) -> Iterator[Document]:
        """Yield the documents that match, ordered by ``time_created`` then ``_id``, streamed.

        Ids are in the order of their bytes in UTF-8.
        """

    def lines(self, query: Query) -> Iterator[bytes]:
        """As ``query``, each document as one line of JSON in UTF-8, without the line's end."""

    def get(self, identifier: str) -> Document | None:
        """The document with this ``_id``, without ``_rev``; None if there is none."""

    def position(self) -> str:
        """The current end of the archive's feed of new documents, for ``follow``."""

    def follow(self, position: str) -> tuple[list[Document], str]:
        """The documents archived since ``position``, in order of arrival, and the new position.

        Returns at once, with an empty list when there are none.
        """

    def interrupt(self) -> None:
        """Make a call that hangs in another thread fail soon with ArchiveUnavailable.

        Calls made after ``interrupt`` fail at once as well. Thread-safe.
        """

    def close(self) -> None:
        """Release connections and files."""


class ArchiveClass(Protocol):
    """What an archive's class can do before there is an archive.

    The scheme of ``archive.uri`` selects the class; only the class knows what the rest of the URI
    means.
    """

    def from_config(self, config: ArchiveConfig) -> Archive:
        """The archive that ``config`` names, not yet connected.

        Does no I/O except reading ``archive.password_file``. Raises ConfigError.
        """

    def check(self, config: ArchiveConfig) -> None:
        """Raise ConfigError if ``config`` can't name an archive of this class; no I/O."""

    def mask(self, uri: str) -> str:
        """``uri`` without its secrets, for display."""

    def file(self, config: ArchiveConfig) -> Path | None:
        """The local file that holds the archive, None if it is elsewhere."""


@runtime_checkable
class FileArchive(Protocol):
    """Extra methods of an archive whose files can be deleted or replaced while they are open."""

    def tend(self) -> None:
        """Do work best done while there is nothing to store. Raises ArchiveUnavailable."""

    def gone(self) -> str | None:
        """What happened to it and what to do, if only a person can restore it; else None.

        Storing meanwhile might start a new archive in place of the old one.
        """

    def begun_anew(self) -> str | None:
        """Why documents stored earlier may be missing, reported once; None if all are there.

        A caller that still has earlier documents must store them again.
        """


@runtime_checkable
class ClusterArchive(Protocol):
    """Extra methods of an archive on several servers."""

    def nodes(self) -> list[Node]:
        """What is known about each server. Thread-safe."""

    def ask_nodes(self) -> list[Node]:
        """Ask each server now; a node that is well has no ``problem``."""

    def tend_nodes(self) -> None:
        """Ask the servers that failed, where it is time to. Raises nothing."""


class Portion(msgspec.Struct, frozen=True):
    """A part of an archive as it is listed: a month.

    ``bytes`` are those on disk, None if unknown; ``first`` and ``last`` are the times created of
    its messages in UNIX seconds, None where it has none.
    """

    name: str
    messages: int
    bytes: int | None = None
    first: float | None = None
    last: float | None = None


class Dropped(msgspec.Struct, frozen=True):
    """What one step of ``drop_before`` did.

    ``messages`` went, with the whole ``portions``; ``kept`` is why others stay, a line each.
    ``more``: the next step should come soon.
    """

    messages: int = 0
    portions: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    more: bool = False


@runtime_checkable
class ListedArchive(Protocol):
    """An extra method of an archive that can tell what it has."""

    def portions(self) -> Iterator[Portion]:
        """What there is, from the oldest on. Raises ArchiveUnavailable."""


@runtime_checkable
class HeldArchive(Protocol):
    """An extra method of an archive from which messages may go while it is read."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep everybody from dropping anything while the context lasts and queries run in it.

        Raises ArchiveUnavailable.
        """


@runtime_checkable
class AgingArchive(ListedArchive, HeldArchive, Protocol):
    """Extra methods of an archive that can let its old messages go.

    All raise ArchiveUnavailable.
    """

    def expired(self, before: int) -> Iterator[Portion]:
        """What ``drop_before`` would drop; changes nothing."""

    def drop_before(self, before: int) -> Dropped:
        """Drop some of what was created before that UNIX time, in a short step.

        Nothing goes while somebody holds the archive.
        """

    def drop(self, name: str) -> Dropped:
        """Drop the portion of that name, whatever its age. Raises ArchiveError if there is none."""


@runtime_checkable
class ReadBackArchive(Protocol):
    """An extra method of an archive with several copies of a document."""

    def read_back(self, identifier: str) -> Document | None:
        """As ``get``, from as many copies as make a quorum. Raises ArchiveUnavailable."""


def holding(archive: Archive) -> AbstractContextManager[None]:
    """Keep everybody from dropping messages while the context lasts, where that could happen."""
    return archive.hold() if isinstance(archive, HeldArchive) else nullcontext()
