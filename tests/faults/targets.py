"""What is fuzzed in-process: targets that take any bytes and fail where a promise is broken."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

from habitat_like.config.file import load
from habitat_like.config.keys import Config, ConfigError
from habitat_like.http import scgi
from habitat_like.http.actions import Args, InsertApplication
from habitat_like.http.handler import decode_body
from habitat_like.http.response import Refused
from habitat_like.journal.journal import Journal
from habitat_like.message.message import InvalidMessage
from habitat_like.message.types import Registry
from habitat_like.message_server import BacklogFull, Server
from tests.networks import checks

#: Small limits, so that inputs reach them.
LIMIT = 4096
NOW = 1_700_000_000
CORPUS = Path(__file__).with_name("corpus")
_registry = Registry()


def check_reason(error: Exception) -> None:
    """A reason is one printable line, not too long for a log."""
    text = str(error)
    assert text.isprintable(), text
    assert 0 < len(text) < 2000, text


def read(pieces: list[bytes]) -> object:
    """What the parser makes of a request that comes in pieces."""
    parser = scgi.RequestParser(LIMIT, LIMIT)
    try:
        for piece in pieces:
            request = parser.feed(piece)
            if request is not None:
                return request.headers, request.body
    except scgi.ScgiError as error:
        check_reason(error)
        return int(error.status)
    return None


def fuzz_scgi(data: bytes) -> None:
    """Whatever the pieces, the same request comes out, or the same refusal."""
    if len(data) < 2:
        return
    whole = read([data])
    middle = len(data) // 2
    assert read([data[:middle], data[middle:]]) == whole
    if len(data) < 300:
        assert read([data[at : at + 1] for at in range(len(data))]) == whole


def fuzz_message(data: bytes) -> None:
    """A message with a document that any JSON reader takes, or one line that says why not."""
    try:
        message = _registry.parse(data, "192.0.2.1", NOW)
    except InvalidMessage as error:
        check_reason(error)
        return
    identifier, document = message.document(b'"test"')
    tree = json.loads(document.decode(), parse_constant=_no_constant)
    assert tree["_id"] == identifier
    assert _registry.parse(data, None, NOW + 5).id == identifier
    again = {**json.loads(data), "data": tree["data"]}
    assert _registry.parse(json.dumps(again).encode(), None, NOW).id == identifier


def fuzz_messages(data: bytes) -> None:
    """A result for each message, and in the journal's rows exactly those that were accepted."""
    application, server = _application()
    with server.transaction() as rows:
        try:
            response = application.messages("192.0.2.1", Args(data))
        except (InvalidMessage, BacklogFull) as error:
            check_reason(error)
            return
    answer = json.loads(response.body)
    identifiers = [result["id"] for result in answer["results"] if "id" in result]
    assert identifiers == [identifier for identifier, _ in rows]
    assert len(identifiers) == answer["accepted"]
    assert (response.status == 200) == (len(identifiers) == len(answer["results"]))
    assert (response.status == 400) == (bool(answer["results"]) and not identifiers)


def fuzz_gzip(data: bytes) -> None:
    """Never more than the limit."""
    try:
        assert len(decode_body(data, b"gzip", LIMIT)) <= LIMIT
    except Refused as error:
        if error.status not in (400, 413):
            raise
        check_reason(error)


def fuzz_config(data: bytes) -> None:
    """A configuration, or one line that says where and what."""
    path = _directory() / "config.yml"
    path.write_bytes(data)
    try:
        load(str(path), {})
    except ConfigError as error:
        check_reason(error)


#: Those of the networks' decoders have the networks' names.
TARGETS: dict[str, Callable[[bytes], None]] = {
    "scgi": fuzz_scgi,
    "message": fuzz_message,
    "messages": fuzz_messages,
    "gzip": fuzz_gzip,
    "config": fuzz_config,
    **{name: partial(checks.fuzz, name) for name in checks.NAMES},
}


def corpus(target: str) -> list[bytes]:
    """The inputs that are kept for a target, by their files' names."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


@cache
def _directory() -> Path:
    shared = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="hab-fuzz-", dir=shared if shared.is_dir() else None))


@cache
def _application() -> tuple[InsertApplication, Server]:
    journal = Journal(_directory() / "journal.sqlite")
    program = SimpleNamespace(config=Config(), registry=_registry, journal=journal)
    server = Server(program)
    return InsertApplication(server, program), server


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is in a document")
