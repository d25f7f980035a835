"""Why CouchDB refuses documents: because of the documents, or of the database they go to.

A fault of the database (it is partitioned, takes no writes, or has a limit below what messages
need) affects every document, and an operator can fix it: the messages wait. A document is at
fault only if others are accepted, or if CouchDB has judged its own content.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from habitat_like.archive.batch import BatchDocument
from habitat_like.archive.couch_connection import CouchRefused, one_line
from habitat_like.archive.couch_http import CouchLink

#: Document size in bytes that every database must accept.
ORDINARY = 4096

#: A document that CouchDB refuses, with what it says.
RefusedDocument = tuple[BatchDocument, CouchRefused]

_PARTITIONED = (
    "is partitioned, and takes no ids of messages: have archive.uri name a database that is not"
    " (one made without ?partitioned=true)"
)


def partitioned(link: CouchLink) -> str:
    """What is wrong with a partitioned database, as one line."""
    return f"has a database {link.database!r} that {_PARTITIONED}"


def fault(link: CouchLink, refusals: Sequence[RefusedDocument], taken: int) -> str | None:
    """What is wrong with the database, to follow "CouchDB at URL"; None: it's the documents.

    ``refusals`` are all those of a batch, ``taken`` is how many of its other documents are
    archived. Raises ArchiveUnavailable and CouchRefused if CouchDB can't be asked.
    """
    for _, refused in refusals:
        # The ids are ours, and valid for every database but a special one.
        if refused.error == "illegal_docid":
            return _wrong_ids(link, refused.reason)
    if taken:
        return None
    _, first = refusals[0]
    said = one_line(": ".join(filter(None, (first.error, first.reason))))
    words = {refused.error for _, refused in refusals}
    if words <= {"forbidden", "unauthorized"} and not _judges_documents(link):
        who = f"user {link.user!r}" if link.user else "a request without user"
        return f"does not let {who} write to {link.database!r} ({said}): ask its admin"
    if any(refused.status == 413 and len(entry.body) <= ORDINARY for entry, refused in refusals):
        return (
            f"takes no document of {ORDINARY} bytes (413, {said}): raise max_document_size and"
            " max_http_request_size, and the limit of what stands between"
        )
    if any(refused.status for _, refused in refusals):
        try:
            link.request("post", "_bulk_docs", body=b'{"docs":[]}')
        except CouchRefused as nothing:
            return f"refuses every request to store ({nothing}): look at its log"
    return None


def _wrong_ids(link: CouchLink, reason: str) -> str:
    if "partition" in reason.lower():
        return partitioned(link)
    return f"refuses the ids of messages ({one_line(reason)}): look at its limits"


class _Design(msgspec.Struct):
    validate_doc_update: Any = None


class _Row(msgspec.Struct):
    doc: _Design | None = None


class _Rows(msgspec.Struct):
    rows: list[_Row]


def _judges_documents(link: CouchLink) -> bool:
    """Whether one of the database's validation functions looks at the document at all.

    One that never names its first argument only checks who writes, or refuses everybody.
    """
    _, data = link.request(
        "get", "_all_docs", startkey='"_design/"', endkey='"_design0"', include_docs="true"
    )
    functions = [
        row.doc.validate_doc_update
        for row in link.read(_Rows, data).rows
        if row.doc is not None and row.doc.validate_doc_update is not None
    ]
    return any(_names_document(str(function)) for function in functions)


def _names_document(function: str) -> bool:
    """Whether a function's source names its first argument; True if that is unclear."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", function, flags=re.DOTALL)
    head = re.match(r"\s*(?:\(\s*)?function\s*\w*\s*\(\s*([\w$]*)|\s*\(\s*([\w$]*)", text)
    if head is None or "arguments" in text or "eval" in text:
        return True
    name = head[1] or head[2]
    if not name:
        return False
    return len(re.findall(rf"(?<![\w$]){re.escape(name)}(?![\w$])", text)) > 1
