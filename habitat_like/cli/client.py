"""Asks the running gateway over its socket, as the web server would."""

from __future__ import annotations

import contextlib
import enum
import socket
import stat
from pathlib import Path

from habitat_like import scgi
from habitat_like.exchange import exchange


class GatewayError(Exception):
    """The gateway could not be asked; one line that says what to do."""


class SocketState(enum.Enum):
    """What there is at a socket's path."""

    FREE = "free"
    STALE = "stale"
    LIVE = "live"
    NO_SOCKET = "no socket"


def get(path: str, name: str, timeout: float) -> tuple[int, bytes]:
    """Status and body of the gateway's answer to ``GET name``.

    ``path`` is the gateway's socket, ``timeout`` the seconds that each step may take. Raises
    GatewayError.
    """
    request = scgi.encode_request(
        {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": name,
            "SCRIPT_NAME": "",
            "DOCUMENT_URI": name,
            "QUERY_STRING": "",
            "SERVER_PROTOCOL": "HTTP/1.1",
            # The operator at this machine.
            "REMOTE_ADDR": "127.0.0.1",
        }
    )
    try:
        answer = exchange(path, request, timeout)
        status, _, body = scgi.decode_response(answer)
    except (FileNotFoundError, ConnectionRefusedError):
        raise GatewayError(
            f"no gateway runs at {path}; start it with 'habitat serve', or check gateway.socket"
        ) from None
    except PermissionError:
        raise GatewayError(
            f"no permission to connect to {path}; run this as the gateway's user or as a member"
            " of gateway.socket_group"
        ) from None
    except TimeoutError:
        raise GatewayError(
            f"the gateway at {path} did not answer within {timeout:g} s; see its log"
        ) from None
    except (OSError, ValueError, scgi.ScgiError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise GatewayError(
            f"the gateway at {path} gave no answer ({reason}); see its log"
        ) from None
    return status, body


def probe(path: str) -> SocketState:
    """What there is at ``path``, found by connecting. Raises OSError, as PermissionError."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        return SocketState.FREE
    if not stat.S_ISSOCK(mode):
        return SocketState.NO_SOCKET
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(1)
        try:
            connection.connect(path)
        except ConnectionRefusedError:
            return SocketState.STALE
        except (TimeoutError, BlockingIOError):
            # Somebody listens, whose queue is full.
            return SocketState.LIVE
    return SocketState.LIVE
