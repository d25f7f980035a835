"""The ``habitat`` command. One module a command, imported only when that command runs."""

from __future__ import annotations

import contextlib
import importlib
import keyword
import os
import sys
from collections.abc import Sequence

import click

from habitat_like import __version__
from habitat_like.cli.text import printable

#: Each command with its line in ``habitat --help``; the module of that name defines ``command``,
#: with an underscore behind it where the name is a keyword of Python's.
COMMANDS = {
    "archive": "List what is archived, month by month, and drop what is old.",
    "backup": "Make a backup of archive, journal and configuration, while the gateway runs.",
    "check": "Check the configuration, directories, socket and archive.",
    "console": "Manage the users of the console in the browser.",
    "ctl": "Control the running gateway: maintenance, logs, reload, drain.",
    "doctor": "Look for what keeps uploads from working, from the outside in.",
    "export": "Write archived messages to a file.",
    "import": "Import exported messages into the archive.",
    "journal": "Show the backlog; list, retry, export and drop dead letters.",
    "nginx": "Print the nginx location block for the configuration.",
    "payloads": "Check payload configurations, and try sentences on them.",
    "query": "Print archived messages.",
    "report": "Print a summary of a day, for mail.",
    "restore": "Put a backup back.",
    "serve": "Run the gateway in the foreground.",
    "setup": "Make a server of this machine: gateway, nginx, archive, console.",
    "station": "Manage stations of other networks: identities, callsigns, secrets.",
    "stations": "List the stations that were heard, or the silent ones.",
    "status": "Show the state of the running gateway.",
    "tail": "Print the newest archived messages, and new ones as they come.",
}
INTERRUPTED = 130
#: Set by a shell that completes a command line, to what it wants to know.
COMPLETE = "_HABITAT_COMPLETE"


class LazyGroup(click.Group):
    """The ``habitat`` command, which imports a subcommand's module only to run that subcommand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the subcommands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand of this name, None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        name = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        module = importlib.import_module(f"habitat_like.cli.{name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the subcommand; an unknown one is refused with the nearest right name."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            import difflib  # noqa: PLC0415 (slow to import, and needed for mistakes alone)

            near = difflib.get_close_matches(args[0], COMMANDS, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: habitat query --callsign M0ZDR --since 2h",
)
@click.option(
    "--config",
    metavar="PATH",
    help="The configuration file. [default: $HABITAT_CONFIG or /etc/habitat/config.yml]",
)
@click.version_option(__version__, message="habitat %(version)s")
def habitat(config: str | None) -> None:
    """A durable gateway between field stations and a message archive."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line ``args`` (None: the process's own); returns the exit code.

    0 is done, 1 failed at run time, 2 wrong usage or configuration, 130 interrupted.
    """
    _prepare_streams()
    words = list(sys.argv[1:] if args is None else args)
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has closed it (``habitat query | head``).
        code = 0
    except OSError as error:
        _complain("habitat", f"{error.filename or 'output'}: {error.strerror or error}")
        code = 1
    except KeyboardInterrupt:
        code = INTERRUPTED
    _settle_stdout()
    return code


def _run(words: list[str]) -> int:
    try:
        # Not click's own main(): that prints several lines for an error and a blank one for Ctrl-C.
        if wanted := os.environ.get(COMPLETE):
            from click.shell_completion import shell_complete  # noqa: PLC0415 (for a shell alone)

            return shell_complete(habitat, {}, "habitat", COMPLETE, wanted)
        with habitat.make_context("habitat", words or ["--help"]) as context:
            result = habitat.invoke(context)
            return result if isinstance(result, int) else 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "habitat"
        text = error.format_message().rstrip(".")
        _complain(path, text if "--help" in text else f"{text}; see {path} --help")
        return error.exit_code
    except click.ClickException as error:
        _complain("habitat", error.format_message())
        return error.exit_code
    except click.Abort:
        return INTERRUPTED


def _complain(who: str, text: str) -> None:
    line = printable(" ".join(text.split()))
    with contextlib.suppress(OSError):
        print(f"{who}: {line}", file=sys.stderr)


def _prepare_streams() -> None:
    """Make the standard streams usable whatever the caller closed and whatever the locale is."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Takes the lowest free number, this one, which none of our files may get: C libraries
            # write there.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _settle_stdout() -> None:
    """Keep what can't be written any more from being tried, and complained about, at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
