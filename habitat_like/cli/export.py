"""``habitat export``: writes the archive, or a part of it, to a file."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from habitat_like import times
from habitat_like.archive import open_archive
from habitat_like.archive.base import Archive, ArchiveError, Query
from habitat_like.archive.csv_form import csv_blocks, csv_header
from habitat_like.cli import options, output, rights
from habitat_like.cli.progress import Counted, on_terminal, with_progress
from habitat_like.cli.resume import Place, find_place
from habitat_like.cli.target import PartFile, is_stream, whole_file
from habitat_like.cli.text import printable

FileFormat = Literal["ndjson", "csv"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an export is of. It is kept beside the unfinished file, for who goes on with it.

    ``archive`` is the archive's name, ``begun`` the time at which relative times are counted from;
    the rest is as in ``Query``.
    """

    archive: str
    form: FileFormat
    callsign: str | None
    type: str | None
    suspicious: bool
    since: int
    until: int
    begun: float

    def query(self, **more: Any) -> Query:
        """The query for these messages, the oldest first; ``more`` of it can be given."""
        filters = ("callsign", "type", "suspicious", "since", "until")
        kept: dict[str, Any] = {name: getattr(self, name) for name in filters}
        return Query(**{**kept, "order": "asc", **more})


@click.command(
    cls=options.Command,
    epilog=(
        "\b\n"
        "Examples: habitat export --suspicious backup.ndjson.gz\n"
        "          habitat export --resume backup.ndjson.gz\n"
        "          habitat export --callsign M0ZDR --since 2026-11-01 november.csv"
    ),
)
@options.config_option
@options.callsign_option
@options.type_option
@options.suspicious_option
@options.times_option(options.check_time)
@click.option(
    "--format",
    "form",
    type=click.Choice(["ndjson", "csv"]),
    help=(
        "ndjson: one whole document per line, which 'habitat import' reads; csv: with a header"
        " and data as JSON. [default: csv if FILE ends in .csv or .csv.gz, else ndjson]"
    ),
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue an interrupted export to FILE; do nothing if FILE is complete.",
)
@click.argument("file", metavar="[FILE|-]", default="-")
def command(
    *,
    config_path: str | None,
    callsign: str | None,
    type_: str | None,
    suspicious: bool,
    since: str | None,
    until: str | None,
    form: FileFormat | None,
    resume: bool,
    file: str,
) -> None:
    """Write archived messages to FILE, or to standard output, oldest first.

    FILE appears when it is complete and on disk. Until then it is FILE.part, which stays if the
    export is interrupted, even by kill -9 or a full disk: --resume continues after its last
    complete row. A FILE whose name ends in .gz is compressed. If root writes it, the gateway's
    group can read it. A backup needs --suspicious.
    """
    config = options.load_config(config_path)
    given = {
        "form": form,
        "callsign": callsign,
        "type": type_,
        "suspicious": suspicious or None,
        "since": since,
        "until": until,
    }
    stream = is_stream(file)
    if resume and stream:
        raise click.UsageError("--resume needs the FILE of an interrupted export")
    path = Path(file)
    if path.is_dir():
        raise click.UsageError(f"{file} is a directory; name a file in it")
    with contextlib.closing(open_archive(config.archive)) as archive:
        if stream:
            _print(archive, _plan(archive, given, file), file)
        elif resume and path.exists() and not PartFile(path).part.exists():
            click.echo(
                f"{file} is already complete; leave out --resume to write it again", err=True
            )
        else:
            owner = rights.gateway_owner(config)
            _write(archive, given, path, resume=resume, group=owner[1] if owner else -1)


def _plan(archive: Archive, given: dict[str, Any], file: str, begun: float | None = None) -> Plan:
    """The plan that the command line's values make; relative times count from ``begun``."""
    begun = time.time() if begun is None else begun
    names = ("since", "until")
    since, until = (given[name] and times.parse(given[name], begun) for name in names)
    bounds = options.check_times(since, until)
    csv = Path(file.removesuffix(".gz")).suffix == ".csv"
    return Plan(
        archive=archive.name,
        form=given["form"] or ("csv" if csv else "ndjson"),
        callsign=given["callsign"],
        type=given["type"],
        suspicious=bool(given["suspicious"]),
        since=bounds[0],
        until=bounds[1],
        begun=begun,
    )


def _print(archive: Archive, plan: Plan, file: str) -> None:
    """Write to standard output, a pipe or a device: there is nothing to go on with."""
    terminal = file == "-" and sys.stdout.isatty()
    if terminal and plan.form == "ndjson":
        output.print_lines(archive.lines(plan.query()), array=False)
        return
    pieces = _Pieces(archive, plan, Place(), shown=not terminal, terminal=terminal)
    with whole_file(file) as out:
        out.writelines(pieces)


def _write(
    archive: Archive, given: dict[str, Any], path: Path, *, resume: bool, group: int
) -> None:
    """Write to the file ``path``, which ``group`` may read (-1: the user's own)."""
    with PartFile(path, packed=path.suffix == ".gz", group=group) as part:
        # An empty one has nothing to keep, and its notes may be incomplete.
        if resume and part.size():
            plan = _resumed_plan(archive, given, part)
            with part.reader() as begun:
                place = find_place(begun, header=_header(plan), packed=path.suffix == ".gz")
            part.cut(place.size)
        else:
            plan, place = _plan(archive, given, str(path)), Place()
            part.begin(msgspec.json.encode(plan) + b"\n")
        pieces = _Pieces(archive, plan, place)
        try:
            for piece in pieces:
                part.write(piece)
            part.finish()
        except (ArchiveError, OSError) as error:
            reason = f"{part.part}: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise click.ClickException(f"{reason}; {_how_to_go_on(part, pieces)}") from None
        except KeyboardInterrupt:
            click.echo(f"habitat export: interrupted; {_how_to_go_on(part, pieces)}", err=True)
            raise
    more = f", {pieces.count - place.count} of them now" if place.count else ""
    click.echo(f"wrote {pieces.count} messages to {path}{more}", err=True)


def _resumed_plan(archive: Archive, given: dict[str, Any], part: PartFile) -> Plan:
    """The plan of the unfinished export. Raises click.ClickException when another one is given."""
    try:
        plan = msgspec.json.decode(part.read_notes(), type=Plan)
    except (OSError, msgspec.DecodeError):
        raise click.ClickException(
            f"{part.notes}, which says what {part.part} exports, can't be read: leave out "
            "--resume to start over"
        ) from None
    wanted = _plan(archive, given, str(part.path), plan.begun)
    for name in ("archive", *given):
        if (name == "archive" or given[name] is not None) and (
            getattr(wanted, name) != getattr(plan, name)
        ):
            what = {"form": "--format", "archive": "archive.uri"}.get(name, f"--{name}")
            kept, new = (getattr(one, name) for one in (plan, wanted))
            raise click.ClickException(
                f"{part.part} was started with another {what} ({kept}, not {new}): give the same, "
                "or leave out --resume to start over"
            )
    return plan


class _Pieces:
    """The rows of an export as bytes, one or more whole ones at a time.

    ``count`` is how many messages were read so far, those before ``place`` included.
    """

    def __init__(
        self,
        archive: Archive,
        plan: Plan,
        place: Place,
        *,
        shown: bool = True,
        terminal: bool = False,
    ) -> None:
        self._archive = archive
        self._plan = plan
        self._place = place
        self._shown = shown and on_terminal()
        self._terminal = terminal
        self._rows: Counted[Any] = Counted(())

    @property
    def count(self) -> int:
        return self._place.count + self._rows.count

    def __iter__(self) -> Iterator[bytes]:
        query = self._plan.query(after=self._place.last)
        if self._plan.form == "ndjson":
            self._rows = Counted(self._archive.lines(query))
            for line in self._with_progress(self._rows, _time_of_line):
                yield line + b"\n"
            return
        if not self._place.size:
            yield _header(self._plan)
        self._rows = Counted(self._archive.query(query))
        documents = self._with_progress(self._rows, lambda document: document["time_created"])
        clean = printable if self._terminal else None
        yield from csv_blocks(documents, suspicious=self._plan.suspicious, clean=clean)

    def _with_progress(self, rows: Iterable[Any], time_of: Any) -> Iterable[Any]:
        """``rows`` with a bar that follows their times, as nobody has counted them."""
        if not self._shown:
            return rows
        first = self._end("asc")
        last = self._end("desc")
        return with_progress(
            rows, "exporting", last - first, way=lambda row: float(time_of(row)) - first
        )

    def _end(self, order: Literal["asc", "desc"]) -> float:
        """The time of the oldest or the newest of the messages, 0 if there are none."""
        ends = self._archive.query(self._plan.query(order=order, limit=1))
        return float(next(ends, {"time_created": 0})["time_created"])


def _header(plan: Plan) -> bytes:
    return csv_header(plan.suspicious) if plan.form == "csv" else b""


def _how_to_go_on(part: PartFile, pieces: _Pieces) -> str:
    return f"about {pieces.count} messages are in {part.part}: continue with --resume"


class _Time(msgspec.Struct):
    time_created: float


_TIME = msgspec.json.Decoder(_Time)


def _time_of_line(line: bytes) -> float:
    return _TIME.decode(line).time_created


options.explain_times(command)
