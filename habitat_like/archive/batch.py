"""A batch of documents on its way into an archive: which can be sent, and their ids."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from habitat_like.archive.base import Rejected


class BatchDocument(msgspec.Struct, frozen=True):
    """One document of a batch.

    ``index`` is its position in the batch passed to ``store``, ``id`` its ``_id`` and ``body``
    its JSON bytes. ``repeats`` are the positions of later documents with the same ``_id``: the
    first one represents them all.
    """

    index: int
    id: str
    body: bytes
    repeats: tuple[int, ...] = ()

    def rejected(self, reason: str) -> list[Rejected]:
        """This document and its repeats as refused, with the one-line ``reason``."""
        return [Rejected(index, reason) for index in (self.index, *self.repeats)]


class _Head(msgspec.Struct):
    """The one field an archive needs; the rest is only checked to be JSON."""

    id: str = msgspec.field(name="_id")


_HEAD = msgspec.json.Decoder(_Head)
_HEADS = msgspec.json.Decoder(list[_Head])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def sort_out(documents: Sequence[bytes]) -> tuple[list[BatchDocument], list[Rejected]]:
    """Split a batch into the documents that can be sent, each id once, and those that can't.

    A document is refused when it is not one JSON object in UTF-8 with a string ``_id`` that is
    neither empty nor starts with an underscore (CouchDB reserves those names) and holds no NUL.
    When all are fine, this costs one call of the decoder.
    """
    rejected: list[Rejected] = []
    try:
        joined = b"[" + b",".join(documents) + b"]"
        joined.decode()
        ids = [head.id for head in _HEADS.decode(joined)]
    except _UNREADABLE:
        ids = []
    if (
        len(ids) == len(documents) == len(set(ids))
        and all(ids)
        and not any(name[0] == "_" or "\0" in name for name in ids)
    ):
        return list(map(BatchDocument, range(len(ids)), ids, documents)), rejected
    found: dict[str, BatchDocument] = {}
    for index, body in enumerate(documents):
        try:
            name = _name(body)
        except ValueError as error:
            rejected.append(Rejected(index, str(error)))
            continue
        first = found.setdefault(name, BatchDocument(index, name, body))
        if first.index != index:
            repeats = (*first.repeats, index)
            found[name] = msgspec.structs.replace(first, repeats=repeats)
    return list(found.values()), rejected


def _name(body: bytes) -> str:
    """The ``_id`` of one document. Raises ValueError with the reason why it can't be stored."""
    try:
        body.decode()
        name = _HEAD.decode(body).id
    except UnicodeDecodeError:
        raise ValueError("the document is not UTF-8 text") from None
    except RecursionError:
        raise ValueError("the document is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"the document is not a JSON object with an _id: {error}") from None
    if not name or name[0] == "_" or "\0" in name:
        raise ValueError(f"_id {name!r} is empty, starts with an underscore or holds a NUL")
    return name
