"""Gateways with a console over a large past, behind nginx."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from benchmarks import place, systems, traffic, visitors
from benchmarks.front import Front
from benchmarks.process import Child
from benchmarks.rows.context import Context
from benchmarks.systems import Place, running

NAME = "console"


class Console(msgspec.Struct):
    """A gateway with a console, behind nginx at ``port``; ``documents`` are in its archive."""

    child: Child
    front: Front
    port: int
    documents: int
    config: Path


Make = Callable[[Context], contextlib.AbstractContextManager[Console]]


@contextlib.contextmanager
def embedded(context: Context) -> Iterator[Console]:
    """One whose embedded archive is large."""
    size = context.size
    kept = traffic.archive(size.documents, size.stations)
    with place.data(NAME) as directory:
        path = directory / "archive.sqlite"
        shutil.copyfile(kept, path)
        with console(context, directory, f"sqlite:{path}", size.documents) as made:
            yield made


@contextlib.contextmanager
def couch(context: Context) -> Iterator[Console]:
    """One whose archive is a large database of the CouchDB-protocol server.

    No sink: at its start that would ask for the database's size, for which this server reads all
    of it.
    """
    context.couch_server()
    size = context.size
    with (
        traffic.couch(size.documents, size.stations) as (server, count),
        place.data(NAME) as directory,
        console(context, directory, server.uri(traffic.DATABASE), count, sinks=False) as made,
    ):
        yield made


@contextlib.contextmanager
def console(
    context: Context,
    directory: Path,
    archive: str,
    count: int,
    *,
    sinks: bool = True,
) -> Iterator[Console]:
    """One with ``archive``, in which ``count`` documents are, and with statistics."""
    size = context.size
    shutil.copyfile(traffic.journal(size.stations, size.days), directory / "journal.sqlite")
    system = systems.gateway(
        NAME,
        lambda _: archive,
        configuration={"console": {"password_file": visitors.make_users(directory)}},
        sinks=sinks,
    )
    sockets = context.sockets / NAME
    sockets.mkdir(exist_ok=True)
    where = Place(sockets / f"{NAME}.sock", directory, None)
    front = Front(sockets, [NAME])
    try:
        with running(msgspec.structs.replace(system, checks=False), where) as child:
            yield Console(child, front, front.ports[NAME], count, directory / "config.yml")
    finally:
        front.stop()
