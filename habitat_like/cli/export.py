"""``habitat export``: writes the archive, or a part of it, to a file."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from habitat_like import times
from habitat_like.archive import open_archive
from habitat_like.archive.base import Archive, ArchiveError, Query, holding
from habitat_like.cli import options, output, rights
from habitat_like.cli.progress import on_terminal, with_progress
from habitat_like.cli.resume import Place, find_place
from habitat_like.cli.target import PartFile, is_stream, whole_file
from habitat_like.export.csv_form import csv_header
from habitat_like.export.forms import FORMS
from habitat_like.export.selection import BUILT_IN, Box, Selection, Telling
from habitat_like.export.source import Source

#: What ``--format`` can be, and the end of a file's name that stands for it. With ``--flat``, csv
#: is another of ``FORMS``.
FORMATS = ("ndjson", "csv", "parquet", "geojson", "kml", "gpx")
#: Those that are the documents themselves, whatever a type's facts are.
RAW = ("ndjson", "csv")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an export is of. It is kept beside the unfinished file, for who goes on with it.

    ``archive`` is the archive's name, ``form`` one of ``FORMS``, ``begun`` the time at which
    relative times are counted from; the rest is as in ``Query`` and ``Selection``.
    """

    archive: str
    form: str
    callsign: str | None
    type: str | None
    suspicious: bool
    since: int
    until: int
    begun: float
    payload: str | None = None
    network: str | None = None
    box: Box | None = None

    def query(self, **more: Any) -> Query:
        """The query for these messages, the oldest first; ``more`` of it can be given."""
        filters = ("callsign", "type", "suspicious", "since", "until")
        kept: dict[str, Any] = {name: getattr(self, name) for name in filters}
        return Query(**{**kept, "order": "asc", **more})

    def selection(self) -> Selection:
        """What else they are selected by."""
        return Selection(payload=self.payload, network=self.network, box=self.box)


@click.command(
    cls=options.Command,
    epilog=(
        "\b\n"
        "Examples: habitat export --suspicious backup.ndjson.gz\n"
        "          habitat export --resume backup.ndjson.gz\n"
        "          habitat export --callsign M0ZDR --since 2026-11-01 november.csv\n"
        "          habitat export --payload HORUS-V2 --since 2d flight.kml"
    ),
)
@options.config_option
@options.callsign_option
@options.type_option
@options.suspicious_option
@options.selection_option
@options.times_option(options.check_time)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help=(
        "ndjson: one whole document per line, which 'habitat import' reads; csv: with a header"
        " and data as JSON; parquet: a flat table; geojson, kml, gpx: messages with a position."
        " [default: by the end of FILE, such as .csv or .csv.gz, else ndjson]"
    ),
)
@click.option(
    "--flat",
    is_flag=True,
    help="csv with a column for each value, times in ISO 8601 and packets as text.",
)
@click.option(
    "--resume",
    is_flag=True,
    help=(
        "Continue an interrupted export to FILE (ndjson, csv; the others start over); do nothing"
        " if FILE is complete."
    ),
)
@click.argument("file", metavar="[FILE|-]", default="-")
def command(
    *,
    config_path: str | None,
    callsign: str | None,
    type_: str | None,
    suspicious: bool,
    selection: Selection,
    since: str | None,
    until: str | None,
    form: str | None,
    flat: bool,
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
        "form": _form(form, flat, file),
        "callsign": callsign,
        "type": type_,
        "suspicious": suspicious or None,
        "since": since,
        "until": until,
        **msgspec.structs.asdict(selection),
    }
    stream = is_stream(file)
    if resume and stream:
        raise click.UsageError("--resume needs the FILE of an interrupted export")
    path = Path(file)
    if path.is_dir():
        raise click.UsageError(f"{path} is a directory; name a file in it")
    is_raw = (given["form"] or _by_name(file)) in RAW
    facts = BUILT_IN if is_raw and not selection else options.facts_of(config)
    with contextlib.closing(open_archive(config.archive)) as archive, holding(archive):
        if stream:
            _print(archive, facts, _plan(archive, given, file), file)
        elif resume and path.exists() and not PartFile(path).part.exists():
            click.echo(
                f"{file} is already complete; leave out --resume to write it again", err=True
            )
        else:
            owner = rights.gateway_owner(config)
            group = owner[1] if owner else -1
            _write(archive, facts, given, path, resume=resume, group=group)


def _plan(archive: Archive, given: dict[str, Any], file: str, begun: float | None = None) -> Plan:
    """The plan that the command line's values make; relative times count from ``begun``."""
    begun = time.time() if begun is None else begun
    names = ("since", "until")
    since, until = (given[name] and times.parse(given[name], begun) for name in names)
    bounds = options.check_times(since, until)
    return Plan(
        archive=archive.name,
        form=given["form"] or _by_name(file),
        callsign=given["callsign"],
        type=given["type"],
        suspicious=bool(given["suspicious"]),
        since=bounds[0],
        until=bounds[1],
        begun=begun,
        payload=given["payload"],
        network=given["network"],
        box=given["box"],
    )


def _form(form: str | None, flat: bool, file: str) -> str | None:
    """The one of ``FORMS`` that the options name, None if they don't. Raises click.UsageError."""
    if not flat:
        return form
    named = form or _by_name(file, default="csv")
    if named not in ("csv", "parquet"):
        raise click.UsageError(f"--flat is for csv, not for {named}")
    return "flat" if named == "csv" else named


def _by_name(file: str, default: str = "ndjson") -> str:
    """The format that a file's name ends in."""
    end = Path(file.removesuffix(".gz")).suffix.removeprefix(".")
    return end if end in FORMATS else default


def _print(archive: Archive, facts: Telling, plan: Plan, file: str) -> None:
    """Write to standard output, a pipe or a device: there is nothing to go on with."""
    terminal = file == "-" and sys.stdout.isatty()
    if terminal and FORMS[plan.form].is_binary:
        raise click.UsageError(f"{plan.form} is not for a terminal; name a FILE")
    work = _Work(archive, facts, plan, Place(), shown=not terminal)
    with whole_file(file) as out:
        for piece in work:
            out.write(output.text_for_terminal(piece) if terminal else piece)
    if work.source.left_out:
        click.echo(work.summary(), err=True)


def _write(
    archive: Archive,
    facts: Telling,
    given: dict[str, Any],
    path: Path,
    *,
    resume: bool,
    group: int,
) -> None:
    """Write to the file ``path``, which ``group`` may read (-1: the user's own)."""
    with PartFile(path, packed=path.suffix == ".gz", group=group) as part:
        plan, place = None, Place()
        # An empty one has nothing to keep, and its notes may be incomplete.
        if resume and part.size():
            plan = _resumed_plan(archive, given, part)
            if FORMS[plan.form].is_resumable:
                with part.reader() as begun:
                    place = find_place(begun, header=_header(plan), packed=path.suffix == ".gz")
                part.cut(place.size)
            else:
                click.echo(f"{plan.form} can't be continued: starting over", err=True)
        if plan is None or not FORMS[plan.form].is_resumable:
            plan = plan or _plan(archive, given, str(path))
            part.begin(msgspec.json.encode(plan) + b"\n")
        work = _Work(archive, facts, plan, place)
        try:
            for piece in work:
                part.write(piece)
            part.finish()
        except (ArchiveError, OSError) as error:
            reason = f"{part.part}: {error.strerror}" if isinstance(error, OSError) else str(error)
            raise click.ClickException(f"{reason}; {_how_to_go_on(part, plan, work)}") from None
        except KeyboardInterrupt:
            click.echo(f"habitat export: interrupted; {_how_to_go_on(part, plan, work)}", err=True)
            raise
    click.echo(f"wrote {work.summary(str(path))}", err=True)


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


class _Work:
    """The export as bytes, one or more whole rows at a time.

    ``count`` is how many messages are in it so far, those before ``place`` included.
    """

    def __init__(
        self, archive: Archive, facts: Telling, plan: Plan, place: Place, *, shown: bool = True
    ) -> None:
        self._plan = plan
        self._place = place
        watched = _Watched(archive, plan) if shown and on_terminal() else archive
        query = plan.query(after=place.last)
        self.source = Source(watched, query, plan.selection(), facts)
        self.count = place.count

    def __iter__(self) -> Iterator[bytes]:
        parts = FORMS[self._plan.form].write(self.source, None)
        with contextlib.closing(parts):
            if self._place.size and _header(self._plan):
                next(parts)  # it is there
            for part in parts:
                self.count += part.messages
                if part.data:
                    yield part.data

    def summary(self, path: str | None = None) -> str:
        """What was written, in words."""
        where = f" to {path}" if path else ""
        now = self.count - self._place.count
        more = f", {now} of them now" if self._place.count else ""
        left_out = [f"{count} without {what}" for what, count in self.source.left_out.items()]
        rest = f"; left out: {', '.join(left_out)}" if left_out else ""
        return f"{self.count} messages{where}{more}{rest}"


class _Watched:
    """An archive that is read with a progress bar, which follows the messages' times."""

    def __init__(self, archive: Archive, plan: Plan) -> None:
        self._archive = archive
        self._plan = plan

    def lines(self, query: Query) -> Iterator[bytes]:
        """As of the archive. Nobody has counted the messages."""
        first, last = self._end("asc"), self._end("desc")
        lines = self._archive.lines(query)
        way = lambda line: _time_of_line(line) - first  # noqa: E731
        return iter(with_progress(lines, "exporting", last - first, way=way))

    def _end(self, order: Literal["asc", "desc"]) -> float:
        """The time of the oldest or the newest of the messages, 0 if there are none."""
        ends = self._archive.query(self._plan.query(order=order, limit=1))
        return float(next(ends, {"time_created": 0})["time_created"])


def _header(plan: Plan) -> bytes:
    return csv_header(plan.suspicious) if plan.form == "csv" else b""


def _how_to_go_on(part: PartFile, plan: Plan, work: _Work) -> str:
    if not FORMS[plan.form].is_resumable:
        return f"{part.part} can't be continued: run it again"
    return f"about {work.count} messages are in {part.part}: continue with --resume"


class _Time(msgspec.Struct):
    time_created: float


_TIME = msgspec.json.Decoder(_Time)


def _time_of_line(line: bytes) -> float:
    return _TIME.decode(line).time_created


options.explain_times(command)
