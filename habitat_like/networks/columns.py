"""Columns: the readings of uploads that have the same names again and again. No I/O."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from habitat_like.networks.observation import Scalar
from habitat_like.networks.values import MAX_NAME, MAX_VALUES, is_secret, plain_numbers, scalar

Fields = Mapping[str, str]


class _Split(NamedTuple):
    """The names whose texts are read together, what gets these, and the other names."""

    plain: tuple[str, ...]
    pick: Callable[[Fields], tuple[str, ...]]
    others: tuple[str, ...]


class Columns:
    """Reads the texts of readings by their ``names``. Any thread may use it.

    Nearly all are plain numbers, and read together in a fraction of the time of one by one. A name
    whose text was something else is read by itself from then on: what is read is the same.
    """

    def __init__(self, names: Iterable[str]) -> None:
        # Sorted, as they are archived.
        self.names = tuple(sorted(names))
        #: Whether these are names that ``Readings`` takes as they are.
        self.is_usual = len(self.names) < MAX_VALUES and not any(
            len(name) > MAX_NAME or is_secret(name) for name in self.names
        )
        # Replaced as a whole.
        self._split = _Split(self.names, _picker(self.names), ())

    def read(self, fields: Fields) -> tuple[dict[str, Scalar], list[str]] | None:
        """``scalar`` of each text in ``fields``, by name, and the names of those that are None.

        None if they must be read one by one: a name is not usual, or its text not what it was.
        """
        if not self.is_usual:
            return None
        plain, pick, others = self._split
        numbers = plain_numbers(pick(fields))
        if numbers is None:
            self._learn(fields)
            return None
        found: dict[str, Scalar] = dict(zip(plain, numbers, strict=True))
        missing = []
        for name in others:
            value = scalar(fields[name])
            if value is None:
                missing.append(name)
            else:
                found[name] = value
        return found, missing

    def _learn(self, fields: Fields) -> None:
        """Tell apart the names whose text is no plain number now."""
        plain, _, others = self._split
        new = {name for name in plain if plain_numbers((fields[name],)) is None}
        if new:
            left = tuple(name for name in plain if name not in new)
            self._split = _Split(left, _picker(left), tuple(sorted({*others, *new})))


def _picker(names: tuple[str, ...]) -> Callable[[Fields], tuple[str, ...]]:
    """What gets the texts of these names."""
    if len(names) > 1:
        return operator.itemgetter(*names)
    return lambda fields: tuple(fields[name] for name in names)
