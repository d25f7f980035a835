"""``habitat serve``: runs the gateway in the foreground."""

from __future__ import annotations

import click

from habitat_like.cli import options
from habitat_like.main.program import Program


@click.command(
    cls=options.Command, epilog="Example: habitat serve --config /etc/habitat/config.yml"
)
@options.config_option
def command(config_path: str | None) -> int:
    """Run the gateway in the foreground.

    SIGTERM or SIGINT (Ctrl-C) stops it without loss, SIGHUP reloads the configuration.
    """
    config = options.load_config(config_path)
    return Program(config, options.chosen_path(config_path)).main()
