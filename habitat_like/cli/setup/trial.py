"""A message sent through nginx, as a station would, and found in the archive."""

from __future__ import annotations

import contextlib
import http.client
import json
import time

import click

from habitat_like.archive import open_archive
from habitat_like.archive.base import ArchiveError
from habitat_like.cli.setup.configuration import load
from habitat_like.cli.setup.effects import SetupError
from habitat_like.cli.setup.wanted import Wanted
from habitat_like.config.keys import ConfigError

#: Seconds for the answer, and for the archive to have the message.
TIMEOUT = 60.0
CALLSIGN = "HABITAT-SETUP"


def message(now: int) -> dict[str, object]:
    """The message, of the time ``now`` (UNIX seconds)."""
    return {
        "callsign": CALLSIGN,
        "type": "LISTENER_INFO",
        "time_created": now,
        "time_uploaded": now,
        "data": {"name": "habitat setup"},
    }


def send(wanted: Wanted) -> str:
    """Send it and find it; returns what was seen, in words. Raises SetupError."""
    identifier = _upload(wanted)
    begin = time.monotonic()
    deadline = begin + TIMEOUT
    try:
        with contextlib.closing(open_archive(load(wanted.config).archive)) as archive:
            while True:
                why = f"{archive.name} does not have it after {TIMEOUT:g} s; see habitat status"
                with contextlib.suppress(ArchiveError):
                    if archive.get(identifier) is not None:
                        break
                if time.monotonic() > deadline:
                    raise SetupError(f"a message was accepted, but {why}")
                time.sleep(0.05)
    except ConfigError as error:
        raise SetupError(str(error)) from None
    return f"a message went through nginx, and is in the archive ({identifier})"


def _upload(wanted: Wanted) -> str:
    """The id of the uploaded message."""
    host = wanted.names[0] if wanted.names else "localhost"
    body = json.dumps([message(int(time.time()))])
    headers = {"Host": host, "Content-Type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=TIMEOUT)
    with contextlib.closing(connection):
        try:
            connection.request("POST", "/messages", body, headers)
            reply = connection.getresponse()
            text = reply.read(4096).decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise SetupError(f"no answer from port 80 ({error}); see habitat doctor") from None
    try:
        if reply.status == 200:
            return str(json.loads(text)["results"][0]["id"])
    except (ValueError, LookupError):
        pass
    line = " ".join(text.split())[:200]
    raise SetupError(f"an upload got {reply.status} ({line}); see habitat doctor")


def tell(wanted: Wanted) -> None:
    """Print where the server is reached, and what may come next."""
    scheme = "https" if wanted.tls else "http"
    host = wanted.names[0] if wanted.names else "THIS-HOST"
    click.echo(
        f"\nStations upload to     http://{host}/message"
        + (f" (or https://{host}/message)" if wanted.tls else "")
    )
    if wanted.console_user is not None:
        where = f"{scheme}://{host}/console/" if wanted.tls else "http://127.0.0.1/console/"
        hint = "" if wanted.tls else " (from this machine alone, until there is a certificate)"
        click.echo(f"The console is         {where}{hint}")
    if wanted.tls is None and wanted.names:
        live = f"/etc/letsencrypt/live/{host}"
        names = " ".join(f"-d {name}" for name in wanted.names)
        click.echo(
            "\nFor HTTPS, with a certificate of Let's Encrypt (the name must lead here):\n\n"
            "  apt-get install --yes certbot python3-certbot-nginx\n"
            f"  certbot certonly --nginx {names} --deploy-hook 'systemctl reload nginx'\n"
            f"  habitat setup --yes --tls-cert {live}/fullchain.pem --tls-key {live}/privkey.pem"
        )
    click.echo(
        "\nNext: habitat doctor looks for faults; systemctl enable --now habitat-backup.timer makes"
        "\na backup each night in /var/backups/habitat."
    )
