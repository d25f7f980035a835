"""The account with which a gateway writes to CouchDB, made by an admin.

Its rights are those of a member of one database: documents, but no design documents
(https://docs.couchdb.org/en/stable/api/database/security.html). Accounts are documents of the
database ``_users`` (https://docs.couchdb.org/en/stable/intro/security.html#users-documents).
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import msgspec

from habitat_like.archive import couch_design
from habitat_like.archive.base import ArchiveUnavailable
from habitat_like.archive.couch_cluster import CouchCluster
from habitat_like.archive.couch_connection import CouchRefused
from habitat_like.archive.couch_http import CouchLink
from habitat_like.archive.couch_uri import CouchUri
from habitat_like.archive.months import PLACE, TEMPLATE, UNDATED, following, month_of

TIMEOUT = 30.0
USERS = "_users"
#: With a database a month: months made ahead, and those that must be there.
AHEAD, SOON = 12, 1


def lacking(uri: CouchUri) -> str | None:
    """What the account of ``uri`` can't do that a gateway must; None if all is well.

    Writes nothing. Raises ArchiveUnavailable where CouchDB can't be asked.
    """
    with contextlib.closing(CouchCluster(uri, TIMEOUT)) as cluster:
        for database in _databases(uri, SOON):
            link = CouchLink(cluster, database)
            try:
                link.request("get")
                missing = couch_design.lacking(link)
                if uri.user not in _security(link)["members"]["names"]:
                    return f"{uri.user!r} is no member of {database!r}"
            except CouchRefused as refused:
                if refused.status in (401, 403, 404):
                    return str(link.explain(refused))
                raise link.explain(refused) from None
            if missing:
                return f"{database!r} has no {', '.join(missing)}"
    return None


def make(admin: CouchUri, account: CouchUri) -> None:
    """Have databases, indexes, account and rights. ``admin`` is the same URI with its credentials.

    An account that is there gets the password of ``account``. Raises ArchiveUnavailable.
    """
    with contextlib.closing(CouchCluster(admin, TIMEOUT)) as cluster:
        users = CouchLink(cluster, USERS)
        try:
            couch_design.make_database(users)
            _put_account(users, account)
            for database in _databases(admin, AHEAD):
                link = CouchLink(cluster, database)
                couch_design.make_database(link)
                if warnings := couch_design.sync(link):
                    raise ArchiveUnavailable(warnings[0])
                _put_security(link, account.user or "")
        except CouchRefused as refused:
            raise users.explain(refused) from None


def _databases(uri: CouchUri, ahead: int) -> list[str]:
    """The databases that the account needs: with one a month, those of so many months ahead.

    The template is for those that an admin makes later.
    """
    if PLACE not in uri.database:
        return [uri.database]
    this = month_of(time.time())
    names = [TEMPLATE, UNDATED, *(following(this, step) for step in range(ahead + 1))]
    return [uri.database.replace(PLACE, name) for name in names]


def _put_account(users: CouchLink, account: CouchUri) -> None:
    identifier = f"org.couchdb.user:{account.user}"
    wanted: dict[str, Any] = {"roles": [], "type": "user"}
    try:
        _, data = users.request("get", identifier)
        wanted = users.read(dict[str, Any], data)
    except CouchRefused as refused:
        if refused.status != 404:
            raise
    wanted |= {"name": account.user, "password": account.password}
    users.request("put", identifier, body=msgspec.json.encode(wanted))


def _put_security(link: CouchLink, name: str) -> None:
    security = _security(link)
    if name in security["members"]["names"]:
        return
    security["members"]["names"].append(name)
    # Without a role here, CouchDB takes every member of the server for an admin of the database.
    if not security["admins"]["roles"] and not security["admins"]["names"]:
        security["admins"]["roles"] = ["_admin"]
    link.request("put", "_security", body=msgspec.json.encode(security))


def _security(link: CouchLink) -> dict[str, Any]:
    """Who may do what with the database, with all four lists."""
    _, data = link.request("get", "_security")
    found: dict[str, Any] = link.read(dict[str, Any], data)
    for group in ("admins", "members"):
        below = found.setdefault(group, {})
        below.setdefault("names", [])
        below.setdefault("roles", [])
    return found
