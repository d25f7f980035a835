"""Which databases there are, asked for in whatever way the account may.

``_dbs_info`` tells it for a list of names, from CouchDB 3.3 on only to admins by default
(https://docs.couchdb.org/en/stable/api/server/common.html#post--_dbs_info); so does ``_all_dbs``.
Else each database is asked: hundreds, most of which don't exist.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from habitat_like.archive.couch_cluster import CouchCluster
from habitat_like.archive.couch_connection import CouchRefused

#: Names in one request: CouchDB's own limit (max_db_number_for_dbs_info_req).
_AT_ONCE = 100
#: Seconds for which a database that did not exist is not asked by itself again.
_MISSING = 30.0


class _Row(msgspec.Struct):
    key: str
    info: dict[str, Any] | None = None


class Listing:
    """Finds out which of some databases of ``cluster`` exist."""

    def __init__(self, cluster: CouchCluster) -> None:
        self._cluster = cluster
        # When, by the monotonic clock, each database did not exist.
        self._missing: dict[str, float] = {}
        self._ways: list[Callable[[Sequence[str]], set[str]]] = [
            self._by_info,
            self._by_list,
            self._one_by_one,
        ]

    def existing(self, names: Sequence[str]) -> set[str]:
        """Those of the sorted ``names`` that exist. Raises CouchRefused, ArchiveUnavailable."""
        while len(self._ways) > 1:
            try:
                return self._ways[0](names)
            except (CouchRefused, msgspec.DecodeError) as error:
                if isinstance(error, CouchRefused) and error.status >= 500:
                    raise
                del self._ways[0]  # not this server, or not this account
        return self._ways[0](names)

    def made(self, name: str) -> None:
        """The database of this name exists now."""
        self._missing.pop(name, None)

    def _by_info(self, names: Sequence[str]) -> set[str]:
        found = set()
        for at in range(0, len(names), _AT_ONCE):
            body = msgspec.json.encode({"keys": names[at : at + _AT_ONCE]})
            _, data = self._cluster.request("post", "_dbs_info", body=body)
            rows = msgspec.json.decode(data, type=list[_Row])
            found |= {row.key for row in rows if row.info is not None}
        return found

    def _by_list(self, names: Sequence[str]) -> set[str]:
        ends = {"startkey": names[0], "endkey": names[-1]} if names else {}
        parameters: dict[str, Any] = {
            key: msgspec.json.encode(one).decode() for key, one in ends.items()
        }
        _, data = self._cluster.request("get", "_all_dbs", **parameters)
        return set(names) & set(msgspec.json.decode(data, type=list[str]))

    def _one_by_one(self, names: Sequence[str]) -> set[str]:
        found = set()
        now = time.monotonic()
        for name in names:
            if name in self._missing and now < self._missing[name] + _MISSING:
                continue
            try:
                self._cluster.request("get", name)
            except CouchRefused as refused:
                if refused.status == 404:
                    self._missing[name] = now
                    continue
                if refused.status not in (401, 403):  # it is there, and closed
                    raise
            found.add(name)
        return found
