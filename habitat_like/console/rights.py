"""Rights: what a user may see and change, by role.

A viewer sees everything but the addresses of stations and the settings, and changes nothing; an
operator may do all. A view that declares nothing may be looked at (GET) by both, and sent to (any
other method) by operators alone: ``@needs(OPERATOR)`` or ``@needs(VIEWER)`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import msgspec
from flask import Flask, current_app, g, request

from habitat_like.archive import Archive, Query
from habitat_like.archive.base import Document, Rejected, holding, to_json
from habitat_like.console.users import OPERATOR, VIEWER

View = TypeVar("View", bound=Callable[..., Any])

#: The key that has a station's address, in documents and in what pages show.
ADDRESS = "ip"

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def needs(role: str) -> Callable[[View], View]:
    """Declare the role that a view needs, whatever the method. Goes below ``@page``."""

    def declare(view: View) -> View:
        view.__dict__["needs"] = role
        return view

    return declare


def role_for(app: Flask, endpoint: str, method: str) -> str:
    """The role that a user must have."""
    declared = getattr(app.view_functions[endpoint], "needs", None)
    if declared is not None:
        return str(declared)
    return VIEWER if method in ("GET", "HEAD", "OPTIONS") else OPERATOR


def may(endpoint: str, method: str) -> bool:
    """Whether the user of the present request may send this."""
    needed = role_for(current_app, endpoint, method)
    return needed == VIEWER or is_operator()


def is_operator() -> bool:
    """Whether the user of the present request is an operator."""
    return bool(g.get("role") == OPERATOR)


def refusal() -> str | None:
    """Why the present request is refused, None if the user has the right to it."""
    endpoint = request.endpoint
    if endpoint is None or endpoint not in current_app.view_functions:
        return None
    if may(endpoint, request.method):
        return None
    what = "see this" if request.method in ("GET", "HEAD") else "change anything"
    return f"{g.user} is a viewer, and can't {what}: ask an operator."


def without_addresses(data: Any) -> Any:
    """``data`` with the addresses of stations, at any depth, as None. Changes nothing in place."""
    if isinstance(data, dict):
        return {
            name: None if name == ADDRESS else without_addresses(value)
            for name, value in data.items()
        }
    if isinstance(data, list | tuple):
        values = map(without_addresses, data)
        return type(data)(*values) if hasattr(data, "_fields") else type(data)(values)
    if isinstance(data, msgspec.Struct):
        fields = msgspec.structs.asdict(data)
        clean = without_addresses(fields)
        return data if clean == fields else msgspec.structs.replace(data, **clean)
    return data


class AddresslessArchive:
    """An archive whose documents come without the addresses of the stations that sent them."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    @property
    def name(self) -> str:
        """The archive's address for display."""
        return self._archive.name

    def prepare(self) -> list[str]:
        """As the archive does."""
        return self._archive.prepare()

    def store(self, documents: Sequence[bytes]) -> list[Rejected]:
        """As the archive does."""
        return self._archive.store(documents)

    def query(self, query: Query) -> Iterator[Document]:
        """Yield the documents that match."""
        return map(without_addresses, self._archive.query(query))

    def lines(self, query: Query) -> Iterator[bytes]:
        """The same as JSON."""
        return filter(None, map(line_without_addresses, self._archive.lines(query)))

    def get(self, identifier: str) -> Document | None:
        """The document with this ``_id``."""
        document = self._archive.get(identifier)
        return None if document is None else without_addresses(document)

    def hold(self) -> AbstractContextManager[None]:
        """As the archive does, if it does."""
        return holding(self._archive)

    def position(self) -> str:
        """As the archive does."""
        return self._archive.position()

    def follow(self, position: str) -> tuple[list[Document], str]:
        """The documents archived since ``position``, and the new position."""
        documents, position = self._archive.follow(position)
        return [without_addresses(one) for one in documents], position

    def interrupt(self) -> None:
        """As the archive does."""
        self._archive.interrupt()

    def close(self) -> None:
        """As the archive does."""
        self._archive.close()


def line_without_addresses(line: bytes) -> bytes | None:
    """A document as JSON without addresses, None where it is no JSON object."""
    try:
        return to_json(without_addresses(_decode(line)))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
