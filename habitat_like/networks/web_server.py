"""What nginx needs for networks: their own overload answers, and no secrets in logs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from habitat_like.config.keys import Config
from habitat_like.http.response import RETRY_AFTER, Response
from habitat_like.networks import catalogue
from habitat_like.networks.base import STUBBORN, Network, Outcome, Route
from habitat_like.networks.observation import Request

TEXT = "the gateway can't be reached; try again later"
#: Statuses with which nginx itself says that it can't serve a request now: the gateway is down or
#: slow, or an operator's own limits are reached.
AWAY = "429 502 503 504"

HINTS = """\

    # Networks' stations are many, and each opens a connection of its own for every reading: give
    # nginx worker_connections 10000; in events { }, and worker_rlimit_nofile 20000; outside of it.
    # Queries of weather consoles fit into large_client_header_buffers 4 8k;, which is the default;
    # a body of up to 64 kB needs no file with this buffer.
    client_body_buffer_size 64k;
"""

UNREADABLE = """\
# A request line that can't be read at all may be one of a network's, with a key in it.
error_page 400 /habitat_unreadable;
location = /habitat_unreadable {
    internal;
    access_log off;
    default_type text/plain;
    return 400 "not a request that can be read\\n";
}
"""


class _Page(NamedTuple):
    """An answer by nginx itself, replacing the statuses ``codes``."""

    name: str
    codes: str
    answer: Response
    is_secret: bool


def networks_of(config: Config, *, everything: bool = False) -> list[Network]:
    """The networks that are on; with ``everything`` also our own that are off.

    Raises ConfigError for settings that can't be used.
    """
    found = {}
    for key, network in zip(
        config.networks, catalogue.classes(config.networks).values(), strict=True
    ):
        settings = catalogue.settings_of(key, config.networks[key])
        found[network.name] = network(settings, network.load(settings))
    for name in catalogue.BUILT_IN if everything else ():
        network = catalogue.find(name)
        if name not in found and network.station_list is None:
            found[name] = network(catalogue.settings_of(name, {}))
    return list(found.values())


def inside(networks: Iterable[Network], scgi_pass: str, *, all_of_them: bool = False) -> str:
    """Locations to nest in the gateway's own; ``scgi_pass`` is where they pass requests.

    Only those that need special treatment, or ``all_of_them``.
    """
    text = ""
    for network in networks:
        lines = _directives(network)
        if lines or all_of_them:
            text += f"\n    # Stations of the network {network.name}.\n"
            for place in places(network.routes):
                body = "".join(f"        {line}\n" for line in lines)
                text += f"    location {place} {{\n{body}        scgi_pass {scgi_pass};\n    }}\n"
    return f"{HINTS}{text}" if text else ""


def beside(networks: Iterable[Network]) -> str:
    """Locations and directives to put beside the gateway's own."""
    text = ""
    networks = list(networks)
    for network in networks:
        text += "".join(map(_location, _pages(network)))
    if any(network.secret_query for network in networks):
        text += UNREADABLE
    if names := ", ".join(network.name for network in networks if network.plain_http):
        text += (
            f"# Clients of {names} have no TLS, and no redirects work,\n"
            "# so keep port 80 open for them. A server of port 80 that sends\n"
            "# all others to HTTPS gets the block of 'habitat nginx --redirect'.\n"
        )
    return text


def places(routes: Iterable[Route]) -> list[str]:
    """nginx's locations of routes: one for all, and one for the root."""
    whole = sorted({_base(route.pattern) for route in routes if not route.glued})
    glued = sorted({_base(route.pattern) for route in routes if route.glued})
    found = []
    if rest := [re.escape(base) for base in whole if base]:
        found.append(f"~ ^/+(?:{'|'.join(rest)})(?:/|$)")
    if glued:
        found.append(f"~ ^/+(?:{'|'.join(map(re.escape, glued))})")
    return ["= /", *found] if "" in whole else found


def _base(pattern: str) -> str:
    """The parts of a pattern's path before its first variable, without outer slashes."""
    return re.split(r"[{*]", pattern)[0].strip("/")


def _directives(network: Network) -> list[str]:
    lines = []
    if network.secret_query:
        lines += [
            "# Queries have keys in them, which belong in no log.",
            "access_log off;",
            "error_log /dev/null crit;",
        ]
    return lines + [f"error_page {page.codes} = {page.name};" for page in _pages(network)]


def _pages(network: Network) -> Iterator[_Page]:
    """The answers that nginx itself gives a network's clients."""
    name = re.sub(r"\W", "_", network.name)
    overload = network.overload(TEXT, RETRY_AFTER)
    # Without one, the query would be logged when the default answer is sent.
    if network.secret_query or overload.status != 503 or network.family == STUBBORN:
        yield _Page(f"@habitat_{name}_unavailable", AWAY, overload, network.secret_query)
    if network.family == STUBBORN:
        # Otherwise it would be resent forever.
        taken = network.refused(Request("", ""), 413, "body: too large", Outcome([], []))
        yield _Page(f"@habitat_{name}_too_large", "413", taken, network.secret_query)


def _location(page: _Page) -> str:
    answer = page.answer
    lines = [f"default_type {answer.content_type.partition(';')[0]};"]
    lines += [f'add_header {key} "{text}" always;' for key, text in (answer.headers or {}).items()]
    if page.is_secret:
        lines.append("access_log off;")
    lines.append(f"return {answer.status}{_text(answer)};")
    body = "".join(f"    {line}\n" for line in lines)
    return f"location {page.name} {{\n{body}}}\n"


def _text(answer: Response) -> str:
    text = answer.body.decode("utf-8", "replace")
    if "$" in text:  # nginx has no way to write a dollar sign here
        text = ""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f' "{quoted}"'
