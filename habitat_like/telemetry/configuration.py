"""Payload configurations: habitat's ``payload_configuration`` documents, as YAML or JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from habitat_like.config.file import YAML_ERRORS
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
#: The protocol whose sentences are read.
PROTOCOL = "UKHAS"
#: The largest file that is read, in bytes.
MAX_FILE = 16 * 1024 * 1024

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Field(msgspec.Struct, frozen=True):
    """A field of a sentence, after the callsign."""

    name: Name
    sensor: str
    format: str | None = None
    optional: bool = False
    expect: str | int | float | None = None
    base: Annotated[int, msgspec.Meta(ge=2, le=36)] = 10


class Filter(msgspec.Struct, frozen=True):
    """A change to a sentence or its values; see ``filters``. Its kind decides its keys."""

    filter: str = ""
    type: str = "normal"
    source: str | None = None
    destination: str | None = None
    factor: float | None = None
    offset: float = 0.0
    round: int | None = None
    map: dict[str | int | float, str | int | float] | None = None
    ok: list[Any] | None = None
    field: int = 2
    fields: tuple[str, ...] = ("latitude", "longitude")
    width: int = 5

    @property
    def name(self) -> str:
        """The filter's name without habitat's module: ``common.numeric_scale`` is numeric_scale."""
        return self.filter.rpartition(".")[2]


class Filters(msgspec.Struct, frozen=True):
    """The filters on the sentence, and those on its values."""

    intermediate: list[Filter] = []
    post: list[Filter] = []


class Layout(msgspec.Struct, frozen=True):
    """One kind of sentence of a payload. Other protocols' are not read."""

    callsign: Name
    fields: list[Field]
    checksum: str = "crc16-ccitt"
    filters: Filters = Filters()


class Payload(msgspec.Struct, frozen=True):
    """A ``payload_configuration`` document; its other contents (transmissions …) are not read."""

    name: str
    sentences: list[Layout | None] = []

    @property
    def layouts(self) -> list[Layout]:
        """The sentences that are read."""
        return [one for one in self.sentences if one is not None]

    @property
    def left_out(self) -> int:
        """How many sentences of other protocols there are."""
        return len(self.sentences) - len(self.layouts)


class Payloads:
    """The sentences that are configured, by callsign. Immutable once made."""

    def __init__(self, payloads: list[Payload]) -> None:
        self.payloads = payloads
        self._layouts: dict[str, list[Layout]] = {}
        for payload in payloads:
            for layout in payload.layouts:
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
    except YAML_ERRORS as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError("neither YAML nor JSON", where=f"{path}{line}") from None
    try:
        return read(tree)
    except ConfigError as error:
        raise error.at(path) from None


def read(tree: Any) -> Payloads:
    """Payload configurations as plain data. Raises ConfigError.

    Sentences of other protocols are left out.
    """
    documents = tree if isinstance(tree, list) else [] if tree is None else [tree]
    found = []
    for index, document in enumerate(documents):
        key = f"[{index}]" if isinstance(tree, list) else ""
        try:
            payload = msgspec.convert(_of_ukhas(document), Payload)
        except msgspec.ValidationError as error:
            name, reason = explain(error)
            raise ConfigError(reason, join(key, name).lstrip(".")) from None
        for place, reason in _mistakes(payload):
            raise ConfigError(reason, join(key, place).lstrip("."))
        found.append(payload)
    return Payloads(found)


def _of_ukhas(document: Any) -> Any:
    """A document without the sentences of other protocols, which have other keys.

    What its ``sentences[2]`` is then keeps its place: one that is left out becomes None.
    """
    sentences = document.get("sentences") if isinstance(document, dict) else None
    if not isinstance(sentences, list):
        return document
    return {**document, "sentences": [None if _is_other(one) else one for one in sentences]}


def _is_other(sentence: Any) -> bool:
    protocol = sentence.get("protocol", PROTOCOL) if isinstance(sentence, dict) else PROTOCOL
    return isinstance(protocol, str) and protocol != PROTOCOL


def _mistakes(payload: Payload) -> Iterator[tuple[str, str]]:
    """Mistakes that types can't express: where, and what is wrong."""
    for index, layout in enumerate(payload.sentences):
        if layout is None:
            continue
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
                for name, reason in _mistakes_of_filter(one, kind):
                    yield f"{place}.filters.{kind}[{at}]{name}", reason


def _mistakes_of_field(field: Field) -> Iterator[tuple[str, str]]:
    if _is_reserved(field.name):
        yield "name", _RESERVED
    if field.sensor not in SENSORS:
        yield "sensor", f"must be one of {', '.join(SENSORS)}"
    if field.sensor == "stdtelem.coordinate" and not _is_coordinate(field.format):
        yield "format", "must be such as dd.dddd or ddmm.mm"
    if field.sensor == "base.constant" and field.expect is None:
        yield "expect", "required field is missing"


#: The filters, by the last part of their names (habitat writes common.numeric_scale), with the
#: keys that each must have.
FILTERS: dict[str, dict[str, tuple[str, ...]]] = {
    "intermediate": {"semicolons_to_commas": (), "zero_pad_times": ()},
    "post": {
        "numeric_scale": ("source", "factor"),
        "simple_map": ("source", "map"),
        "invalid_always": (),
        "invalid_location_zero": (),
        "invalid_gps_lock": ("ok",),
        "zero_pad_coordinates": (),
    },
}


def _mistakes_of_filter(one: Filter, kind: str) -> Iterator[tuple[str, str]]:
    if one.type == "hotfix":
        yield "", "a hotfix is code, which is never run; take it out"
        return
    known = FILTERS[kind]
    if one.name not in known:
        yield ".filter", f"must be one of {', '.join(known)}"
    for key in known.get(one.name, ()):
        if getattr(one, key) is None:
            yield f".{key}", "required field is missing"
    if one.destination is not None and _is_reserved(one.destination):
        yield ".destination", _RESERVED


_RESERVED = "must not begin with _ nor be payload"


def _is_reserved(name: str) -> bool:
    return name.startswith("_") or name == "payload"


def _is_coordinate(form: str | None) -> bool:
    return form is not None and bool(re.fullmatch(r"d+\.d+|d+m+\.m+", form))
