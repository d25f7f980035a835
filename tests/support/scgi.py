"""SCGI as a web server speaks it: requests to bytes, answers from bytes."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.reply import Reply, fold


def netstring(headers: Mapping[str, str]) -> bytes:
    """SCGI headers as a netstring, in the order given."""
    block = b"".join(
        name.encode("latin-1") + b"\0" + value.encode("latin-1") + b"\0"
        for name, value in headers.items()
    )
    return b"%d:%b," % (len(block), block)


def encode(
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str | None] | None = None,
) -> bytes:
    """A whole request.

    ``headers`` are the client's HTTP headers. ``params`` are SCGI headers on top; None as a value
    takes one away.
    """
    name, _, query = path.partition("?")
    environ: dict[str, str | None] = {
        "CONTENT_LENGTH": str(len(body)),
        "SCGI": "1",
        "REQUEST_METHOD": method,
        "REQUEST_URI": path,
        "SCRIPT_NAME": "",
        "PATH_INFO": name,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
    }
    for key, value in (headers or {}).items():
        upper = key.upper().replace("-", "_")
        environ[upper if upper == "CONTENT_TYPE" else f"HTTP_{upper}"] = value
    environ.update(params or {})
    return netstring({key: value for key, value in environ.items() if value is not None}) + body


def decode(data: bytes) -> Reply:
    """The answer to a request; fails the test if it isn't a whole one."""
    head, separator, body = data.partition(b"\r\n\r\n")
    assert separator, f"no whole answer: {data[:200]!r}"
    lines = head.decode("latin-1").split("\r\n")
    headers = fold((name, value.strip()) for name, _, value in (x.partition(":") for x in lines))
    status = int(headers.pop("status").split()[0])
    length = headers.get("content-length")
    assert length is None or int(length) == len(body), f"Content-Length {length}, got {len(body)}"
    return Reply(status, headers, body)
