"""``habitat station``: who is who among the stations of networks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from habitat_like import passwords, times
from habitat_like.cli import options, output, status
from habitat_like.cli.text import printable
from habitat_like.config.keys import Config, ConfigError
from habitat_like.networks import catalogue, station_file, stations
from habitat_like.networks.base import StationList
from habitat_like.networks.stations import Station, Stations

NEVER = "-"
YAML = (".yml", ".yaml")
RELOAD = "in force after 'habitat ctl reload'"


@click.group(epilog="Example: habitat station ls")
@options.config_option
def command(config_path: str | None) -> None:
    """Manage stations of other networks: identities, callsigns, secrets."""


@command.command("ls", cls=options.Command, epilog="Example: habitat station ls")
@options.config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def ls(config_path: str | None, as_json: bool) -> None:
    """List the stations in the file, without identities and secrets.

    For a network with its own list, also what the running gateway knows about each station. The
    counts are for today (UTC), and start from 0 with the gateway.
    """
    config = options.load_config(config_path)
    listed = _own_lists(config)
    if config.stations is None and not listed:
        raise options.ConfigurationFailure(
            "the key stations is not set, and no network with a list of its own is on"
        )
    tables: list[list[dict[str, Any]]] = []
    if config.stations is not None:
        key = stations.load_key(stations.key_path(config.journal.path))
        tables.append([_facts(entry, key) for entry in stations.read(config.stations)])
    note = None
    if listed:
        facts, _ = status.ask(config.gateway)
        for name, (own, settings) in listed.items():
            if name not in facts.networks:
                raise click.ClickException(
                    f"the running gateway accepts no uploads of {name}; reload it"
                )
            tables.append(own.show(settings, facts.networks[name].own))
        note = f"today (UTC), and since the gateway's start {times.show(int(facts.started))}"
    if as_json:
        rows = [row for table in tables for row in table]
        sys.stdout.buffer.write(output.encode_for(rows, sys.stdout.isatty()) + b"\n")
        return
    for rows in tables:
        if rows:
            header = tuple(name.replace("_", " ") for name in rows[0])
            output.print_table(header, ([_cell(*pair) for pair in row.items()] for row in rows))
    if note is not None:
        click.echo(note)


@command.command(
    "add",
    cls=options.Command,
    epilog="\b\nExamples: habitat station add --network airrohr --identity esp8266-1234567 \\"
    "\n              --callsign BAKERY"
    "\n          habitat station add --network weather --identity - --callsign M0ZDR",
)
@options.config_option
@click.option("--network", required=True, help="The station's network, such as weather.")
@click.option(
    "--identity",
    help="The name by which the station identifies itself; - to ask for it or read it from stdin.",
)
@click.option("--identity-hash", help="The keyed hash of its identity instead, 12 digits or more.")
@click.option("--callsign", required=True, help="Its callsign here.")
@click.option("--secret", help="The secret it must send; - to ask for it or read it from stdin.")
@click.option("--name", help="Its name, for people.")
@click.option("--latitude", type=float, help="Degrees, for stations that don't send it.")
@click.option("--longitude", type=float, help="Degrees.")
@click.option("--altitude", type=float, help="Metres.")
def add(config_path: str | None, **given: Any) -> None:
    """Add a station to the stations file.

    The secret is stored as a hash. If a network's identities are secret, the identity is stored
    as a keyed hash.
    """
    config = options.load_config(config_path)
    path = _file(config)
    network = _network(given["network"])
    for name in ("identity", "secret"):
        if given[name] == "-":
            given[name] = options.ask_password(name)
    if (given["identity"] is None) == (given["identity_hash"] is None):
        raise click.UsageError("give either --identity or --identity-hash")
    if given["secret"] is not None and not passwords.is_hash(given["secret"]):
        given["secret"] = passwords.make_hash(given["secret"])
    key = stations.load_key(stations.key_path(config.journal.path))
    if given["identity"] is not None and catalogue.find(network).secret_identity:
        given["identity_hash"] = Stations(key).hash(network, given.pop("identity"))
    try:
        entry = msgspec.convert({**given, "network": network}, Station)
        stations.check_entry(entry)
    except ValueError as error:
        raise click.UsageError(" ".join(str(error).replace("`", "").split())) from None
    try:
        before = stations.read(path) if path.exists() else []
        Stations(key, [*before, entry])
        station_file.add(path, entry)
    except ConfigError as error:
        text = str(error)
        if text.startswith("entry "):
            text = f"{path} already has a station with this identity; remove that first"
        raise options.ConfigurationFailure(text) from None
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    click.echo(f"added to {printable(str(path))}; {RELOAD}", err=True)


@command.command("rm", cls=options.Command, epilog="Example: habitat station rm BAKERY")
@options.config_option
@click.argument("callsign", metavar="CALLSIGN")
@click.option("--network", help="Only its entries for this network.")
def rm(config_path: str | None, callsign: str, network: str | None) -> int:
    """Remove a station from the stations file. Exit code 1 if it isn't there."""
    path = _file(options.load_config(config_path))
    try:
        count = station_file.remove(path, callsign, network)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    if not count:
        click.echo(f"{printable(callsign)} is not in {printable(str(path))}", err=True)
        return 1
    click.echo(f"removed {count} from {printable(str(path))}; {RELOAD}", err=True)
    return 0


@command.command(
    "hash",
    cls=options.Command,
    epilog="\b\nExamples: habitat station hash\n          habitat station hash --network weather"
    "\n          habitat station hash list.csv > new.csv",
)
@options.config_option
@click.option("--network", help="The keyed hash of an identity of this network.")
@click.argument("file", metavar="[FILE]", required=False)
def hash_(config_path: str | None, network: str | None, file: str | None) -> None:
    """Print the hash of a secret, for a list of stations; with --network, of an identity.

    Asks for the secret on a terminal, and otherwise reads it from standard input. With FILE, a
    network's own list, prints that list with every plain-text password hashed.
    """
    if file is not None:
        for line in _any_list().hashed(file):
            click.echo(line)
        return
    if network is not None:
        config = options.load_config(config_path)
        key = stations.load_key(stations.key_path(config.journal.path))
        click.echo(Stations(key).hash(_network(network), options.ask_password("identity")))
        return
    click.echo(passwords.make_hash(options.ask_password()))


@command.command("check", cls=options.Command, epilog="Example: habitat station check stations.csv")
@click.argument("file", metavar="FILE")
def check(file: str) -> int:
    """Check a list of stations: a stations file (.yml), or a network's own list.

    Exit code 2 if it can't be used, with one line per error.
    """
    if file.endswith(YAML):
        entries = stations.read(file)
        click.echo(f"{len(entries)} stations of {len({one.network for one in entries})} networks")
        is_secret = True
    else:
        text, problems, is_secret = _any_list().examine(file)
        for problem in problems:
            click.echo(printable(f"{file} {problem}"), err=True)
        if problems:
            return 2
        click.echo(text)
    if is_secret and Path(file).stat().st_mode & 0o007:
        click.echo(f"everybody can read {printable(file)}; chmod o= it", err=True)
    return 0


def _own_lists(config: Config) -> dict[str, tuple[StationList, Any]]:
    """The networks that are on and have a list of their own, with their settings."""
    pairs = zip(config.networks.values(), catalogue.classes(config.networks).values(), strict=True)
    return {
        network.name: (network.station_list, catalogue.settings_of(network.name, settings))
        for settings, network in pairs
        if network.station_list is not None
    }


def _any_list() -> StationList:
    """The one kind of list that a network of ours has of its own."""
    found = (catalogue.find(name).station_list for name in catalogue.BUILT_IN)
    return next(one for one in found if one is not None)


def _file(config: Config) -> Path:
    if config.stations is None:
        raise options.ConfigurationFailure(
            "the key stations is not set; name a file in it, such as /etc/habitat/stations.yml"
        )
    return Path(config.stations)


def _network(name: str) -> str:
    """The name of a network whose stations are in the stations file."""
    try:
        network = catalogue.find(name)
    except ConfigError as error:
        raise click.BadOptionUsage("network", str(error)) from None
    if network.station_list is not None:
        raise click.BadOptionUsage("network", f"{name} has its own list of stations")
    return network.name


def _facts(entry: Station, key: bytes) -> dict[str, Any]:
    """What is shown of an entry."""
    hashed = entry.identity_hash or Stations(key).hash(entry.network, entry.identity or "")
    return {
        "network": entry.network,
        "callsign": entry.callsign.upper(),
        "name": entry.name,
        "identity_hash": hashed[: stations.SHORT_HASH].lower(),
        "secret": entry.secret is not None,
        "latitude": entry.latitude,
        "longitude": entry.longitude,
        "altitude": entry.altitude,
    }


def _cell(name: str, value: Any) -> str:
    if value is None:
        return NEVER
    if isinstance(value, bool):
        return "yes" if value else NEVER
    return times.show(int(value)) if name.startswith("last_") else str(value)
