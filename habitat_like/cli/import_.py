"""``habitat import``: brings exported documents into the archive."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator

import click
import msgspec

from habitat_like.archive import open_archive
from habitat_like.archive.base import Archive, ArchiveUnavailable, Rejected
from habitat_like.cli import options
from habitat_like.cli.progress import with_progress
from habitat_like.cli.source import Line, Source
from habitat_like.cli.text import printable
from habitat_like.config.keys import ArchiveConfig
from habitat_like.statistics.words import plural
from habitat_like.threads import backoff

#: Bytes of documents in one batch, unless the last one alone is larger.
BATCH_BYTES = 4 * 1024 * 1024


@click.command(
    cls=options.Command,
    epilog=(
        "\b\n"
        "Examples: habitat import backup.ndjson.gz\n"
        "          HABITAT_ARCHIVE_URI=couchdb://old/habitat habitat export --suspicious |"
        " habitat import -"
    ),
)
@options.config_option
@click.option("--keep-going", is_flag=True, help="Skip lines that are not documents.")
@click.argument(
    "files",
    metavar="FILE|-...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
)
def command(*, config_path: str | None, keep_going: bool, files: tuple[str, ...]) -> int:
    """Import documents into the archive: NDJSON as 'habitat export' writes it, compressed or not.

    A document whose id is already archived is left unchanged, so a second import does no harm.
    If the archive goes down, the import waits for it. A line that is not a document ends the
    import, unless --keep-going is given; everything before that line is archived. If the archive
    refuses a document, its id and the reason are printed, and the exit code is 1.
    """
    config = options.load_config(config_path)
    with contextlib.closing(open_archive(config.archive)) as archive:
        for warning in archive.prepare():
            click.echo(f"habitat import: {printable(warning)}", err=True)
        return Import(archive, config.archive, keep_going).run(Source(files))


class Import:
    """One run of the command; counts what becomes of the lines."""

    def __init__(self, archive: Archive, config: ArchiveConfig, keep_going: bool) -> None:
        self._archive = archive
        self._config = config
        self._keep_going = keep_going
        self._archived = 0
        self._refused = 0
        self._bad = 0
        self._stop: click.ClickException | None = None

    def run(self, source: Source) -> int:
        """Import all of ``source``; the exit code."""
        lines = with_progress(source, "importing", source.total, way=lambda _: source.done())
        try:
            for batch in self._batches(lines):
                self._store(batch)
        except KeyboardInterrupt:
            click.echo(f"habitat import: interrupted; {self._summary()}", err=True)
            raise
        if self._stop is not None:
            raise click.ClickException(f"{self._stop.message}; {self._summary()}")
        click.echo(self._summary())
        return int(bool(self._refused or self._bad))

    def _batches(self, lines: Iterable[Line]) -> Iterator[list[tuple[Line, bytes]]]:
        """The documents, so many together as one request to the archive can take."""
        batch: list[tuple[Line, bytes]] = []
        size = 0
        for line, document in self._documents(lines):
            batch.append((line, document))
            size += len(document)
            if len(batch) >= self._config.batch or size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _documents(self, lines: Iterable[Line]) -> Iterator[tuple[Line, bytes]]:
        """Each line with the document to store; ends at one that is none."""
        try:
            for line in lines:
                try:
                    document = to_document(line.text)
                except ValueError as error:
                    said = click.ClickException(f"{line}: {printable(str(error))}")
                    if not self._keep_going:
                        raise said from None
                    self._bad += 1
                    click.echo(f"habitat import: {said.message}", err=True)
                else:
                    yield line, document
        except click.ClickException as error:  # once what came before is stored
            self._stop = error

    def _store(self, batch: list[tuple[Line, bytes]]) -> None:
        """Store the batch, however long the archive is away, and print what it refuses."""
        rejected = self._patiently([document for _, document in batch])
        for one in rejected:
            line, document = batch[one.index]
            name = msgspec.json.decode(document, type=_Id).id
            click.echo(
                f"habitat import: {line}: refused: {printable(name)}: {printable(one.reason)}",
                err=True,
            )
        self._refused += len(rejected)
        self._archived += len(batch) - len(rejected)

    def _patiently(self, documents: list[bytes]) -> list[Rejected]:
        tries = 0
        while True:
            try:
                rejected = self._archive.store(documents)
            except ArchiveUnavailable as error:
                if not tries:
                    reason = printable(" ".join(str(error).split()))
                    click.echo(f"habitat import: {reason}; still trying", err=True)
                tries += 1
                time.sleep(backoff(tries, self._config.retry_min, self._config.retry_max))
            else:
                if tries:
                    click.echo(f"habitat import: {self._archive.name} is back", err=True)
                return rejected

    def _summary(self) -> str:
        text = f"{self._archived} {plural(self._archived, 'document')} read and archived"
        if self._refused:
            text += f", {self._refused} refused"
        if self._bad:
            text += f", {self._bad} lines skipped"
        return text


class _Id(msgspec.Struct):
    id: str = msgspec.field(name="_id")


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT = msgspec.json.Decoder(str)
_NUMBER = msgspec.json.Decoder(int | float)


def to_document(line: bytes) -> bytes:
    """The document on a line, as it is but for ``_rev``, which is another database's.

    Raises ValueError with the reason why it is no document that a query could find.
    """
    try:
        line.decode()
        fields = _FIELDS.decode(line)
        name = _TEXT.decode(fields["_id"])
        _NUMBER.decode(fields["time_created"])
        msgspec.json.decode(line)  # a number that is too large would end every query
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except KeyError as error:
        raise ValueError(f"not an archived document: it has no {error.args[0]}") from None
    except msgspec.ValidationError as error:
        raise ValueError(f"not an archived document: {error}") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not name or name[0] == "_" or "\0" in name:
        raise ValueError(f"_id {name!r} is empty, starts with an underscore or holds a NUL")
    special = [key for key in fields if key[:1] == "_" and key not in ("_id", "_rev")]
    if special:
        # CouchDB would obey _deleted, and reject the whole batch for the other fields.
        raise ValueError(f"it has the key {special[0]!r}, which CouchDB reserves")
    if "_rev" not in fields:
        return line
    del fields["_rev"]
    return msgspec.json.encode(fields)
