"""``habitat console``: the console's users."""

from __future__ import annotations

from pathlib import Path

import click

from habitat_like.cli import options, rights
from habitat_like.cli.text import printable
from habitat_like.console import users


@click.group(epilog="Example: habitat console passwd alice")
@options.config_option
def command(config_path: str | None) -> None:
    """Manage the users of the console in the browser."""


@command.command(
    "passwd",
    cls=options.Command,
    epilog=(
        "Examples: habitat console passwd alice\n"
        "          habitat console passwd --role viewer bob\n"
        "          runuser -u habitat -- habitat console passwd --remove alice"
    ),
)
@options.config_option
@click.option(
    "--role",
    type=click.Choice(users.ROLES),
    help=(
        "What the user may do: all (operator), or see all but addresses and settings (viewer)."
        " A new user is an operator, another keeps the present role."
    ),
)
@click.option("--remove", is_flag=True, help="Remove the user from the file.")
@click.argument("name", metavar="NAME")
def passwd(config_path: str | None, role: str | None, remove: bool, name: str) -> int:
    """Set a user's password in console.password_file, and create the file if it is missing.

    Asks for the password on a terminal, and otherwise reads it from standard input. The change
    takes effect at once, and ends every session of the console. Run it as the gateway's user, or
    as root: then a file that the gateway can't read is given to the gateway's user.
    """
    config = options.load_config(config_path)
    named = config.console.password_file
    if named is None:
        likely = Path(config.journal.path).absolute().with_name("console-users")
        raise options.ConfigurationFailure(
            f"console.password_file is not set; set it, such as to {likely}, where the gateway's"
            " user may write"
        )
    try:
        users.check_name(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if remove and role is not None:
        raise click.UsageError("--remove and --role exclude each other")
    password = None if remove else options.ask_password()
    try:
        if password is not None:
            users.check_password(password)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    try:
        known = users.write(Path(named), name, password, rights.gateway_owner(config), role)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise click.ClickException(f"{named}: {reason}") from None
    if remove and not known:
        raise click.ClickException(f"there is no user {name!r} in {named}")
    done = "removed from" if remove else "changed in" if known else "added to"
    click.echo(printable(f"{name} {done} {named}"))
    return 0
