"""Rights of a new database: the same as those of another one.

CouchDB keeps them in the database: who may read and write in ``_security``
(https://docs.couchdb.org/en/stable/api/database/security.html), which documents are refused in
validation functions of design documents.
"""

from __future__ import annotations

from typing import Any

import msgspec

from habitat_like.archive import couch_local
from habitat_like.archive.couch_connection import CouchRefused
from habitat_like.archive.couch_http import CouchLink

#: What a new database has, before and since CouchDB 3.
_UNTOUCHED: tuple[dict[str, Any], ...] = (
    {},
    {"admins": {}, "members": {}},
    {"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}},
)


class _Row(msgspec.Struct):
    id: str
    doc: dict[str, Any] | None = None


class _Rows(msgspec.Struct):
    rows: list[_Row]


def copy(source: CouchLink, target: CouchLink) -> None:
    """Give ``target`` the rights of ``source``, if nobody has given it any.

    Raises CouchRefused, also where the account may not, and ArchiveUnavailable.
    """
    wanted = _security(source)
    if wanted not in _UNTOUCHED and _security(target) in _UNTOUCHED:
        _put_security(target, wanted)
    present = _guards(target)
    for name, guard in _guards(source).items():
        if name not in present:
            del guard["_rev"]
            try:
                target.request("put", *name.split("/", 1), body=msgspec.json.encode(guard))
            except CouchRefused as refused:
                if refused.status != 409:  # another gateway was faster
                    raise


def _security(link: CouchLink) -> dict[str, Any]:
    _, data = link.request("get", "_security")
    found: dict[str, Any] = link.read(dict[str, Any], data)
    return found


def _put_security(link: CouchLink, security: dict[str, Any]) -> None:
    """Raises CouchRefused with 403 where the account may not.

    CouchDB 3 then says that no majority of nodes did it (500, ``fabric_db_meta.erl``).
    """
    try:
        link.request("put", "_security", body=msgspec.json.encode(security))
    except CouchRefused as refused:
        if refused.reason == "no_majority" and couch_local.quorum_met(link.request):
            raise CouchRefused(403, "forbidden", refused.reason) from None
        raise


def _guards(link: CouchLink) -> dict[str, dict[str, Any]]:
    """The design documents with a validation function, by their ids."""
    _, data = link.request(
        "get", "_all_docs", startkey='"_design/"', endkey='"_design0"', include_docs="true"
    )
    rows: list[_Row] = link.read(_Rows, data).rows
    return {
        row.id: row.doc
        for row in rows
        if row.doc is not None and row.doc.get("validate_doc_update") is not None
    }
