"""``habitat tail``: prints the newest archived messages and follows the archive."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Literal

import click
import msgspec

from habitat_like import times
from habitat_like.archive import open_archive
from habitat_like.archive.base import Archive, ArchiveUnavailable, Document, Query, to_json
from habitat_like.cli import options, output
from habitat_like.cli.text import printable

#: Seconds between two looks at the archive.
POLL = 1.0


@click.command(
    cls=options.Command, epilog="Example: habitat tail -f --callsign M0ZDR --format ndjson"
)
@options.config_option
@options.callsign_option
@options.type_option
@options.suspicious_option
@click.option(
    "-n",
    "--lines",
    "count",
    metavar="N",
    type=click.IntRange(0, 100_000),
    default=20,
    help="How many messages to start with. [default: 20]",
)
@click.option("-f", "--follow", is_flag=True, help="Keep printing messages as they are archived.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["compact", "ndjson"]),
    default="compact",
    help="compact: one short line each; ndjson: one document per line. [default: compact]",
)
def command(
    *,
    config_path: str | None,
    callsign: str | None,
    type_: str | None,
    suspicious: bool,
    count: int,
    follow: bool,
    form: Literal["compact", "ndjson"],
) -> None:
    """Print the newest archived messages, oldest first.

    With -f it keeps printing new messages in the order in which they are archived, through outages
    of the archive, until Ctrl-C.
    """
    config = options.load_config(config_path)
    with contextlib.closing(open_archive(config.archive)) as archive:
        # Taken before the query: what is archived in between appears twice rather than never.
        position = archive.position() if follow else ""
        query = Query(callsign=callsign, type=type_, suspicious=suspicious)
        printed = _print_newest(archive, query, count, form)
        if follow:
            for documents in _arrivals(archive, position):
                fresh = [
                    document
                    for document in documents
                    if (callsign is None or document.get("callsign") == callsign)
                    and (type_ is None or document.get("type") == type_)
                    and (suspicious or "suspicious" not in document)
                    and str(document.get("_id")) not in printed
                ]
                _print(fresh, form)


def _print_newest(archive: Archive, query: Query, count: int, form: str) -> set[str]:
    """Print the newest ``count`` messages, the oldest of them first; returns their ids.

    They are read from the newest on, and then once more the other way round, as together they can
    be too large to keep.
    """
    newest = msgspec.structs.replace(query, limit=count, order="desc")
    since: float = 0
    printed: set[str] = set()
    for document in archive.query(newest) if count else ():
        printed.add(str(document.get("_id")))
        since = document["time_created"]
    if not printed:
        return printed
    missing = set(printed)
    for document in archive.query(
        msgspec.structs.replace(query, since=math.floor(since), order="asc")
    ):
        if not missing:
            break
        if str(document.get("_id")) in missing:
            missing.remove(str(document["_id"]))
            _print([document], form)
    return printed


def _arrivals(archive: Archive, position: str) -> Iterator[list[Document]]:
    """What is archived after ``position``, for ever."""
    gone = False
    while True:
        try:
            documents, position = archive.follow(position)
        except ArchiveUnavailable as error:
            if not gone:
                reason = " ".join(str(error).split())
                click.echo(f"habitat tail: {reason}; still trying", err=True)
            gone = True
            documents = []
        else:
            if gone:
                click.echo(f"habitat tail: {archive.name} is back", err=True)
            gone = False
        if documents:
            yield documents
        else:
            time.sleep(POLL)


def _print(documents: Iterable[Document], form: str) -> None:
    terminal = sys.stdout.isatty()
    for document in documents:
        if form == "ndjson":
            sys.stdout.buffer.write(output.encode_for(document, terminal) + b"\n")
        else:
            line = printable(_compact(document))
            # In stdout's encoding, with escapes for errors.
            encoded = line.encode(sys.stdout.encoding, "backslashreplace")
            sys.stdout.buffer.write(encoded + b"\n")
    sys.stdout.buffer.flush()


def _compact(document: Document) -> str:
    data = document.get("data")
    words = (
        times.show(document.get("time_created", "")),
        str(document.get("callsign", "")),
        str(document.get("type", "")),
        f"[{document['suspicious']}]" if "suspicious" in document else "",
        to_json(data).decode("utf-8") if data is not None else "",
    )
    return " ".join(word for word in words if word)
