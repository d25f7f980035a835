"""``habitat nginx``: prints the nginx location block that fits the configuration."""

from __future__ import annotations

import math
import re
from pathlib import Path
from string import Template

import click

from habitat_like.cli import options
from habitat_like.config.keys import Config
from habitat_like.http.response import RETRY_AFTER
from habitat_like.networks import web_server

#: Room over gateway.max_body, so that the gateway itself can answer bodies a little too large.
BODY_MARGIN = 65536
#: Seconds over what the gateway allows itself, so that its own answer always comes first.
TIME_MARGIN = 5

BLOCK = Template("""\
# Goes inside a server { } block; made by 'habitat nginx'. Check it with 'nginx -t'.
location / {
    # The gateway's socket (gateway.socket)$relative.
    scgi_pass $socket;

    # The request; nginx adds CONTENT_LENGTH and the client's header fields itself.
    scgi_param SCGI            1;
    scgi_param REQUEST_METHOD  $$request_method;
    scgi_param REQUEST_URI     $$request_uri;
    scgi_param DOCUMENT_URI    $$document_uri;
    scgi_param QUERY_STRING    $$query_string;
    scgi_param CONTENT_TYPE    $$content_type;
    scgi_param SERVER_PROTOCOL $$server_protocol;
    scgi_param SERVER_NAME     $$server_name;
    scgi_param SERVER_PORT     $$server_port;
    scgi_param REQUEST_SCHEME  $$scheme;
    scgi_param HTTPS           $$https if_not_empty;
    # The station's address, archived with its messages. Behind another proxy, restore it with
    # set_real_ip_from and real_ip_header.
    scgi_param REMOTE_ADDR     $$remote_addr;
    scgi_param REMOTE_PORT     $$remote_port;

    # A little over gateway.max_body ($max_body), so that a station that sends too much gets the
    # gateway's own one-line answer.
    client_max_body_size $client_max_body_size;
    # A slow station costs nginx a buffer, not the gateway a connection.
    scgi_request_buffering on;

    # gateway.timeout ($timeout s), and gateway.shutdown_timeout ($shutdown_timeout s) for requests
    # that wait in the socket during a restart, plus a margin.
    scgi_connect_timeout $connect_timeout;
    scgi_send_timeout    $send_timeout;
    scgi_read_timeout    $read_timeout;
    # A station that hangs up does not stop its message from being stored.
    scgi_ignore_client_abort on;

    # When the gateway accepts no connections (it is down, or too many are waiting), or does not
    # answer in time. Stations send a message again later unless it got a 200.
    error_page 502 504 = @habitat_unavailable;

    # Only for operators and monitoring on this machine; everything else is inherited from above.
    location ~ ^/+(status|metrics|healthz|readyz)(/|$$) {
        allow 127.0.0.1;
        allow ::1;
        deny  all;
        scgi_pass $socket;
    }
$console$inside}
location @habitat_unavailable {
    # The same response as the gateway gives when it can't store a message.
    default_type text/plain;
    add_header Retry-After $retry_after always;
    return 503 "the gateway can't be reached; try again later\\n";
}
$beside""")
#: The console's location; on port 80 beside HTTPS it is one of those that are redirected.
CONSOLE = Template(r"""
    # Passwords for the console travel only over HTTPS, or on this machine. If you protect them
    # in another way, remove the line with "return".
    location ~ ^/+console(/|$$) {
        default_type text/plain;
        set $$habitat_console "$$scheme $$remote_addr";
        if ($$habitat_console !~ "^(https |http (127[.]|::1$$|::ffff:127[.]|unix:))") {
            return 403 "the console is served only over HTTPS, or to this machine\n";
        }
        scgi_pass $socket;
    }
""")
#: On port 80, instead of passing everything to the gateway.
REDIRECT = "return 301 https://$host$request_uri;"


@click.command(
    cls=options.Command,
    epilog="Example: habitat nginx > /etc/nginx/snippets/habitat.conf",
)
@options.config_option
@click.option(
    "--redirect",
    is_flag=True,
    help="For port 80 next to HTTPS: accept uploads of clients without TLS, redirect the rest.",
)
@click.option("--all", "everything", is_flag=True, help="Include the networks that are off.")
def command(config_path: str | None, redirect: bool, everything: bool) -> None:
    """Print the nginx location block for the configuration and its networks.

    Put it inside a server { } block, for example with nginx's include.
    """
    config = options.load_config(config_path)
    click.echo(location_block(config, redirect=redirect, everything=everything), nl=False)


def location_block(config: Config, *, redirect: bool = False, everything: bool = False) -> str:
    """The text of the block, for the networks that are on, or ``everything``.

    ``redirect``: clients that need no plain HTTP are sent to HTTPS. Raises click.ClickException for
    a path that nginx can't be told, ConfigError.
    """
    networks = web_server.networks_of(config, everything=everything)
    gateway = config.gateway
    waiting = gateway.timeout + gateway.shutdown_timeout + TIME_MARGIN
    given = Path(gateway.socket)
    relative = "" if given.is_absolute() else ", relative to the directory of this command"
    socket = _quoted(f"unix:{given.absolute()}")
    if redirect:
        networks = [network for network in networks if network.plain_http]
    text = BLOCK.substitute(
        socket=socket,
        inside=web_server.inside(networks, socket, all_of_them=redirect),
        beside=web_server.beside(networks),
        console="" if redirect else CONSOLE.substitute(socket=socket),
        relative=relative,
        max_body=gateway.max_body,
        client_max_body_size=gateway.max_body + BODY_MARGIN,
        timeout=f"{gateway.timeout:g}",
        shutdown_timeout=f"{gateway.shutdown_timeout:g}",
        connect_timeout=f"{math.ceil(gateway.timeout + TIME_MARGIN)}s",
        send_timeout=f"{math.ceil(waiting)}s",
        read_timeout=f"{math.ceil(waiting)}s",
        retry_after=RETRY_AFTER,
    )
    if redirect:
        text = text.replace(f"scgi_pass {socket};", REDIRECT, 1)
    return text


def _quoted(path: str) -> str:
    if "$" in path or not path.isprintable():
        raise options.ConfigurationFailure(
            f"gateway.socket: nginx can't be given the path {path!r}; choose one of letters,"
            " digits, / . _ -"
        )
    if re.fullmatch(r"[\w/.:,+@=-]+", path):
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
