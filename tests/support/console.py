"""Somebody who uses the console without a browser, over the gateway's socket."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from habitat_like.archive import open_archive
from habitat_like.config.keys import ArchiveConfig
from habitat_like.console import users
from tests.support.archive import encode
from tests.support.gateway import Habitat
from tests.support.reply import Reply
from tests.support.wait import PATIENCE, eventually

USER, PASSWORD = "alice", "correct horse"
_FORM = "application/x-www-form-urlencoded"


def basic(name: str, password: str) -> dict[str, str]:
    """The header field by which a script signs in."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def make_users(path: Path, **passwords: str) -> str:
    """A password file with one user, or those given; returns its path."""
    for name, password in (passwords or {USER: PASSWORD}).items():
        users.write(path, name, password)
    return str(path)


def with_console(**config: Any) -> Habitat:
    """A gateway that has a console with one user; it is not started."""
    made = Habitat(config)
    made.config["console"] = {"password_file": make_users(made.directory / "users")}
    return made


#: A module of the operator's own, with which late answers are no trouble to tell of.
_UNHURRIED = """
import msgspec
from habitat_like.statistics import troubles

troubles.SLOW = float("inf")

class Unhurried(msgspec.Struct):
    pass
"""


def unhurried(gateway: Habitat) -> Habitat:
    """Have a gateway, not started, find nothing wrong with a machine that is busy otherwise."""
    (gateway.directory / "unhurried.py").write_text(_UNHURRIED, encoding="utf-8")
    gateway.config["types"] = {"UNHURRIED": "unhurried.Unhurried"}
    return gateway


class Visitor:
    """One person at the console, with a cookie; as a browser it asks for HTML."""

    def __init__(self, gateway: Habitat, *, https: bool = False, ip: str = "203.0.113.9") -> None:
        self.gateway = gateway
        self.cookie: str | None = None
        #: The cookie's attributes, in lower case, as they came last.
        self.attributes: set[str] = set()
        self._params: dict[str, str | None] = {
            "HTTPS": "on" if https else None,
            "REMOTE_ADDR": ip,
            "SERVER_NAME": "gateway.example",
        }

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """A page below /console, with or without a query string."""
        return self._ask("GET", path, b"", headers or {})

    def page(self, path: str) -> str:
        """A page that must be there."""
        reply = self.get(path)
        assert reply.status == 200, f"{path}: {reply.status}: {reply.text}"
        return reply.text

    def json(self, path: str) -> Any:
        """The JSON of a page that must be there."""
        reply = self.get(path)
        assert reply.status == 200, f"{path}: {reply.status}: {reply.text}"
        return reply.json()

    def post(self, path: str, token: str | None = None, **fields: str) -> Reply:
        """Send a form; ``token`` is its CSRF token, by default a right one."""
        return self.send(path, [*fields.items()], token)

    def choose(self, path: str, name: str, *values: str, **fields: str) -> Reply:
        """Send a form in which several boxes of one name are checked."""
        return self.send(path, [(name, value) for value in values] + [*fields.items()])

    def send(self, path: str, fields: list[tuple[str, str]], token: str | None = None) -> Reply:
        """Send a form with any fields, as ``post`` does."""
        pairs = [*fields, ("csrf_token", self.token() if token is None else token)]
        headers = {"Content-Type": _FORM, "Referer": "https://gateway.example/console/"}
        return self._ask("POST", path, urlencode(pairs).encode(), headers)

    def token(self) -> str:
        """The CSRF token of a form that this visitor sees."""
        page = self.get("/console/login" if self.cookie is None else "/console/overview").text
        found = re.search(r'name="csrf_token" value="([^"]+)"', page) or re.search(
            r'name="csrf_token" value="([^"]+)"', self.get("/console/login").text
        )
        assert found, page
        return found[1]

    def sign_in(self, name: str = USER, password: str = PASSWORD, **fields: str) -> Reply:
        """Fill in the first page."""
        return self.post("/console/login", name=name, password=password, **fields)

    def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        path, _, query = path.partition("?")
        sent = {"Accept": "text/html,*/*", "Host": "gateway.example", **headers}
        if self.cookie is not None:
            sent["Cookie"] = self.cookie
        params = {**self._params, "QUERY_STRING": query}
        reply = self.gateway.scgi(method, path, body, sent, params=params)
        if set_cookie := reply.headers.get("set-cookie"):
            pair, *attributes = set_cookie.split("; ")
            self.cookie = pair
            self.attributes = {attribute.lower() for attribute in attributes}
        return reply


def whole(visitor: Visitor, path: str) -> dict[str, Any]:
    """A page's data, once nothing more has to be read."""

    def read() -> Any:
        found = visitor.json(path)
        return None if found["reading"] else found

    # Most of the time that this takes is the server's, which may get little of a busy machine.
    found: dict[str, Any] = eventually(read, "the archive is read", timeout=3 * PATIENCE)
    return found


@contextlib.contextmanager
def console_over(documents: list[dict[str, Any]], uri: str | None = None) -> Iterator[Visitor]:
    """Somebody signed in to a new gateway, whose archive (embedded, or ``uri``) has documents."""
    gateway = with_console()
    if uri is not None:
        gateway.config["archive"]["uri"] = uri
    try:
        archive_config = ArchiveConfig(uri=gateway.config["archive"]["uri"])
        with contextlib.closing(open_archive(archive_config)) as archive:
            archive.prepare()
            assert archive.store(encode(documents)) == []
        gateway.start()
        visitor = Visitor(gateway)
        assert visitor.sign_in().status == 303
        yield visitor
    finally:
        gateway.close()
