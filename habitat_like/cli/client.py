"""Asks the running gateway over its socket, as the web server would."""

from __future__ import annotations

from habitat_like import scgi
from habitat_like.exchange import exchange


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
