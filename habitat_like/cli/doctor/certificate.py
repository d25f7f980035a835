"""The certificate that is served: how long it is valid, for which names, and whether it is new."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

from habitat_like import times
from habitat_like.cli.doctor.seen import ERROR, OK, WARNING, Look, Seen
from habitat_like.statistics.tables import DAY

TIMEOUT = 10.0
#: Days before the end at which somebody should look: certbot renews 30 days before.
SOON = 14
RENEW = "certbot renew && systemctl reload nginx"
RELOAD = "systemctl reload nginx"
#: X509_V_ERR_CERT_NOT_YET_VALID, _CERT_HAS_EXPIRED, _HOSTNAME_MISMATCH: verify(1ssl)
NOT_YET, EXPIRED, OTHER_NAME = 9, 10, 62


def look(path: Path, names: Sequence[str], port: int) -> Look:
    """What is served on ``port`` for the first of ``names``, which nginx reads from ``path``."""
    name = names[0] if names else None
    try:
        served = _served(port, name)
    except OSError as error:
        text = f"no TLS on port {port} ({error.strerror or error})"
        yield Seen(ERROR, "certificate", text, "systemctl restart nginx")
        return
    try:
        end = _end(served, port, name)
    except ssl.SSLCertVerificationError as error:
        texts = {
            EXPIRED: f"{path} has expired: stations and browsers refuse it",
            NOT_YET: f"{path} is not valid yet: is this machine's clock right?",
            OTHER_NAME: f"{path} is not for {name}",
        }
        mend = {EXPIRED: RENEW, NOT_YET: "timedatectl", OTHER_NAME: "habitat setup"}
        text = texts.get(error.verify_code, f"{path}: {error.verify_message}")
        new = _is_other(served, path)
        if new:
            text += "; the file has a newer one, which nginx has not read"
        command = RELOAD if new else mend.get(error.verify_code, f"openssl verify {path}")
        yield Seen(ERROR, "certificate", text, command)
        return
    except OSError as error:
        yield Seen(ERROR, "certificate", f"{path}: {error.strerror or error}", RELOAD)
        return
    left = (end - time.time()) / DAY
    until = times.show(int(end))
    if _is_other(served, path):
        text = f"nginx serves an older one than is in {path}"
        yield Seen(WARNING, "certificate", text, RELOAD)
    elif left < SOON:
        text = f"{path} ends in {left:.0f} days, at {until}"
        yield Seen(WARNING, "certificate", text, RENEW)
    else:
        yield Seen(OK, "certificate", f"{path} is valid until {until}")


def _served(port: int, name: str | None) -> bytes:
    """The certificate that is served, whatever it is worth (DER)."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with _connected(context, port, name) as connection:
        return connection.getpeercert(binary_form=True) or b""


def _end(served: bytes, port: int, name: str | None) -> float:
    """The end of its time, UNIX seconds.

    It is its own authority here: who signed it is for the stations to like. Raises
    ssl.SSLCertVerificationError if it has expired, or is not for the name.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = name is not None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cadata=served)
    with _connected(context, port, name) as connection:
        found = connection.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(found["notAfter"])))


def _connected(context: ssl.SSLContext, port: int, name: str | None) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), TIMEOUT)
    try:
        return context.wrap_socket(raw, server_hostname=name)
    except BaseException:
        raw.close()
        raise


def _is_other(served: bytes, path: Path) -> bool:
    """Whether the first certificate in the file is not the one that is served."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    with contextlib.suppress(OSError, ValueError):
        text = path.read_text(encoding="ascii")
        first = text[text.index(begin) : text.index(end) + len(end)]
        return ssl.PEM_cert_to_DER_cert(first) != served
    return False
