"""Columns: the readings of uploads that have the same names again and again. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from habitat_like.networks.values import MAX_NAME, Plain, is_secret, scalar

#: Uploads with the same names that are read one by one before their columns are prepared, which
#: takes as long as reading twenty of them.
USUAL = 8
#: The most columns: real stations have fewer than a hundred.
MAX_COLUMNS = 200
# What JSON writes as it is, and sorts as Python does.
_NAME = re.compile(rf"[ !#-\[\]-~]{{1,{MAX_NAME}}}")


class Read(NamedTuple):
    """What was read: ``columns`` are archived like a dict of the readings by name.

    What is UNSET there is not archived. ``missing`` are the names that came without a reading, and
    ``apart`` the texts of the names that are no readings, in their order.
    """

    columns: msgspec.Struct
    missing: list[str]
    apart: list[str]


class _Prepared(NamedTuple):
    """A Struct with a field for each name, in order, and what decodes it from JSON.

    ``others`` are to be read by themselves, each with its attribute; ``apart`` are attributes.
    """

    type: type[msgspec.Struct]
    decode: Callable[[bytes], msgspec.Struct]
    others: tuple[tuple[str, str], ...]
    apart: tuple[str, ...]


class Columns:
    """Reads the texts of readings by their ``names``. Any thread may use it.

    Nearly all are plain numbers, which a Struct's decoder reads together, and its encoder writes in
    order. A name whose text was something else is read by itself from then on, so what is read is
    the same as one by one. Texts of the names ``apart`` are no readings; those of ``texts`` are
    readings as they are.
    """

    def __init__(
        self, names: Iterable[str], *, apart: Iterable[str] = (), texts: Iterable[str] = ()
    ) -> None:
        # Sorted, as they are archived.
        self.names = tuple(sorted(names))
        self._apart = tuple(apart)
        self._texts = frozenset(texts)
        #: Whether these are names that ``Readings`` takes as they are.
        self.is_usual = (
            len(self.names) + len(self._apart) <= MAX_COLUMNS
            and all(map(_NAME.fullmatch, (*self.names, *self._apart)))
            and not any(map(is_secret, self.names))
        )
        # Each of these is replaced as a whole.
        self._others: frozenset[str] = frozenset()
        self._prepared: _Prepared | None = None
        self._left = USUAL

    def read(self, fields: dict[str, str]) -> Read | None:
        """The readings in ``fields``, which have exactly these names.

        None if they must be read one by one: a name is not usual, its text not what it was, or the
        names have been rare.
        """
        prepared = self._prepared
        if prepared is not None:
            try:
                return _finish(msgspec.convert(fields, prepared.type, strict=False), prepared)
            except msgspec.ValidationError:
                self._prepared, self._left = None, USUAL
        self._learn(fields)
        return None

    def read_json(self, text: bytes) -> Read | None:
        """``read`` of a JSON object of texts; also None if it has other names."""
        prepared = self._prepared
        if prepared is None:
            return None
        try:
            return _finish(prepared.decode(text), prepared)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def _learn(self, fields: dict[str, str]) -> None:
        """Tell apart the names whose text is no plain number, and prepare what came often."""
        if not self.is_usual:
            return
        self._others |= {
            name for name in self.names if name not in self._texts and not _is_plain(fields[name])
        }
        self._left -= 1
        if self._left <= 0:
            self._prepared = self._prepare()

    def _prepare(self) -> _Prepared:
        kinds: dict[str, Any] = dict.fromkeys(self.names, Plain)
        kinds |= dict.fromkeys((*self._others, *self._texts, *self._apart), str)
        attributes = {name: f"column_{number}" for number, name in enumerate(kinds)}
        made = msgspec.defstruct(
            "Columns",
            [(attributes[name], kind) for name, kind in kinds.items()],
            rename={attribute: name for name, attribute in attributes.items()},
            forbid_unknown_fields=True,
            gc=False,
        )
        return _Prepared(
            made,
            msgspec.json.Decoder(made, strict=False).decode,
            tuple((name, attributes[name]) for name in sorted(self._others)),
            tuple(attributes[name] for name in self._apart),
        )


def _is_plain(text: str) -> bool:
    """Whether the text is read as a number."""
    try:
        msgspec.convert(text, Plain, strict=False)
    except msgspec.ValidationError:
        return False
    return True


def _finish(columns: msgspec.Struct, prepared: _Prepared) -> Read:
    """Read the other texts, and take out what is no reading."""
    missing = []
    for name, attribute in prepared.others:
        text = getattr(columns, attribute)
        value = scalar(text)
        if value is None:
            missing.append(name)
            setattr(columns, attribute, UNSET)
        elif value is not text:
            setattr(columns, attribute, value)
    apart = []
    for attribute in prepared.apart:
        apart.append(getattr(columns, attribute))
        setattr(columns, attribute, UNSET)
    return Read(columns, missing, apart)
