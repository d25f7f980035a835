"""The reader of pickles: what stations send is read, and nothing else happens, whatever is sent."""

from __future__ import annotations

import datetime
import json
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from habitat_like.networks.hisparc import events, gps, pickles
from tests.networks.hisparc import attacks
from tests.support.net import ROOT

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.pickle"))
MOMENT = datetime.datetime(2026, 11, 20, 23, 59, 10, 10)


def summary(data: bytes) -> list[dict[str, Any]]:
    """The events in a pickle, in the form that the stations' script prints."""
    return [
        {
            "time_created": gps.unix_time(event.clock),
            "eventtype": event.type,
            "datetime": event.clock.isoformat(),
            "nanoseconds": event.nanoseconds,
            "values": event.values,
        }
        for event in events.read(pickles.load(data), len(data))
    ]


# -- what stations send


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: str(path.stem))
def test_recorded_pickles_of_real_stations_are_read(path: Path) -> None:
    expected = path.with_name(path.stem.partition("-protocol")[0] + ".json")
    assert summary(path.read_bytes()) == json.loads(expected.read_text())


def test_all_pythons_are_among_the_recorded_ones() -> None:
    kinds = {path.stem for path in RECORDED}
    assert {
        "python2.7-protocol0",
        "python2.7-numpy1-protocol0",
        "python3.8-numpy1-protocol4",
    } < kinds
    assert {"python3.12-numpy2-protocol5", "python3.12-protocol2"} < kinds


def test_a_value_used_twice_is_read_twice() -> None:
    shared = ["abc"]
    assert pickles.load(pickle.dumps([shared, shared])) == [shared, shared]


def test_frames_of_any_number_are_read() -> None:
    large = [str(number) * 3000 for number in range(100)]
    data = pickle.dumps(large, 4)
    frames = [op for op, _, _ in pickletools.genops(data) if op.name == "FRAME"]
    assert len(frames) > 1
    assert pickles.load(data) == large


def test_a_fold_in_a_datetime_is_ignored() -> None:
    assert pickles.load(pickle.dumps(MOMENT.replace(fold=1), 4)) == MOMENT


def test_a_datetime_with_a_zone_is_refused() -> None:
    with pytest.raises(pickles.PickleError, match=r"has no place|names the global"):
        pickles.load(pickle.dumps(MOMENT.replace(tzinfo=datetime.UTC), 4))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes(),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
    max_leaves=30,
)


@given(VALUES, st.integers(0, 5), st.booleans())
def test_plain_values_are_what_they_were(value: object, protocol: int, python: bool) -> None:
    """Of both picklers, as the one in Python writes other opcodes than the one in C."""
    dumps = pickle._dumps if python else pickle.dumps  # type: ignore[attr-defined]
    assert pickles.load(dumps(value, protocol)) == value


# -- what others send


def read(data: bytes) -> str | None:
    """The reason for which a pickle is refused."""
    try:
        events.read(pickles.load(data), len(data))
    except (pickles.PickleError, events.EventError) as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", attacks.ALL)
def test_attacks_are_refused_with_a_reason(name: str) -> None:
    reason = read(attacks.ALL[name])
    assert reason
    assert len(reason) < 300


#: What must be refused before any of it is run, as running it is what costs.
UNRUN = [
    *("billion laughs of tuples", "billion laughs as a key", "deep tuples"),
    *("huge LONG", "huge LONG4", "long LONG1", "huge INT", "huge FLOAT"),
    *("deeper lists", "many dicts", "many marks", "integers of one hash as keys"),
    *("memo of 4 GB", "memo of 2 GB in text", "string of 4 GB", "string of a negative length"),
    *("bytes of 2^62", "bytearray of 2^40"),
]


@pytest.mark.parametrize("name", UNRUN)
def test_what_would_cost_too_much_is_refused_before_it_is_run(name: str) -> None:
    with pytest.raises(pickles.PickleError):
        pickles._scan(attacks.EXHAUSTION[name])


def test_what_is_short_and_stands_for_much_is_refused_before_it_is_much() -> None:
    reason = read(attacks.EXHAUSTION["one event a hundred thousand times"])
    assert reason
    assert reason.endswith("the same things are referred to too often")


#: Reads each attack with a hook on all that Python can do to the outside, and with little memory
#: and time; prints what happened.
UNDER_WATCH = """
import resource, sys
from habitat_like.networks.hisparc import events, pickles
from tests.networks.hisparc import attacks

def read(data):
    try:
        events.read(pickles.load(data), len(data))
    except (pickles.PickleError, events.EventError):
        return "refused"
    return "read"

read(b"N."), read(b"cos\\nsystem\\n.")
happened = []
sys.addaudithook(lambda event, arguments: happened.append((event, arguments)))
resource.setrlimit(resource.RLIMIT_AS, (400_000_000, 400_000_000))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
happened.clear()
modules = set(sys.modules)
for name, data in attacks.ALL.items():
    print(read(data), name)
print("happened:", happened, sorted(set(sys.modules) - modules))
"""


def test_attacks_touch_nothing_and_need_little(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNDER_WATCH],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    *lines, last = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines == [f"refused {name}" for name in attacks.ALL]
    assert last == "happened: [] []"
    assert list(tmp_path.iterdir()) == []


def test_the_hook_would_see_what_an_attack_does(tmp_path: Path) -> None:
    """The same with the plain unpickler: what the test above looks for is there to be seen."""
    plain = "import pickle; pickle.loads(attacks.ALL['os.system']); print('happened:', happened)"
    before = UNDER_WATCH.partition("for name")[0]
    done = subprocess.run(
        [sys.executable, "-c", before + plain],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "os.system" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["CANARY"]


def test_no_constructor_keeps_what_a_pickle_tells_it() -> None:
    for name in ("BUILD on a constructor", "BUILD with slots on a constructor"):
        assert read(attacks.ALL[name])
    data = pickle.dumps(MOMENT, 2)
    assert pickles.load(data) == MOMENT


#: All that an event list needs. None of them makes an instance or asks for something outside.
PERMITTED = {
    *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1"),
    *("BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "EMPTY_LIST"),
    *("LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS", "EMPTY_TUPLE"),
    *("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET"),
    *("BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"),
}


def opcodes(harmful: bool = True) -> list[bytes]:
    """The pieces of real pickles and of attacks, which a fuzzer puts together anew."""
    pieces: set[bytes] = set()
    sources = [path.read_bytes() for path in RECORDED]
    if harmful:
        sources += [
            data for data in attacks.ALL.values() if len(data) < 3000 and b"\\q" not in data
        ]
    for data in sources:
        try:
            at = [position or 0 for _, _, position in pickletools.genops(data)]
        except Exception:  # an attack that pickletools can't read
            pieces.add(data)
            continue
        pieces |= {data[a:b] for a, b in zip(at, [*at[1:], len(data)], strict=True)}
    return sorted(pieces)


@settings(max_examples=1500)
@given(st.lists(st.sampled_from(opcodes()) | st.binary(max_size=4), max_size=60))
def test_any_row_of_opcodes_ends_in_a_value_or_a_refusal(parts: list[bytes]) -> None:
    read(b"".join(parts) + b".")


@settings(max_examples=1500)
@given(st.lists(st.sampled_from(opcodes(harmful=False)) | st.binary(max_size=2), max_size=30))
def test_the_scan_sees_the_opcodes_that_the_machine_will_run(parts: list[bytes]) -> None:
    """Where they would part ways, harm could hide in what one of them takes for a string."""
    try:
        program = pickles._scan(b"".join(parts) + b".")
    except pickles.PickleError:
        return
    found = list(pickletools.genops(program))
    assert found[-1][2] == len(program) - 1
    assert {opcode.name for opcode, _, _ in found} <= PERMITTED


@settings(max_examples=500)
@given(st.sampled_from(RECORDED), st.data())
def test_damaged_pickles_end_in_a_value_or_a_refusal(path: Path, data: st.DataObject) -> None:
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    read(bytes(raw))


@settings(max_examples=500)
@given(st.lists(st.sampled_from(opcodes()), max_size=40))
def test_what_is_let_through_has_only_plain_values_in_it(parts: list[bytes]) -> None:
    try:
        value = pickles.load(b"".join(parts) + b".")
    except pickles.PickleError:
        return
    plain = {list, dict, tuple, str, bytes, int, float, bool, type(None), datetime.datetime}
    ours = {pickles._Constructor, pickles._Dtype}
    seen: set[int] = set()
    rest: list[Any] = [value]
    while rest:
        one = rest.pop()
        assert type(one) in plain | ours
        if isinstance(one, list | dict | tuple) and id(one) not in seen:
            seen.add(id(one))
            rest += [*one.keys(), *one.values()] if isinstance(one, dict) else one
