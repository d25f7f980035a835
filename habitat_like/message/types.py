"""The registry of message types: what each type's data must be. No I/O."""

from __future__ import annotations

import binascii
import functools
import json
import operator
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import msgspec

from habitat_like.config.imports import import_path
from habitat_like.message import facts
from habitat_like.message.cost import FREE, refuse_costly
from habitat_like.message.facts import Facts, FactsOf
from habitat_like.message.message import InvalidMessage, Listener, Message, check_type_name
from habitat_like.times import FUTURE, MAX_TIME, show_day

#: Beyond it an integer is infinite to readers that use doubles, such as JavaScript.
_LARGE = int(sys.float_info.max)

#: The same stations send again and again.
_listener = functools.lru_cache(maxsize=16384)(Listener)


class MessageType(msgspec.Struct, frozen=True):
    """The definition of a type: its name, its ``data``, and the checks types can't express.

    ``data`` is anything that msgspec can decode an object into; ``check`` gets the decoded data
    and raises ValueError with field and reason. ``facts`` tells payload, position and values from
    archived data.
    """

    name: str
    data: Any
    check: Callable[[Any], None] | None = None
    facts: FactsOf = facts.any_shape


Scalar = str | int | float | bool | None
Degrees90 = Annotated[float, msgspec.Meta(ge=-90, le=90)]
Degrees180 = Annotated[float, msgspec.Meta(ge=-180, le=180)]


class ListenerInfo(msgspec.Struct):
    """The data of LISTENER_INFO."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    location: str | msgspec.UnsetType = msgspec.UNSET
    radio: str | msgspec.UnsetType = msgspec.UNSET
    antenna: str | msgspec.UnsetType = msgspec.UNSET


class TimeOfDay(msgspec.Struct):
    """A time of day, with room for a leap second."""

    hour: Annotated[int, msgspec.Meta(ge=0, le=23)]
    minute: Annotated[int, msgspec.Meta(ge=0, le=59)]
    second: Annotated[int, msgspec.Meta(ge=0, le=60)]


class ListenerTelem(msgspec.Struct):
    """The data of LISTENER_TELEM: degrees, degrees, metres, time of day."""

    latitude: Degrees90
    longitude: Degrees180
    altitude: float
    time: TimeOfDay


def check_received_telem(data: dict[str, Scalar]) -> None:
    """RECEIVED_TELEM: base64 in ``string``; ``frequency``, if any, in Hz. Raises InvalidMessage."""
    string = data.get("string")
    if not isinstance(string, str):
        reason = "must be a string" if "string" in data else "required field is missing"
        raise InvalidMessage(f"data.string: {reason}")
    if not is_base64(string):
        raise InvalidMessage("data.string: not base64 (A-Z a-z 0-9 + / in fours, padded with =)")
    for key, value in data.items():
        if type(value) is int and not -_LARGE < value < _LARGE:
            raise InvalidMessage(f"data.{key[:64]}: number out of range")
    frequency = data.get("frequency", 0)
    # Not isinstance: a bool is an int there.
    if type(frequency) not in (int, float) or frequency < 0:  # type: ignore[operator]
        raise InvalidMessage("data.frequency: must be a number >= 0, in Hz")


def is_base64(text: str) -> bool:
    """Whether ``text`` is base64 as in RFC 4648 section 4."""
    # binascii's strict mode alone lets padding after whole quads pass.
    if len(text) % 4 or text.endswith("==="):
        return False
    try:
        binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return False
    return True


RECEIVED_TELEM = MessageType(
    "RECEIVED_TELEM", dict[str, Scalar], check_received_telem, facts.received
)
LISTENER_INFO = MessageType("LISTENER_INFO", ListenerInfo, facts=facts.flat)
LISTENER_TELEM = MessageType("LISTENER_TELEM", ListenerTelem, facts=facts.flat)

#: The types that stations may send.
STATION_TYPES = (RECEIVED_TELEM, LISTENER_INFO, LISTENER_TELEM)
_OWN_TYPES = frozenset(definition.name for definition in STATION_TYPES)

#: Types of the observations that networks' stations upload.
OBSERVATION_TYPES = (
    "AMATEUR_TELEM",
    "SONDE_TELEM",
    "WEATHER",
    "SENSOR",
    "UPLINK",
    "POSITION",
    "EVENT",
)

#: Types that only the server itself makes, with the reason given to a station.
SERVER_TYPES = {"TELEM": "is made by the server's own sinks; stations may not send it"}
_OF_NETWORKS = "is made from uploads of other networks; stations may not send it"


class Registry:
    """The types that stations may send, and the decoder of their messages.

    ``reserved`` are types that networks make, with the reason why a station may not send them.
    Immutable, so any number of threads may share it. Raises ValueError for a name that is invalid
    or taken, or for a definition that msgspec can't decode.
    """

    def __init__(
        self, extra: Iterable[MessageType] = (), reserved: Mapping[str, str] | None = None
    ) -> None:
        self._types: dict[str, MessageType] = {}
        taken = {**(reserved or {}), **SERVER_TYPES}
        # While no network makes them, an operator's own type may have such a name.
        self._reserved = {**dict.fromkeys(OBSERVATION_TYPES, _OF_NETWORKS), **taken}
        for definition in (*STATION_TYPES, *extra):
            check_type_name(definition.name)
            ours = definition.name in taken and definition not in STATION_TYPES
            if definition.name in self._types or ours:
                raise ValueError(f"the type {definition.name} already exists")
            self._types[definition.name] = definition
            self._reserved.pop(definition.name, None)
        # The envelope that a message is decoded into tells its type.
        self._kinds = {_envelope(one): (one.name, one.check) for one in self._types.values()}
        try:
            self._decode = msgspec.json.Decoder(functools.reduce(operator.or_, self._kinds)).decode
        except TypeError as error:
            raise ValueError(str(error).splitlines()[0]) from None

    @property
    def names(self) -> list[str]:
        """The types' names."""
        return list(self._types)

    @property
    def reserved(self) -> frozenset[str]:
        """The types that the server itself makes."""
        return frozenset(self._reserved)

    def facts(self, document: Mapping[str, Any]) -> Facts:
        """What an archived ``document`` says, as its type tells it. Takes any document."""
        name = document.get("type")
        definition = self._types.get(name) if isinstance(name, str) else None
        tell = facts.any_shape if definition is None else definition.facts
        data = facts.data_of(document)
        try:
            return tell(data)
        except Exception:
            # An operator's own function, and data that others wrote.
            return facts.any_shape(data)

    def parse(self, body: bytes, ip: str | None, now: int, *, is_set: bool = True) -> Message:
        """One message from a station's JSON. Raises InvalidMessage with field and reason.

        ``now`` is the gateway's clock in UNIX seconds: it replaces ``time_uploaded``, and its
        difference from that corrects ``time_created``, as the station's clock may be wrong. If
        the gateway's is not ``is_set``, both stay as the station sent them, and the message is
        suspicious; so is one dated in the future.
        """
        if len(body) > FREE:
            refuse_costly(body)
        try:
            raw: Any = self._decode(body)
        except msgspec.ValidationError as error:
            raise InvalidMessage(self._reason(body, error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            reason = f"not valid JSON: {_plain(error, body)}" if body.strip() else "empty"
            raise InvalidMessage(f"body: {reason}") from None
        except RecursionError:
            raise InvalidMessage("body: nested too deeply") from None
        type_name, check = self._kinds[type(raw)]
        listener = _listener(raw.callsign, ip)
        created = _seconds("time_created", raw.time_created)
        uploaded = _seconds("time_uploaded", raw.time_uploaded)
        if check is not None:
            try:
                check(raw.data)
            except ValueError as error:  # an operator's own check need not know InvalidMessage
                raise InvalidMessage(str(error)) from None
        doubt = None
        corrected = created + now - uploaded
        if not is_set:
            corrected, doubt = created, unset_clock(now)
            now = uploaded
        elif corrected > now + FUTURE:
            doubt = wrong_date(corrected)
            corrected = min(corrected, MAX_TIME)
        elif corrected < 0:
            corrected = 0
        message = Message(listener, type_name, corrected, now, raw.data, created, suspicious=doubt)
        # Five colons of the message's own keys. Colons in strings are on both sides, unless one is
        # escaped; so equality means that no key was dropped and none occurred twice.
        # An operator's own Struct may add keys (its defaults), which would upset the count.
        if (
            b"\\" in body
            or type_name not in _OWN_TYPES
            or body.count(b":") != 5 + message.canonical.count(b":")
        ):
            refuse_repeated_keys(body)
        return message

    def _reason(self, body: bytes, error: msgspec.ValidationError) -> str:
        """What a station is told: msgspec's message or, if that names no key, our own check."""
        reason, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".")
        if missing := re.fullmatch(r"Object missing required field `(\w+)`", reason):
            name = missing[1]
            return f"{f'{field}.' if field else ''}{name}: required field is missing"
        if field == "type":
            return self._type_reason(body)
        if field == "data[...]":
            field = _bad_entry(body) or "data"
        reason = reason[:1].lower() + reason[1:].replace("`", "")
        return f"{field or 'body'}: {reason}"

    def _type_reason(self, body: bytes) -> str:
        name = _look(body).type
        if isinstance(name, str) and name in self._reserved:
            return f"type: {name} {self._reserved[name]}"
        return f"type: must be one of {', '.join(self._types)}"


def unset_clock(now: float) -> str:
    """Why times of a message that came in at ``now`` by a clock that is not set are doubtful."""
    return f"the gateway's clock was wrong ({show_day(now)}): the times are the station's own"


def wrong_date(created: float) -> str:
    """Why a message of ``created``, in the future, can't be right."""
    return f"dated {show_day(created)}, more than a day after it came in"


def load_types(definitions: Mapping[str, str]) -> list[MessageType]:
    """Types from the configuration: name to dotted path of a msgspec Struct for the ``data``.

    A Struct may carry a static method ``check(data)``, which raises ValueError with field and
    reason, and one ``facts(data)``, which tells the Facts of archived data. Raises ValueError, with
    one line, for a path that leads to no Struct, or to one that msgspec can't read.
    """
    types = []
    for name, path in definitions.items():
        struct = import_path(path)
        if not (isinstance(struct, type) and issubclass(struct, msgspec.Struct)):
            raise ValueError(f"types.{name}: {path} is not a msgspec Struct")
        try:
            msgspec.json.Decoder(struct)
        except Exception as error:  # as for a name in it that is not defined, or a union
            raise ValueError(f"types.{name}: {path}: {error}") from None
        # A field of that name is a descriptor, which can't be called.
        check, tell = getattr(struct, "check", None), getattr(struct, "facts", None)
        check = check if callable(check) else None
        types.append(MessageType(name, struct, check, tell if callable(tell) else facts.any_shape))
    return types


def refuse_repeated_keys(body: bytes) -> None:
    """Raise InvalidMessage if a key appears twice in any object of ``body`` (valid JSON).

    It is parsed as a whole, so it must have passed ``refuse_costly``.
    """
    try:
        json.loads(body.decode(), object_pairs_hook=_unique)
    except RecursionError:
        raise InvalidMessage("body: nested too deeply") from None
    except InvalidMessage:
        raise
    except ValueError as error:
        raise InvalidMessage(f"body: not valid JSON: {_plain(error, body)}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in pairs:
        if name in tree:
            raise InvalidMessage(f"{name[:64]!r}: the key appears twice")
        tree[name] = value
    return tree


def _envelope(definition: MessageType) -> type[msgspec.Struct]:
    """The message object of one type, tagged so that a single decode checks all of it."""
    return msgspec.defstruct(
        definition.name,
        [
            ("callsign", str),
            ("time_created", int | float | str),
            ("time_uploaded", int | float | str),
            ("data", definition.data),
        ],
        tag_field="type",
        tag=definition.name,
    )


def _seconds(field: str, value: float | str) -> int:
    """A time as whole UNIX seconds; fractions are cut. Raises InvalidMessage."""
    if type(value) is int and 0 <= value <= MAX_TIME:
        return value
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 20):
            raise InvalidMessage(
                f"{field}: must be UNIX seconds, a number or an integer in a string"
            )
        value = int(value)
    if not 0 <= value < MAX_TIME + 1:
        raise InvalidMessage(f"{field}: must be UNIX seconds from 0 to {MAX_TIME}")
    return int(value)


def _bad_entry(body: bytes) -> str | None:
    """The key in ``data`` whose value is not a JSON scalar or is a number out of range."""
    try:
        entries = _ENTRIES.decode(_look(body).data)
    except _UNREADABLE:
        return None
    for key, value in entries.items():
        if _is_bad(bytes(value)):
            return f"data.{key[:64]}"
    return None


def _is_bad(value: bytes) -> bool:
    if value[:1] in (b"{", b"["):
        return True
    return value[:1] in b"-0123456789" and not abs(float(value)) < _LARGE


class _Look(msgspec.Struct):
    """What is checked in a refused message; the rest is skipped."""

    type: Any = None
    data: msgspec.Raw = msgspec.Raw(b"")


def _look(body: bytes) -> _Look:
    try:
        return _LOOK.decode(body)
    except _UNREADABLE:
        return _Look()


_LOOK = msgspec.json.Decoder(_Look)
_ENTRIES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


#: A surrogate's escape without its partner; of another error it may be a wrong guess.
_LONE = re.compile(
    rb"(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]|\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])", re.DOTALL
)


def _plain(error: Exception, body: bytes) -> str:
    # UTF-16 and UTF-32 begin with a mark or have a NUL beside each brace.
    if isinstance(error, UnicodeDecodeError) or body[:1] in b"\xff\xfe" or b"\0" in body[:4]:
        return "not UTF-8 text"
    if _LONE.search(body):
        return "a lone surrogate"  # msgspec says that the data was truncated
    return str(error).removeprefix("JSON is malformed: ")
