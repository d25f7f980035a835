"""What a CouchDB database needs besides documents: its Mango indexes and its views.

They are defined by the files in ``design/``: ``indexes.json`` gives the fields of each index by
the name of its design document, ``statistics.json`` the views that need a reduce, with their
functions in separate files. Each index has its own design document, so that a new one does not
make CouchDB rebuild the others. Rules:
https://docs.couchdb.org/en/stable/api/database/find.html#db-index and
https://docs.couchdb.org/en/stable/ddocs/ddocs.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from functools import partial
from importlib.resources import files
from typing import Any

import msgspec

from habitat_like.archive import couch_place
from habitat_like.archive.base import ArchiveUnavailable
from habitat_like.archive.couch_connection import CouchRefused
from habitat_like.archive.couch_http import CouchLink

STATISTICS = "habitat-statistics"

#: Another gateway syncing at the same time makes ours conflict; then we look again.
_TRIES = 5


def index_name(ddoc: str) -> str:
    """The name of the one index in the design document ``ddoc``."""
    return ddoc.removeprefix("habitat-")


def indexes() -> dict[str, list[str]]:
    """The indexed fields, all ascending, by the name of the design document."""
    return msgspec.json.decode(_read("indexes.json"), type=dict[str, list[str]])


def views(names: Collection[str]) -> dict[str, dict[str, str]]:
    """The views of these ``names``, with their functions."""
    found = msgspec.json.decode(_read("statistics.json"), type=dict[str, dict[str, str]])
    for view in found.values():
        # CouchDB takes a function, not a script: what precedes it is for readers of the file.
        text = _read(view["map"]).decode()
        view["map"] = text[text.index("function") :].strip()
    return {name: found[name] for name in names}


def make_database(link: CouchLink) -> None:
    """Create the database if missing. Raises ArchiveUnavailable, also if it is partitioned."""
    try:
        _, data = link.request("get")
    except CouchRefused as refused:
        if refused.status != 404:
            raise link.explain(refused) from None
        if is_elsewhere(link):
            return
    else:
        if link.read(_Information, data).is_partitioned:
            raise link.unavailable(couch_place.partitioned(link))
        return
    if link.cluster.is_several:
        _turn_to_majority(link)
    plain = f"curl -X PUT -u ADMIN {link.base}/{link.database}"
    try:
        link.request("put")
    except CouchRefused as refused:
        # Another gateway was faster, or as fast (500 of fabric_db_create.erl).
        if refused.error == "file_exists" or refused.reason == "conflict":
            return
        if refused.status in (401, 403):
            raise link.unavailable(
                f"has no database {link.database!r}, and user {link.user!r} may not create it "
                f"({refused.status}): have an admin run {link.command or plain}"
            ) from None
        raise link.explain(refused) from None


def is_elsewhere(link: CouchLink) -> bool:
    """Whether another node has the database that the current one says is missing.

    Then the current one is no part of the cluster any more: it is left, and the other one asked
    from now on.
    """
    cluster = link.cluster
    missing = cluster.current
    for number in range(len(cluster.states())):
        if number == missing:
            continue
        with contextlib.suppress(CouchRefused, ArchiveUnavailable):
            cluster.ask_one(number, "get", link.database)
            cluster.current = missing
            cluster.leave(f"has no database {link.database!r}, which another node has")
            cluster.current = number
            return True
    cluster.current = missing
    return False


def _turn_to_majority(link: CouchLink) -> None:
    """Have a node that reaches most of its cluster get the next request, if nodes say which do.

    A database made on both sides of a split has two sets of files, one of which is lost to it when
    the split ends; and one made by a node that is cut off keeps the others from being asked.
    """
    cluster, problem = link.cluster, None
    count, first = len(cluster.states()), cluster.current
    for number in [(first + step) % count for step in range(count)]:
        with contextlib.suppress(CouchRefused, ArchiveUnavailable):
            _, data = cluster.ask_one(number, "get", "_membership")
            about = link.read(_Membership, data)
            if 2 * len(about.all_nodes & about.cluster_nodes) > len(about.cluster_nodes):
                return
            what = "reaches too few nodes of its cluster to make a database"
            cluster.leave(what)
            problem = link.unavailable(f"{what}: look at the nodes of the cluster")
    if problem is not None:
        raise problem
    cluster.current = first


def sync(link: CouchLink, wanted: Collection[str] = ()) -> list[str]:
    """Put the indexes, and the ``wanted`` views, that are missing or differ.

    Unwanted views stay in the database: an operator removes them.

    Returns at most one warning, for missing rights: documents can still be stored. Raises
    ArchiveUnavailable for anything else.
    """
    missing: list[str] = []
    for ddoc, fields in indexes().items():
        if not _with_rights(link, partial(_sync_index, link, ddoc, fields)):
            missing.append(ddoc)
    if wanted and not _with_rights(link, partial(_sync_views, link, wanted)):
        missing.append(STATISTICS)
    if not missing:
        return []
    return [
        f"CouchDB at {link.base} does not let user {link.user!r} write design documents in"
        f" {link.database!r}, and it lacks {', '.join(missing)}: messages are archived, but queries"
        f" can fail until an admin runs {admin_command(link)}"
    ]


def admin_command(link: CouchLink) -> str:
    """The command with which an admin of CouchDB sets up the database."""
    return link.command or as_admin(link.name, "habitat check")


def as_admin(name: str, command: str) -> str:
    """``command`` as an admin of CouchDB runs it on the archive ``name``."""
    scheme, _, rest = name.partition("://")
    return (
        f"HABITAT_ARCHIVE_URI='{scheme}://ADMIN@{rest.rpartition('@')[2]}'"
        f" HABITAT_ARCHIVE_PASSWORD_FILE=FILE {command}"
    )


class _Information(msgspec.Struct):
    """A database's description shows that it is CouchDB that answers."""

    db_name: str
    update_seq: Any
    props: Any = None

    @property
    def is_partitioned(self) -> bool:
        return isinstance(self.props, dict) and bool(self.props.get("partitioned"))


class _Membership(msgspec.Struct):
    """The nodes that a node is connected with, and those that belong to its cluster."""

    all_nodes: set[str]
    cluster_nodes: set[str]


class _Index(msgspec.Struct):
    name: str = ""
    ddoc: str | None = None
    definition: dict[str, Any] = msgspec.field(name="def", default_factory=dict)


class _Revision(msgspec.Struct):
    rev: str = msgspec.field(name="_rev")


class _Indexes(msgspec.Struct):
    indexes: list[_Index]


def _with_rights(link: CouchLink, step: Callable[[], None]) -> bool:
    """Do ``step`` until it meets no conflict; False if the user lacks the right."""
    for _ in range(_TRIES):
        try:
            step()
        except CouchRefused as refused:
            if refused.status in (401, 403):
                return False
            if refused.status != 409:
                raise link.explain(refused) from None
        else:
            return True
    raise ArchiveUnavailable(
        f"CouchDB at {link.base}: something else keeps changing the design documents of"
        f" {link.database!r}: let one gateway start at a time"
    )


def _sync_index(link: CouchLink, ddoc: str, fields: list[str]) -> None:
    _, data = link.request("get", "_index")
    name = index_name(ddoc)
    for index in link.read(_Indexes, data).indexes:
        if index.ddoc == f"_design/{ddoc}" and index.name == name:
            if _same(index.definition, fields):
                return
            _, data = link.request("get", "_design", ddoc)
            revision = link.read(_Revision, data).rev
            link.request("delete", "_design", ddoc, rev=revision)
    wanted = {"index": {"fields": fields}, "ddoc": ddoc, "name": name, "type": "json"}
    link.request("post", "_index", body=msgspec.json.encode(wanted))


def _same(definition: dict[str, Any], fields: list[str]) -> bool:
    wanted = [{field: "asc"} for field in fields]
    given = definition.get("fields")
    return given in (wanted, fields) and not definition.get("partial_filter_selector")


def _sync_views(link: CouchLink, names: Collection[str]) -> None:
    path = ("_design", STATISTICS)
    wanted = views(names)
    try:
        _, data = link.request("get", *path)
    except CouchRefused as refused:
        if refused.status != 404:
            raise
        present: dict[str, Any] = {"_id": "/".join(path), "language": "javascript", "views": {}}
    else:
        present = link.read(dict[str, Any], data)
        if {name: present["views"].get(name) for name in names} == wanted:
            return
    present["views"] = {**present["views"], **wanted}
    link.request("put", *path, body=msgspec.json.encode(present))


def _read(name: str) -> bytes:
    return files(__package__).joinpath("design", name).read_bytes()


def lacking(link: CouchLink) -> list[str]:
    """The design documents of indexes that are missing or differ; writes nothing.

    Raises CouchRefused and ArchiveUnavailable.
    """
    _, data = link.request("get", "_index")
    present = {
        (index.ddoc, index.name): index.definition for index in link.read(_Indexes, data).indexes
    }
    return [
        ddoc
        for ddoc, fields in indexes().items()
        if not _same(present.get((f"_design/{ddoc}", index_name(ddoc)), {}), fields)
    ]
