"""``habitat station``: what HiSPARC stations do, and their list."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from habitat_like import passwords, times
from habitat_like.cli import client, options, output
from habitat_like.cli.text import printable
from habitat_like.networks.hisparc import stations
from habitat_like.networks.hisparc.stations import Station, StationListError

NEVER = "-"


@click.group(epilog="Example: habitat station ls")
@options.config_option
def command(config_path: str | None) -> None:
    """Show what HiSPARC stations do; hash passwords; check a station list."""


@command.command("ls", cls=options.Command, epilog="Example: habitat station ls")
@options.config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def ls(config_path: str | None, as_json: bool) -> None:
    """Show each station of the list, and what the running gateway knows of it.

    The counts are those of this day (UTC), and begin at 0 when the gateway starts.
    """
    config = options.load_config(config_path)
    if config.hisparc.station_list is None:
        raise options.ConfigurationFailure(
            "hisparc.station_list is not set, so no station can upload"
        )
    listed = _load(config.hisparc.station_list)
    facts = _ask(config.gateway.socket, config.gateway.timeout)
    known = facts["hisparc"]["stations"]
    rows = [_facts(station, known.get(str(station.number))) for station in listed]
    if as_json:
        sys.stdout.buffer.write(output.encode_for(rows, sys.stdout.isatty()) + b"\n")
        return
    header = ("number", "cluster", "last upload", "events", "suspicious", "failed passwords")
    output.print_table(header, (_cells(row) for row in rows))
    click.echo(f"today (UTC), and since the gateway's start {times.show(int(facts['started']))}")


@command.command(
    "hash",
    cls=options.Command,
    epilog="\b\nExamples: habitat station hash\n          habitat station hash list.csv > new.csv",
)
@click.argument("file", metavar="[FILE]", required=False)
def hash_(file: str | None) -> None:
    """Print the hash of a password, for the station list.

    The password is asked for on a terminal, and read from standard input elsewhere. With FILE, a
    station list, prints that list with every password hashed that stands there in clear.
    """
    if file is not None:
        for station in _load(file):
            stored = station.password
            if not passwords.is_hash(stored):
                stored = passwords.make_hash(stored)
            click.echo(f"{station.number},{_quoted(station.cluster)},{stored}")
        return
    click.echo(passwords.make_hash(options.ask_password()))


@command.command("check", cls=options.Command, epilog="Example: habitat station check stations.csv")
@click.argument("file", metavar="FILE")
def check(file: str) -> int:
    """Check a station list. Exit code 2 if it can't be used, with a line for each reason."""
    try:
        found, problems = stations.examine(file)
    except StationListError as error:
        raise options.ConfigurationFailure(str(error)) from None
    for problem in problems:
        click.echo(printable(f"{file} {problem}"), err=True)
    if problems:
        return 2
    clear = sum(not passwords.is_hash(station.password) for station in found.values())
    clusters = len({station.cluster for station in found.values()})
    click.echo(f"{len(found)} stations in {clusters} clusters, {clear} with the password in clear")
    if clear and Path(file).stat().st_mode & 0o007:
        click.echo(f"everybody can read {printable(file)}; chmod o= it", err=True)
    return 0


def _load(path: str) -> list[Station]:
    """The stations in ``path`` in the order of their numbers."""
    try:
        return sorted(stations.load(path).values())
    except StationListError as error:
        raise options.ConfigurationFailure(str(error)) from None


def _ask(socket: str, timeout: float) -> dict[str, Any]:
    """What the running gateway says of itself. Raises click.ClickException."""
    try:
        status, body = client.get(socket, "/status", timeout)
        facts = msgspec.json.decode(body, type=dict[str, Any]) if status == 200 else {}
    except client.GatewayError as error:
        raise click.ClickException(str(error)) from None
    except msgspec.DecodeError as error:
        raise click.ClickException(f"the gateway's answer is no JSON object ({error})") from None
    if not facts.get("hisparc"):
        raise click.ClickException(
            "the running gateway takes no uploads of stations; reload it after setting"
            " hisparc.station_list"
        )
    return facts


def _facts(station: Station, known: dict[str, Any] | None) -> dict[str, Any]:
    empty = {
        "last_upload": None,
        "events_today": 0,
        "suspicious_today": 0,
        "failed_passwords_today": 0,
    }
    return {"number": station.number, "cluster": station.cluster, **(known or empty)}


def _cells(row: dict[str, Any]) -> list[str]:
    last = row["last_upload"]
    return [
        str(row["number"]),
        row["cluster"],
        NEVER if last is None else times.show(int(last)),
        *(str(row[f"{name}_today"]) for name in ("events", "suspicious", "failed_passwords")),
    ]


def _quoted(cell: str) -> str:
    """A cell of a CSV file."""
    if any(char in cell for char in ',"'):
        return '"' + cell.replace('"', '""') + '"'
    return cell
