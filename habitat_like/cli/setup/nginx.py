"""The nginx site: written, checked with ``nginx -t``, loaded; put back as it was if that fails."""

from __future__ import annotations

import grp
import hashlib
import os
import re
import time
from pathlib import Path

from habitat_like.cli.nginx import location_block
from habitat_like.cli.setup import shipped
from habitat_like.cli.setup.configuration import load
from habitat_like.cli.setup.effects import Effects, SetupError, ask, read, run
from habitat_like.cli.setup.wanted import Tls, Wanted

ETC = Path("/etc/nginx")
MAIN = ETC / "nginx.conf"
AVAILABLE, ENABLED = ETC / "sites-available", ETC / "sites-enabled"
#: Where there are no sites, as on Fedora.
PLAIN = ETC / "conf.d" / "habitat.conf"
DEFAULT = ENABLED / "default"
PID_FILE = Path("/run/nginx.pid")
#: Where the shipped site's location block begins.
BLOCK = "    # Goes inside a server { } block"
#: Seconds for nginx to have new workers.
RELOAD_TIMEOUT = 30.0
#: The name in the shipped site.
EXAMPLE = "habitat.example.org"
HEAD = """\
# nginx in front of the habitat_like gateway, made by habitat setup, which writes it anew and keeps
# what was here as habitat.old.
"""
NAMES = re.compile(r"^ *server_name (.*);", re.M)
CERTIFICATE = re.compile(r"^ *ssl_certificate +(\S+);", re.M)
KEY = re.compile(r"^ *ssl_certificate_key +(\S+);", re.M)


class NginxStep:
    """nginx has the site, and nothing else takes the requests of stations."""

    name = "nginx"

    def __init__(self, wanted: Wanted) -> None:
        """Remember what is wanted; no I/O."""
        self._wanted = wanted

    def lacking(self) -> str | None:
        """See ``Step``."""
        if not MAIN.exists():
            raise SetupError(f"there is no {MAIN}; install nginx, and run this again")
        if read(site()) != self._text():
            return f"{site()} is not as it must be"
        if not _leads(enabled(), site()):
            return f"{enabled()} does not lead to {site()}"
        if has_default():
            return f"{DEFAULT} takes the requests of clients that name no host"
        loaded = loaded_at()
        if loaded is None:
            return "nginx does not run"
        if loaded < self._changed_at():
            return "nginx has not read it since it changed"
        return None

    def make(self, effects: Effects) -> None:
        """See ``Step``."""
        text = self._text()
        before = {path: _state(path) for path in (site(), enabled(), DEFAULT)}
        if (old := read(site())) != text:
            if old is not None and effects.is_real:
                effects.write(site().with_suffix(".old"), old)
            effects.write(site(), text)
        if not _leads(enabled(), site()):
            effects.link(enabled(), f"../{AVAILABLE.name}/{site().name}")
        if has_default():
            effects.remove(DEFAULT)
        try:
            effects.run("nginx", "-t")
        except SetupError as error:
            self._put_back(effects, before)
            raise SetupError(f"{error}; nginx is as it was") from None
        effects.run("systemctl", "enable", "nginx")
        effects.run("systemctl", "reload-or-restart", "nginx")
        if effects.is_real:
            self._wait()

    def _put_back(self, effects: Effects, before: dict[Path, str | Path | None]) -> None:
        for path, state in before.items():
            if _state(path) == state:
                continue
            if state is None:
                effects.remove(path)
            elif isinstance(state, Path):
                effects.link(path, str(state))
            else:
                effects.write(path, state)
        if before[enabled()] is not None and run("nginx", "-t")[0]:
            # A setup that was cut short may have left a site that nginx refuses.
            effects.remove(enabled())
            if run("nginx", "-t")[0]:
                effects.link(enabled(), f"../{AVAILABLE.name}/{site().name}")

    def _text(self) -> str:
        """The site, for the configuration as it is, or as it will be."""
        path = self._wanted.config
        config = load(path if path.exists() else shipped.path("config.yml"))
        return site_text(location_block(config, everything=True), self._wanted)

    def _changed_at(self) -> float:
        """When what nginx reads was last changed, UNIX seconds."""
        tls = self._wanted.tls
        paths = [site(), enabled().parent, *((tls.certificate, tls.key) if tls else ())]
        return max(Path(path).stat().st_mtime for path in paths)

    def _wait(self) -> None:
        """Wait until workers run that have read it. Raises SetupError."""
        deadline = time.monotonic() + RELOAD_TIMEOUT
        while (why := self.lacking()) is not None:
            if time.monotonic() > deadline:
                raise SetupError(f"{why}; see journalctl -u nginx")
            time.sleep(0.05)


def site_text(block: str, wanted: Wanted) -> str:
    """The site with this location block, under these names, with this certificate."""
    shipped_text = shipped.text("nginx/habitat.conf")
    server = shipped_text[shipped_text.index("server {") : shipped_text.index(BLOCK)]
    names = " ".join([*wanted.names, "~."])
    server = NAMES.sub(lambda _: f"    server_name {names};", server)
    if wanted.tls is not None:
        server = server.replace("    # listen ", "    listen ")
        server = re.sub(
            r"^ *# (ssl_certificate) .*$",
            f"    \\1     {wanted.tls.certificate};",
            server,
            flags=re.M,
        )
        server = re.sub(
            r"^ *# (ssl_certificate_key) .*$", f"    \\1 {wanted.tls.key};", server, flags=re.M
        )
    if not Path("/proc/net/if_inet6").exists():
        server = re.sub(r"^ *listen \[::\].*\n", "", server, flags=re.M)
    inner = "".join(f"    {line}" if line.strip() else line for line in block.splitlines(True))
    return f"{HEAD}{server}{inner}}}\n"


def present() -> tuple[tuple[str, ...], Tls | None]:
    """The names and the certificate of the site that is there."""
    text = read(site()) or ""
    names, certificate, key = (found.search(text) for found in (NAMES, CERTIFICATE, KEY))
    known = tuple(name for name in names[1].split() if name[0] not in "~_") if names else ()
    tls = Tls(certificate[1], key[1]) if certificate and key else None
    if not text.startswith(HEAD):
        known = tuple(name for name in known if name != EXAMPLE)
    return known, tls


def site() -> Path:
    """The file of the site."""
    return AVAILABLE / "habitat" if ENABLED.is_dir() else PLAIN


def enabled() -> Path:
    """What switches it on: a link, or the file itself."""
    return ENABLED / "habitat" if ENABLED.is_dir() else PLAIN


def has_default() -> bool:
    """Whether Debian's own default site is on, as the package brings it.

    It takes every request that names no host, or a name no other site has, and answers 404, on
    which a station drops its message. One that somebody has changed is theirs.
    """
    if not DEFAULT.is_symlink() or DEFAULT.resolve() != AVAILABLE / "default":
        return False
    text = read(AVAILABLE / "default") or ""
    code, said = ask("dpkg-query", "--show", "--showformat=${Conffiles}", "nginx-common")
    digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    is_packaged = code != 0 or f"{AVAILABLE / 'default'} {digest}" in said
    return is_packaged and "default_server" in text


def loaded_at() -> float | None:
    """When nginx last read its configuration: its newest worker's start, UNIX seconds.

    None if it does not run.
    """
    try:
        pid = int(PID_FILE.read_text(encoding="ascii"))
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return max((at for child in children if (at := _started(child)) is not None), default=None)


def _started(pid: str) -> float | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # Field 22, in ticks since the boot: proc(5). The second may have spaces in it.
    ticks = int(stat.rpartition(")")[2].split()[19])
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def group() -> str:
    """The group of nginx's workers."""
    found = re.search(r"^\s*user\s+(\S+?)(?:\s+(\S+?))?\s*;", read(MAIN) or "", re.M)
    return (found[2] or found[1]) if found else "www-data"


def group_number() -> int | None:
    """The number of that group, None if this machine has no such group."""
    try:
        return grp.getgrnam(group()).gr_gid
    except KeyError:
        return None


def _leads(path: Path, target: Path) -> bool:
    return path.exists() and path.resolve() == target.resolve()


def _state(path: Path) -> str | Path | None:
    """What is at ``path``: a link's target, a file's text, or nothing."""
    return path.readlink() if path.is_symlink() else read(path)
