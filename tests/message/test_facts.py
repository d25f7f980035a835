"""Facts: each type tells payload, place and values in one way, from any archived document."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.message.facts import Facts, Position
from habitat_like.message.types import Registry, load_types

REGISTRY = Registry()


class Buoy(msgspec.Struct):
    """An operator's type that tells its facts itself."""

    grid: str

    @staticmethod
    def facts(data: dict[str, Any]) -> Facts:
        return Facts(data["grid"].lower(), Position(50.0, 8.0), {"wave": 1})


def facts(type_: str, data: Any) -> Facts:
    return REGISTRY.facts({"type": type_, "data": data})


@pytest.mark.parametrize("type_", ["TELEM", "AMATEUR_TELEM", "SONDE_TELEM", "POSITION", "NEW"])
def test_an_observation_tells_its_payload_place_and_values(type_: str) -> None:
    place = {"latitude": 51.98, "longitude": 5.11, "altitude": 12.5}
    data = {"payload": "HAB", "position": place, "values": {"t": 3.6, "s": "on"}}
    assert facts(type_, data) == Facts("HAB", Position(51.98, 5.11, 12.5), {"t": 3.6, "s": "on"})


def test_a_listener_tells_where_it_is() -> None:
    data = {"latitude": 52, "longitude": 0.5, "altitude": 30, "time": {"hour": 1}}
    assert facts("LISTENER_TELEM", data) == Facts(None, Position(52.0, 0.5, 30.0), {})
    assert facts("LISTENER_INFO", {"radio": "FT817"}) == Facts(None, None, {"radio": "FT817"})


def test_a_reception_tells_how_it_was_heard_and_nothing_of_the_packet() -> None:
    data = {"string": "JCQ=", "frequency": 434075000, "latitude": 1.5, "longitude": 2.5}
    told = facts("RECEIVED_TELEM", data)
    assert told.position is None
    assert told.values == {"frequency": 434075000, "latitude": 1.5, "longitude": 2.5}


@pytest.mark.parametrize(
    "place",
    [
        {"latitude": 0, "longitude": 0, "altitude": 12},
        {"latitude": 91, "longitude": 0},
        {"latitude": 1, "longitude": -180.1},
        {"latitude": True, "longitude": 5},
        {"latitude": "51", "longitude": 5},
        {"latitude": 10**400, "longitude": 5},
        {"latitude": float("nan"), "longitude": 5},
        {"latitude": 51},
    ],
)
def test_what_can_be_no_place_is_none(place: dict[str, Any]) -> None:
    assert facts("TELEM", {"position": place, "values": {}}).position is None


def test_an_operators_type_may_tell_its_facts() -> None:
    registry = Registry(load_types({"BUOY": f"{__name__}.Buoy"}))
    told = registry.facts({"type": "BUOY", "data": {"grid": "JO40"}})
    assert told == Facts("jo40", Position(50.0, 8.0), {"wave": 1})
    # What others wrote into the database may not be what it expects.
    assert registry.facts({"type": "BUOY", "data": {"depth": 7}}) == Facts(None, None, {"depth": 7})


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
_KEYS = st.sampled_from(["payload", "position", "values", "latitude", "longitude", "altitude"])


@given(st.dictionaries(st.sampled_from(["type", "data"]), st.dictionaries(_KEYS, _JSON) | _JSON))
def test_any_document_has_facts(document: dict[str, Any]) -> None:
    told = REGISTRY.facts(document)
    assert all(isinstance(value, str | int | float) for value in told.values.values())
