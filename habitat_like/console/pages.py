"""Pages: each is made of plain data, which is also the JSON at the same address with ``.json``."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

import msgspec
from flask import (
    Blueprint,
    Response,
    after_this_request,
    current_app,
    g,
    render_template,
    url_for,
)

from habitat_like.archive import ArchiveError
from habitat_like.console.rights import is_operator, may, without_addresses
from habitat_like.journal.file import JournalError
from habitat_like.statistics import StatisticsReader

if TYPE_CHECKING:
    from habitat_like.http.process import Process

View = Callable[..., dict[str, Any]]

#: What ``url_for`` leaves as it is in a query string, too.
_PLAIN = "!$'()*,/:;?@"


def page(blueprint: Blueprint, path: str, template: str) -> Callable[[View], View]:
    """Serve the data that a view returns at ``path`` as HTML and at ``path``.json as JSON.

    ``path`` may have Flask's placeholders. The endpoints are the view's name, and that with
    ``_json`` behind it. The view raises PageError, and may raise ArchiveError and JournalError.
    """

    def declare(view: View) -> View:
        @functools.wraps(view)
        def as_html(**arguments: Any) -> str:
            return render_template(template, **_data(view, arguments))

        @functools.wraps(view)
        def as_json(**arguments: Any) -> Response:
            return json_response(_data(view, arguments))

        name = view.__name__
        # The longer rule first: a placeholder that takes any path must not take the suffix.
        blueprint.add_url_rule(f"{path}.json", f"{name}_json", as_json)
        blueprint.add_url_rule(path, name, as_html)
        return view

    return declare


def this_program() -> Process:
    """The current request's program."""
    program: Process = current_app.extensions["program"]
    return program


def statistics() -> StatisticsReader:
    """The statistics, opened once for the present request. Raises JournalError."""
    if "statistics" not in g:
        g.statistics = StatisticsReader(this_program().journal.path)
    reader: StatisticsReader = g.statistics
    return reader


def close_statistics(_: object = None) -> None:
    """After each request: close what it opened."""
    if (reader := g.pop("statistics", None)) is not None:
        reader.close()


def link(endpoint: str, **arguments: Any) -> str | None:
    """The address of a page, None where this console has none that the user may see."""
    if endpoint not in current_app.view_functions or not may(endpoint, "GET"):
        return None
    return url_for(endpoint, **arguments)


def station_page(callsign: str) -> str:
    """The address of a station's page; for lists, as a fifth of the time that ``url_for`` takes."""
    if "station_page" not in g:
        g.station_page = url_for("stations.station")
    return f"{g.station_page}?callsign={quote(callsign, safe=_PLAIN)}"


def payload_page(key: str) -> str:
    """The address of a payload's page, as fast."""
    if "payload_page" not in g:
        g.payload_page = url_for("flights.payloads")
    return f"{g.payload_page}/{quote(key, safe=_PLAIN)}"


def after_answer(work: Callable[[], object]) -> None:
    """Do ``work`` on this thread once the present answer has gone out: nobody waits for it."""

    @after_this_request
    def arrange(response: Response) -> Response:
        response.call_on_close(work)
        return response


def address(endpoint: str, query: Mapping[str, str], **arguments: Any) -> str:
    """The address of a page with a query string that may have any names.

    Some names that a visitor might choose have a meaning to ``url_for``.
    """
    path = url_for(endpoint, **arguments)
    return f"{path}?{urlencode(query)}" if query else path


def json_response(data: Any, status: int = 200) -> Response:
    """``data`` as JSON; Structs of msgspec are objects."""
    body = msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n"
    return Response(body, status, mimetype="application/json")


class PageError(Exception):
    """A request that can't be answered as asked; the text is one line for people."""

    def __init__(self, status: int, text: str, retry_after: int | None = None) -> None:
        """``retry_after`` is in seconds."""
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after


@contextlib.contextmanager
def page_errors() -> Iterator[None]:
    """Turn errors of the archive and the journal inside into a page with 503."""
    try:
        yield
    except (ArchiveError, JournalError) as error:
        raise PageError(503, str(error)) from error


def answer_with(status: int) -> None:
    """Send the current page with this status, although it can be shown."""

    @after_this_request
    def change(response: Response) -> Response:
        response.status_code = status
        return response


def _data(view: View, arguments: dict[str, Any]) -> dict[str, Any]:
    with page_errors():
        data = view(**arguments)
    return data if is_operator() else cast(dict[str, Any], without_addresses(data))
