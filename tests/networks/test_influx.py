"""InfluxDB: its line protocol, and the answers that make a client drop or keep what it has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from habitat_like.networks import line_protocol
from habitat_like.networks.influx import MAX_LINES, Influx
from tests.networks.decode import NOW, Client

client = Client(Influx)


def write(lines: str, target: str = "/write?db=field", **headers: str) -> list[dict[str, Any]]:
    return client.documents(client.request("POST", target, lines, **headers))


def points(source: str) -> list[line_protocol.Point | line_protocol.BadLine]:
    return list(line_protocol.parse(source))


def test_telegraf() -> None:
    request = client.sample("8-generic/influx-telegraf")
    found = client.documents(request)
    assert found
    for one in found:
        assert one["type"] == "SENSOR"
        assert one["data"]["tags"]
        assert "abc==" not in json.dumps(one)
        assert "suspicious" not in one
    assert client.network.credential(request) == "abc=="
    assert client.answer(request) == (204, b"")


def test_a_sketch_without_a_clock() -> None:
    request = client.sample("8-generic/influx-v1-tasmota")
    first, second = client.documents(request)
    assert first["callsign"] == second["callsign"] == "TASMOTA"
    assert first["time_created"] == NOW
    assert first["data"]["sensor"] == "sensor"
    assert first["data"]["values"] == {"temperature": 4.8, "humidity": 88.1}
    assert first["data"]["tags"] == {"device": "tasmota_0A1B2C", "sensor": "BME280"}
    assert client.answer(request) == (204, b"")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("m a=1", line_protocol.Point("m", {}, {"a": 1.0}, None)),
        ("m,t=x a=1i,b=2u 5", line_protocol.Point("m", {"t": "x"}, {"a": 1, "b": 2}, 5)),
        (r"m\ x\,y,t\ 1=a\=b a=t", line_protocol.Point("m x,y", {"t 1": "a=b"}, {"a": True}, None)),
        (r'm a="x, \"y\" \\ z=1" -5', line_protocol.Point("m", {}, {"a": r'x, "y" \ z=1'}, -5)),
        (
            'm a="two\nlines",b=F 7',
            line_protocol.Point("m", {}, {"a": "two\nlines", "b": False}, 7),
        ),
        ("m a=NaN,b=1e3", line_protocol.Point("m", {}, {"a": None, "b": 1000.0}, None)),
        ("m a=1 5\r", line_protocol.Point("m", {}, {"a": 1.0}, 5)),
        (r"m\x a=-.5", line_protocol.Point(r"m\x", {}, {"a": -0.5}, None)),
    ],
)
def test_a_line(line: str, expected: line_protocol.Point) -> None:
    assert points(line) == [expected]


@pytest.mark.parametrize(
    "line",
    [
        *("m", "m ", "m a", "m a=", "m,a=1", "m,a a=1", "m a=1 x", "m a=b", 'm a="x', ",t=1 a=1"),
        *("m a=1 5 6", "m a=1,", "m a=0x1F", "m a=1_0"),
    ],
)
def test_what_is_no_line_costs_no_other(line: str) -> None:
    bad, good = (
        points(f"{line}\n# comment\n\nm a=1\n") if '"' not in line else points(f"{line}\nm a=1")
    )
    assert isinstance(bad, line_protocol.BadLine)
    assert bad.number == 1
    assert "\n" not in bad.text
    assert good == line_protocol.Point("m", {}, {"a": 1.0}, None)


@given(st.text(alphabet='mat=, "\\\n1i#-'))
def test_any_lines_are_points_or_bad(source: str) -> None:
    for one in points(source):
        if isinstance(one, line_protocol.BadLine):
            assert 1 <= one.number <= source.count("\n") + 1


def test_quotes_without_an_end_cost_linear_time() -> None:
    assert len(points('m a="\n' * 100_000 + "\\")) > 0
    assert len(points("m" + ",\\" * 300_000)) == 1
    assert len(points("m a=" + '"\\' * 300_000)) == 1


@pytest.mark.parametrize(
    ("precision", "time"),
    [
        ("", 1795169730_000000000),
        ("&precision=ns", 1795169730_000000000),
        ("&precision=u", 1795169730_000000),
        ("&precision=us", 1795169730_000000),
        ("&precision=ms", 1795169730_000),
        ("&precision=s", 1795169730),
        ("&precision=m", 1795169730 // 60),
        ("&precision=h", 1795169730 // 3600),
    ],
)
def test_precisions(precision: str, time: int) -> None:
    (found,) = write(f"m a=1 {time}", f"/write?db=x{precision}")
    assert found["time_created"] <= 1795169730
    assert found["time_created"] > 1795169730 - 3600
    assert "suspicious" not in found


def test_an_unknown_precision_is_refused() -> None:
    status, body = client.answer(client.request("POST", "/write?precision=y", "m a=1"))
    assert status == 400
    assert "precision" in json.loads(body)["error"]


def test_two_points_of_one_second_are_two() -> None:
    first, second = write("m a=1 1795169730000000001\nm a=1 1795169730000000002")
    assert first["_id"] != second["_id"]
    assert first["time_created"] == second["time_created"]


@pytest.mark.parametrize(
    ("lines", "target", "headers", "callsign"),
    [
        ("m,host=h1,node=n1 a=1", "/write?db=d1", {}, "H1"),
        ("m,node=n1 a=1", "/write?db=d1", {}, "N1"),
        ("m,topic=a/b a=1", "/write?db=d1", {}, "A/B"),
        ("m a=1", "/write?db=d1&u=me&p=x", {}, "ME"),
        ("m a=1", "/write?db=d1", {"authorization": "Basic bWU6eA=="}, "ME"),
        ("m a=1", "/write?db=d1", {}, "D1"),
        ("m a=1", "/api/v2/write?bucket=b1", {}, "B1"),
    ],
)
def test_who_it_is(lines: str, target: str, headers: dict[str, str], callsign: str) -> None:
    assert write(lines, target, **headers)[0]["callsign"] == callsign


def test_a_token_is_a_secret_identity() -> None:
    (found,) = write("m a=1", "/api/v2/write?bucket=b", authorization="Token T0K3N")
    assert found["callsign"].startswith("INFLUX-")
    assert "T0K3N" not in json.dumps(found)


def test_the_tag_that_tells_is_a_setting() -> None:
    other = Client(Influx, tags=("device",))
    (found,) = other.documents(other.request("POST", "/write", "m,host=h,device=d a=1"))
    assert found["callsign"] == "D"


MIXED = "m a=1\nm a=\nm b=2"


def test_partial_writes() -> None:
    first = client.request("POST", "/write?db=x", MIXED)
    assert len(client.documents(first)) == 2
    status, body = client.answer(first)
    assert status == 400
    assert json.loads(body)["error"].startswith("partial write: line 2: unable to parse")
    second = client.request("POST", "/api/v2/write?bucket=x", MIXED)
    assert client.answer(second) == (204, b"")


def test_nothing_readable() -> None:
    status, body = client.answer(client.request("POST", "/write?db=x", "nonsense"))
    assert status == 400
    assert "unable to parse" in json.loads(body)["error"]
    status, body = client.answer(client.request("POST", "/api/v2/write?bucket=x", "nonsense"))
    assert (status, json.loads(body)["code"]) == (400, "invalid")


def test_nothing_is_a_success() -> None:
    assert client.answer(client.request("POST", "/write?db=x", "\n# nothing\n")) == (204, b"")


def test_too_many_lines_are_to_be_halved() -> None:
    request = client.request("POST", "/api/v2/write?bucket=x", "m a=1\n" * (MAX_LINES + 1))
    assert client.answer(request)[0] == 413


def test_probes() -> None:
    assert client.answer(client.request("GET", "/ping")) == (204, b"")
    assert client.answer(client.request("HEAD", "/ping"))[0] == 204
    assert json.loads(client.answer(client.request("GET", "/health"))[1])["status"] == "pass"
    status, body = client.answer(client.request("POST", "/query?q=CREATE+DATABASE+x"))
    assert status == 200
    assert "results" in json.loads(body)


def test_a_wrong_key() -> None:
    assert client.network.wrong_key(client.request("POST", "/write")).status == 401
