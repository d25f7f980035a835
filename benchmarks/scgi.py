"""A client for one SCGI request, for checks and for asking the gateway how it fares."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from tests.support.scgi import encode

TIMEOUT = 30.0
#: What nginx always tells and some servers insist on.
_PARAMS = {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "REMOTE_PORT": "40000"}


def request(path: Path, method: str, uri: str, body: bytes = b"") -> tuple[int, bytes]:
    """The status and the body of the answer. Raises OSError, also for an answer that is none."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(str(path))
        connection.sendall(encode(method, uri, body, params=_PARAMS))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, text = answer.partition(b"\r\n\r\n")
    # Anywhere among the headers, as CGI has it (RFC 3875 section 6.3.3); uWSGI's may lead.
    found = re.search(rb"^(?:Status:|HTTP/1\.[01]) *(\d{3})\b", head, re.MULTILINE | re.IGNORECASE)
    if not found:
        raise ConnectionError(f"no answer but {answer[:80]!r}")
    return int(found[1]), text
