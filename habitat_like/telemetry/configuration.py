"""Payload configurations: habitat's ``payload_configuration`` documents, as YAML or JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from habitat_like.config.keys import ConfigError
from habitat_like.config.settings import explain, join
from habitat_like.telemetry.checksums import CHECKSUMS, NONE

SENSORS = (
    "base.ascii_int",
    "base.ascii_float",
    "base.string",
    "base.constant",
    "stdtelem.time",
    "stdtelem.coordinate",
)
#: The largest file that is read, in bytes.
MAX_FILE = 16 * 1024 * 1024

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Field(msgspec.Struct, frozen=True):
    """A field of a sentence, after the callsign."""

    name: Name
    sensor: str
    format: str | None = None
    optional: bool = False
    expect: str | None = None


class Filter(msgspec.Struct, frozen=True):
    """A change to a sentence or its values; see ``filters``. Its kind decides its keys."""

    filter: str = ""
    type: str = "normal"
    source: str | None = None
    destination: str | None = None
    factor: float = 1.0
    offset: float = 0.0
    round: int | None = None
    map: dict[str, Any] = {}
    ok: list[Any] = []
    field: int = 2
    fields: tuple[str, ...] = ("latitude", "longitude")
    width: int = 5


class Filters(msgspec.Struct, frozen=True):
    """The filters on the sentence, and those on its values."""

    intermediate: list[Filter] = []
    post: list[Filter] = []


class Layout(msgspec.Struct, frozen=True):
    """One kind of sentence of a payload."""

    callsign: Name
    fields: list[Field]
    checksum: str = "crc16-ccitt"
    protocol: Literal["UKHAS"] = "UKHAS"
    filters: Filters = Filters()


class Payload(msgspec.Struct, frozen=True):
    """A ``payload_configuration`` document; its other contents (transmissions …) are not read."""

    name: str
    sentences: list[Layout] = []


class Payloads:
    """The sentences that are configured, by callsign. Immutable once made."""

    def __init__(self, payloads: list[Payload]) -> None:
        self.payloads = payloads
        self._layouts: dict[str, list[Layout]] = {}
        for payload in payloads:
            for layout in payload.sentences:
                self._layouts.setdefault(layout.callsign, []).append(layout)

    def layouts(self, callsign: str) -> list[Layout]:
        """The kinds of sentence of this callsign, in the file's order."""
        return self._layouts.get(callsign, [])


def read_text(path: str) -> str:
    """The text of a file of at most ``MAX_FILE`` bytes. Raises ConfigError."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(str(error.strerror), where=path) from None
    if len(text) > MAX_FILE:
        raise ConfigError(f"over {MAX_FILE} bytes", where=path)
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise ConfigError("not UTF-8 text", where=path) from None


def load(path: str) -> Payloads:
    """The payload configurations in a file: one document, or a list of them. Raises ConfigError."""
    try:
        tree = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError("neither YAML nor JSON", where=f"{path}{line}") from None
    try:
        return read(tree)
    except ConfigError as error:
        raise error.at(path) from None


def read(tree: Any) -> Payloads:
    """Payload configurations as plain data. Raises ConfigError."""
    documents = tree if isinstance(tree, list) else [] if tree is None else [tree]
    found = []
    for index, document in enumerate(documents):
        key = f"[{index}]" if isinstance(tree, list) else ""
        try:
            payload = msgspec.convert(document, Payload)
        except msgspec.ValidationError as error:
            name, reason = explain(error)
            raise ConfigError(reason, join(key, name).lstrip(".")) from None
        for place, reason in _mistakes(payload):
            raise ConfigError(reason, join(key, place).lstrip("."))
        found.append(payload)
    return Payloads(found)


def _mistakes(payload: Payload) -> Iterator[tuple[str, str]]:
    """Mistakes that types can't express: where, and what is wrong."""
    for index, layout in enumerate(payload.sentences):
        place = f"sentences[{index}]"
        if not re.fullmatch(r"[A-Za-z0-9/_-]+", layout.callsign):
            yield f"{place}.callsign", "must be of A-Z a-z 0-9 / _ -"
        if layout.checksum not in (*CHECKSUMS, NONE):
            yield f"{place}.checksum", f"must be one of {', '.join([*CHECKSUMS, NONE])}"
        if not layout.fields:
            yield f"{place}.fields", "a sentence has at least one field after the callsign"
        names = [field.name for field in layout.fields]
        for at, field in enumerate(layout.fields):
            if field.name in names[:at]:
                yield f"{place}.fields[{at}].name", f"{field.name} appears twice"
            for key, reason in _mistakes_of_field(field):
                yield f"{place}.fields[{at}].{key}", reason
        for kind in ("intermediate", "post"):
            for at, one in enumerate(getattr(layout.filters, kind)):
                if one.type == "hotfix":
                    where = f"{place}.filters.{kind}[{at}]"
                    yield where, "a hotfix is code, which is never run; take it out"


def _mistakes_of_field(field: Field) -> Iterator[tuple[str, str]]:
    if field.name.startswith("_") or field.name == "payload":
        yield "name", "must not begin with _ nor be payload"
    if field.sensor not in SENSORS:
        yield "sensor", f"must be one of {', '.join(SENSORS)}"
    if field.sensor == "stdtelem.coordinate" and not _is_coordinate(field.format):
        yield "format", "must be such as dd.dddd or ddmm.mm"
    if field.sensor == "base.constant" and field.expect is None:
        yield "expect", "required field is missing"


def _is_coordinate(form: str | None) -> bool:
    return form is not None and bool(re.fullmatch(r"d+\.d+|d+m+\.m+", form))
