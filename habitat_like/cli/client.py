"""Asks the running gateway, at its socket as the web server would, and at the control socket."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from habitat_like.http import scgi
from habitat_like.http.listener import exchange


class GatewayError(Exception):
    """The gateway could not be asked; one line that says what to do."""


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
    with _explained(path, "gateway", timeout):
        answer = exchange(path, request, timeout)
        status, _, body = scgi.decode_response(answer)
    return status, body


def converse(path: str, request: Mapping[str, Any], timeout: float) -> Iterator[dict[str, Any]]:
    """The answers to a ``request`` on the control socket at ``path``: any progress, then the last.

    ``timeout`` is in seconds, for each of them. Raises GatewayError, also for what is refused.
    """
    with _explained(path, "control", timeout), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        connection.sendall(msgspec.json.encode(request) + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                answer = msgspec.json.decode(line, type=dict[str, Any])
                if "error" in answer:
                    raise GatewayError(str(answer["error"]))
                yield answer
                if "progress" not in answer:
                    return
        raise ConnectionAbortedError("it closed the connection")


@contextlib.contextmanager
def _explained(path: str, section: str, timeout: float) -> Iterator[None]:
    """Makes a GatewayError of what goes wrong at the socket of this ``section``."""
    try:
        yield
    except (FileNotFoundError, ConnectionRefusedError):
        raise GatewayError(
            f"no gateway runs at {path}; start it with 'habitat serve', or check {section}.socket"
        ) from None
    except PermissionError:
        member = " or as a member of gateway.socket_group" if section == "gateway" else ""
        raise GatewayError(
            f"no permission to connect to {path}; run this as the gateway's user{member}"
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
