"""What is in front of the gateway: names, ports, nginx, certificates."""

from __future__ import annotations

import functools
import http.client
import os
import re
import socket
import stat
from contextlib import closing, suppress
from pathlib import Path

from habitat_like.cli.doctor import certificate, nginx_text
from habitat_like.cli.doctor.nginx_text import Server
from habitat_like.cli.doctor.seen import ERROR, OK, WARNING, Look, Machine, Seen
from habitat_like.cli.nginx import location_block
from habitat_like.cli.setup import nginx as site
from habitat_like.cli.setup.effects import ask

#: Seconds for an answer.
TIMEOUT = 10.0
#: What the gateway says at /, and what nginx says in its place when it can't be reached.
OURS, UNREACHABLE = "habitat_like ", "the gateway can't be reached"
REMOVE_DEFAULT = f"rm {site.DEFAULT} && systemctl reload nginx"
SETUP = "habitat setup --yes"


class Front:
    """nginx and what leads to it, for one gateway."""

    def __init__(self, machine: Machine) -> None:
        """Remember the machine; no I/O."""
        self._machine = machine
        self._socket = str(Path(machine.config.gateway.socket).absolute())

    @functools.cached_property
    def _dump(self) -> tuple[int, str]:
        return ask("nginx", "-T")

    @functools.cached_property
    def _servers(self) -> list[Server]:
        """The servers that pass requests to the gateway."""
        return [one for one in nginx_text.servers(self._dump[1]) if self._socket in one.passes]

    def look(self) -> Look:
        """Everything, from the outside in."""
        if not self._machine.is_root:
            yield Seen(WARNING, "nginx", "not looked at; run this as root")
            return
        code, said = self._dump
        if code == 127:
            yield Seen(ERROR, "nginx", "it is not installed", "apt-get install nginx")
            return
        if code:
            line = next((line for line in said.splitlines() if "[emerg]" in line), said[-200:])
            yield Seen(ERROR, "nginx", f"its configuration is wrong: {line}", "nginx -t")
            return
        if not self._servers:
            others = {path for one in nginx_text.servers(said) for path in one.passes}
            more = f"; it passes requests to {', '.join(sorted(others))}" if others else ""
            text = f"no site of it passes requests to {self._socket} (gateway.socket){more}"
            yield Seen(ERROR, "nginx", text, SETUP)
            return
        yield from self._names()
        problems = list(self._ports())
        yield from problems
        yield from self._loaded(said)
        if not any(one.mark == ERROR for one in problems):
            yield from self._requests()
        yield from self._block(said)

    def certificates(self) -> Look:
        """The certificates that are served."""
        for one in self._servers if self._machine.is_root and not self._dump[0] else ():
            ports = [port for port, has_tls in one.listens if has_tls]
            for path in one.certificates if ports else ():
                yield from certificate.look(Path(path), one.names, ports[0])

    def _names(self) -> Look:
        local = _own_addresses()
        for name in dict.fromkeys(name for one in self._servers for name in one.names):
            try:
                found = {info[4][0] for info in socket.getaddrinfo(name, None)}
            except OSError as error:
                yield Seen(
                    ERROR,
                    "name",
                    f"{name} is found neither in the DNS nor in /etc/hosts ({error.strerror}):"
                    " stations that use it can't find this machine; give it an A or AAAA record",
                    f"getent ahosts {name}",
                )
                continue
            shown = ", ".join(sorted(map(str, found)))
            if found & local:
                yield Seen(OK, "name", f"{name} leads here ({shown})")
            else:
                text = f"{name} leads to {shown}, no address of this machine: is it a router's?"
                yield Seen(WARNING, "name", text, f"getent ahosts {name}; ip address")

    def _ports(self) -> Look:
        for port in sorted({port for one in self._servers for port, _ in one.listens}):
            holder = _holder(port)
            if holder is None:
                yield Seen(
                    ERROR,
                    "port",
                    f"nothing listens on port {port}: nginx does not run, or has not read its"
                    " configuration",
                    "systemctl restart nginx",
                )
            elif holder[1] != "nginx":
                text = (
                    f"port {port} is taken by {holder[1]} (process {holder[0]}), and not by nginx"
                )
                yield Seen(ERROR, "port", text, f"kill {holder[0]} && systemctl restart nginx")
            else:
                yield Seen(OK, "port", f"nginx listens on port {port}")

    def _loaded(self, dump: str) -> Look:
        loaded = site.loaded_at()
        changed = [path for path in nginx_text.files(dump) if _changed_since(path, loaded)]
        if loaded is not None and changed:
            text = f"it has not read {', '.join(changed)} since that changed"
            yield Seen(WARNING, "nginx", text, "systemctl reload nginx")

    def _requests(self) -> Look:
        """Whose answer a client gets that names a known host, another one, or none."""
        plain = [port for one in self._servers for port, has_tls in one.listens if not has_tls]
        names = [name for one in self._servers for name in one.names[:1]]
        for host in [*names[:1], "some.other.name", ""] if plain else []:
            who = f"the host {host}" if host else "no host, as those of old clients,"
            status, said = _ask_nginx(plain[0], host)
            if not status:
                return  # it waits for a gateway that hangs or is down, which is seen there
            if said.startswith(UNREACHABLE) or OURS in said:
                continue
            is_default = os.path.lexists(site.DEFAULT)
            mend = REMOVE_DEFAULT if is_default else "nginx -T | grep -n -e server_name -e listen"
            culprit = f" ({site.DEFAULT})" if is_default else ""
            text = (
                f"a request that names {who} is answered by another site{culprit}: stations drop"
                " their messages on its 404"
            )
            yield Seen(ERROR, "nginx", text, mend)
            return
        yield Seen(OK, "nginx", "requests by any name come to the gateway's site")

    def _block(self, dump: str) -> Look:
        """Whether the site fits the configuration, and keeps the console's passwords."""
        text = " ".join(dump.split())
        config = self._machine.config
        fits = any(
            _words(location_block(config, redirect=redirect, everything=everything)) in text
            for redirect in (False, True)
            for everything in (False, True)
        )
        if not fits and len(self._servers) == 1:
            said = "the location block is not what 'habitat nginx' prints for this configuration"
            yield Seen(WARNING, "nginx", said, SETUP)
        outside = next((one for one in _own_addresses() if not one.startswith(("127.", "::1"))), "")
        plain = [port for one in self._servers for port, has_tls in one.listens if not has_tls]
        if outside and plain and config.console.is_on:
            status, _ = _ask_nginx(plain[0], "", "/console/", outside)
            if status in (200, 302, 303, 401):
                said = "the console, and its passwords, are served over plain HTTP to everybody"
                yield Seen(WARNING, "console", said, SETUP)


def rights(machine: Machine) -> Look:
    """Whether the socket is there, and nginx's workers may connect to it."""
    path = Path(machine.config.gateway.socket)
    try:
        status = path.stat()
    except FileNotFoundError:
        yield Seen(ERROR, "socket", f"there is no {path}", machine.restart)
        return
    except PermissionError:
        yield Seen(WARNING, "socket", f"no permission to look at {path}; run this as root")
        return
    if not stat.S_ISSOCK(status.st_mode):
        yield Seen(ERROR, "socket", f"{path} is no socket", f"rm {path} && {machine.restart}")
        return
    credentials = _worker()
    if credentials is None:
        return
    user, groups = credentials
    for place, bit in [*((above, 1) for above in reversed(path.absolute().parents)), (path, 2)]:
        if not _may(place.stat(), user, groups, bit):
            what = "connect to" if place == path else "enter"
            shown = f"{stat.filemode(place.stat().st_mode)} {place.owner()}:{place.group()}"
            text = f"nginx's workers may not {what} {place} ({shown}): stations get a 503"
            yield Seen(ERROR, "socket", text, machine.restart)
            return
    yield Seen(OK, "socket", f"nginx may connect to {path}")


def _words(block: str) -> str:
    """The block without its first lines, which a site may have in other words, as one line."""
    return " ".join(block[block.index("location / {") :].split())


def _changed_since(path: str, when: float | None) -> bool:
    with suppress(OSError):
        return when is not None and Path(path).stat().st_mtime > when
    return False


def _ask_nginx(port: int, host: str, path: str = "/", at: str = "127.0.0.1") -> tuple[int, str]:
    """Status and text of the answer; 0 and why there is none. Without ``host`` it is HTTP/1.0."""
    try:
        with closing(http.client.HTTPConnection(at, port, timeout=TIMEOUT)) as connection:
            if not host:
                connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
            connection.putrequest("GET", path, skip_host=True)
            if host:
                connection.putheader("Host", host)
            connection.endheaders()
            reply = connection.getresponse()
            return reply.status, reply.read(4096).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)


def _own_addresses() -> set[str]:
    """The addresses of this machine."""
    _, said = ask("ip", "-oneline", "address")
    return set(re.findall(r"inet6? ([0-9a-f.:]+)/", said)) | {"127.0.0.1", "::1"}


def _holder(port: int) -> tuple[int, str] | None:
    """The process that listens on a TCP port, and its name; None if none does."""
    inodes = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                # Listening is 0A: include/net/tcp_states.h; see proc(5).
                if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{words[9]}]")
    if not inodes:
        return None
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        with suppress(OSError):
            for fd in (process / "fd").iterdir():
                if str(fd.readlink()) in inodes:
                    return int(process.name), (process / "comm").read_text().strip()
    return 0, "an unknown process"


def _worker() -> tuple[int, set[int]] | None:
    """User and groups of nginx's workers; None if none run."""
    with suppress(OSError, ValueError):
        pid = int(site.PID_FILE.read_text())
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        text = Path(f"/proc/{children[-1]}/status").read_text() if children else ""
        found = {
            line.partition(":")[0]: line.partition(":")[2].split() for line in text.splitlines()
        }
        if "Uid" in found:
            groups = {int(found["Gid"][1]), *map(int, found.get("Groups", []))}
            return int(found["Uid"][1]), groups
    return None


def _may(status: os.stat_result, user: int, groups: set[int], bit: int) -> bool:
    """Whether the user has the right (4 read, 2 write, 1 search) by the permission bits."""
    if user == 0:
        return True
    shift = 6 if status.st_uid == user else 3 if status.st_gid in groups else 0
    return bool(status.st_mode >> shift & bit)
