"""Maintenance: the answer to uploads while an operator accepts none.

The file ``maintenance`` next to the journal is the switch: while it exists, there is maintenance,
even after a restart. Its text is the message. A first line such as ``503 back at noon`` or
``307 https://other.example/message`` sets the status and, for a redirect, the Location.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from habitat_like.disk import FILE_MODE, Directory

#: The file's name; it is next to the journal.
FILE_NAME = "maintenance"
#: Maximum bytes of the file that are read.
MAX_FILE = 4096
#: What stations are told if the operator wrote nothing.
DEFAULT_MESSAGE = "down for maintenance"
#: Redirects by which a client may send the same request elsewhere (RFC 9110 section 15.4). With
#: any other status but 503 stations would drop what they have.
REDIRECTS = (301, 302, 307, 308)


class MaintenanceError(Exception):
    """Maintenance can't be set like this; one line saying why."""


class Closed(NamedTuple):
    """Why uploads are not taken, and the answer to them: ``reason`` is for operators."""

    reason: str
    message: str
    status: int = 503
    location: str | None = None


def parse(text: str) -> Closed:
    """What the file's ``text`` asks for. Raises MaintenanceError for a bad first line."""
    first, _, rest = text.strip().partition("\n")
    match = re.fullmatch(r"(\d{3})(?:\s+(.*))?", first.strip())
    if match is None:
        return _closed(text)
    status, value = int(match[1]), match[2] or ""
    if status == 503:
        return _closed(f"{value}\n{rest}")
    if status not in REDIRECTS:
        known = ", ".join(map(str, REDIRECTS))
        raise MaintenanceError(f"the status {status} is neither 503 nor a redirect ({known})")
    _check_address(value, status)
    return _closed(rest or f"moved to {value}", status, value)


def parse_leniently(text: str) -> tuple[Closed, str | None]:
    """Like ``parse``, but a bad first line becomes part of the message; also returns why."""
    try:
        return parse(text), None
    except MaintenanceError as error:
        return _closed(text), str(error)


def _closed(message: str, status: int = 503, location: str | None = None) -> Closed:
    """Its message in one line without control characters."""
    printable = "".join(char if char.isprintable() else " " for char in message)
    line = " ".join(printable.split()) or DEFAULT_MESSAGE
    return Closed(f"maintenance: {line}", line, status, location)


def _check_address(address: str, status: int) -> None:
    """Raises MaintenanceError for what can't be a Location."""
    # A header field's value: no control characters, no spaces, and nothing beyond ASCII (RFC 3986).
    if re.fullmatch(r"[!-~]+", address):
        with contextlib.suppress(ValueError):
            parts = urlsplit(address)
            if parts.scheme in ("http", "https") and parts.hostname:
                return
    raise MaintenanceError(
        f"after {status} there must be an address such as https://other.example/message"
    )


class MaintenanceFile:
    """The file next to the journal at ``journal_path``. The object itself is stateless."""

    def __init__(self, journal_path: str | Path) -> None:
        self.path = Path(journal_path).with_name(FILE_NAME)

    def read(self) -> tuple[str, float] | None:
        """Its text and when it was written (UNIX seconds); None if there is no such file.

        An unreadable file counts as present, without text. Raises OSError if its existence can't
        be determined.
        """
        try:
            # A FIFO must not block the caller.
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except PermissionError:
            return "", self.path.stat().st_mtime
        try:
            text = os.read(fd, MAX_FILE).decode("utf-8", "replace")
            return text, os.fstat(fd).st_mtime
        finally:
            os.close(fd)

    def write(self, text: bytes) -> None:
        """Create it atomically. Raises OSError."""
        with (
            Directory(self.path.parent) as directory,
            directory.replacing(self.path.name, FILE_MODE) as file,
        ):
            file.write(text)

    def remove(self) -> None:
        """Remove it, if it exists. Raises OSError."""
        self.path.unlink(missing_ok=True)
